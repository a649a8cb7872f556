"""Where training starts from: a rotation, k-means components, and the test that reopens a dimension."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from flows.flow import FunnelFlow
from flows.io.rows import Rows
from training.stages.pursuit import CANDIDATES, fast_ica, pursued_rotation

_MOST_ROWS = 8000
_MARGINAL_COMPONENTS = 8


def ica_rotation(white: Tensor | Rows, seed: int, most_rows: int = 20_000) -> Tensor:
    """An unmixing (M, M) of whitened rows (N, M): FastICA's, or of wide rows what :mod:`training.stages.pursuit` finds."""
    if white.shape[1] == 1:
        return torch.eye(1)
    if white.shape[1] > CANDIDATES:
        return pursued_rotation(white, seed)
    return fast_ica(white[:: max(1, len(white) // most_rows)], seed)


@torch.no_grad()
def latent_sample(flow: FunnelFlow, white: Tensor | Rows, seed: int, steps: int, most_rows: int = _MOST_ROWS) -> Tensor:
    """z(1) (n, M) of at most ``most_rows`` whitened rows drawn by ``seed``."""
    chosen = torch.randperm(len(white), generator=torch.Generator().manual_seed(seed))[:most_rows]
    return flow.solve(flow.front.enter(white[chosen].to(flow.exits.tau)), steps=steps).z


@torch.no_grad()
def refit_mixture(flow: FunnelFlow, z: Tensor, is_open: Tensor, seed: int) -> None:
    """Start the base again by k-means on the open dimensions (M,) of latent rows z (n, M); shut ones get N(0, 1)."""
    from sklearn.cluster import KMeans

    components, is_open = min(flow.base.components, len(z)), is_open.to(z.device)
    points = z[:4000, is_open].double().cpu().numpy()
    labels = torch.from_numpy(KMeans(components, n_init=1, random_state=seed).fit_predict(points)).long()
    member = one_hot(labels, flow.base.components).to(z)
    weights, means, scales = _weighted_components(member, z[:4000])
    means[:, ~is_open], scales[:, ~is_open] = 0.0, 1.0
    flow.base.set_components(weights, means, scales.clamp_min(0.1))


@torch.no_grad()
def reopening_gains(flow: FunnelFlow, z: Tensor, is_open: Tensor, seed: int) -> Tensor:
    """For every shut dimension the nats (M,) it would gain if opened; minus infinity where it is open.

    Half of the rows z (n, M) fit k-means components to the open dimensions and the shut one together; on the other half
    the gain is the mean of log p(z_i | open dimensions) - log N(z_i; 0, 1). Components of the open dimensions alone would
    not do: given a point of a torus' shadow its height has two values, and one Gaussian per component sees neither.
    """
    from sklearn.cluster import KMeans

    half, kept = len(z) // 2, is_open.nonzero().squeeze(1).tolist()
    components = min(half, flow.base.components if kept else _MARGINAL_COMPONENTS)
    gains = torch.full((z.shape[1],), -torch.inf)
    for i in torch.nonzero(~is_open).squeeze(1).tolist():
        points = z[:, [*kept, i]]
        kmeans = KMeans(components, n_init=1, max_iter=30, random_state=seed)
        labels = torch.from_numpy(kmeans.fit_predict(points[:half].double().cpu().numpy())).long()
        weights, means, scales = _weighted_components(one_hot(labels, components).to(z), points[:half])
        deviations = (points[half:, None] - means) / scales
        log_factors = -0.5 * deviations.square() - scales.log()
        log_open = (weights.log() + log_factors[..., :-1].sum(2)).log_softmax(1)
        log_shut = -0.5 * points[half:, -1].square()
        gains[i] = (torch.logsumexp(log_open + log_factors[..., -1], dim=1) - log_shut).mean()
    return gains


def _weighted_components(member: Tensor, z: Tensor, prior_rows: float = 4.0) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K,), means (K, M) and scales (K, M) from memberships (n, K), drawn to N(0, 1) by a few pseudo-rows."""
    mass = member.sum(0)
    means = member.T @ z / (mass + prior_rows)[:, None]
    squares = (member.T @ z.square() + prior_rows) / (mass + prior_rows)[:, None]
    return (mass + 1) / (mass + 1).sum(), means, (squares - means.square()).clamp_min(1e-4).sqrt()
