"""Where training starts from: FastICA's rotation, k-means components, and the test that reopens a dimension."""

import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from flows.flow import FunnelFlow

_MOST_ROWS = 8000
_MARGINAL_COMPONENTS = 8


def ica_rotation(white: Tensor, seed: int, most_rows: int = 20_000) -> Tensor:
    """FastICA's unmixing (M, M) of whitened rows (N, M); with two Gaussian dimensions it never converges, which is fine."""
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    if white.shape[1] == 1:
        return torch.eye(1)
    rows = white[:: max(1, len(white) // most_rows)].double().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica = FastICA(whiten="unit-variance", max_iter=200, random_state=seed).fit(rows)
    return torch.from_numpy(ica.components_)


@torch.no_grad()
def latent_sample(flow: FunnelFlow, white: Tensor, seed: int, steps: int, most_rows: int = _MOST_ROWS) -> Tensor:
    """z(1) (n, M) of at most ``most_rows`` whitened rows drawn by ``seed``."""
    chosen = torch.randperm(len(white), generator=torch.Generator().manual_seed(seed))[:most_rows]
    return flow.solve(white[chosen].to(flow.exits.tau) @ flow.front.rotation.T, steps=steps).z


@torch.no_grad()
def refit_mixture(flow: FunnelFlow, z: Tensor, is_open: Tensor, seed: int) -> None:
    """Start the base anew by k-means on the open dimensions (M,) of latent rows z (n, M); shut ones get N(0, 1)."""
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

    Half of the rows z (n, M) fit one Gaussian per base component to the dimension, given the component's posterior
    from the open dimensions (k-means on the dimension itself where none is open); the other half measures.
    """
    from sklearn.cluster import KMeans

    half, is_open = len(z) // 2, is_open.to(z.device)
    gains = z.new_full((z.shape[1],), -np.inf)
    log_noise = -0.5 * z.square()
    posterior = flow.base.component_log_probs(z, is_open.to(z).expand_as(z)).softmax(1)
    for i in torch.nonzero(~is_open).squeeze(1).tolist():
        column = z[:half, i : i + 1]
        if not is_open.any():
            labels = KMeans(_MARGINAL_COMPONENTS, n_init=1, random_state=seed).fit_predict(column.double().cpu())
            weights, means, scales = _weighted_components(one_hot(torch.from_numpy(labels).long()).to(z), column)
            log_weights = weights.log()
        else:
            _, means, scales = _weighted_components(posterior[:half], column)
            log_weights = posterior[half:].clamp_min(1e-12).log()
        deviation = (z[half:, i : i + 1] - means[:, 0]) / scales[:, 0]
        log_open = torch.logsumexp(log_weights - 0.5 * deviation.square() - scales[:, 0].log(), dim=1)
        gains[i] = (log_open - log_noise[half:, i]).mean()
    return gains.cpu()


def _weighted_components(member: Tensor, z: Tensor, prior_rows: float = 4.0) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K,), means (K, M) and scales (K, M) from memberships (n, K), drawn to N(0, 1) by a few pseudo-rows."""
    mass = member.sum(0)
    means = member.T @ z / (mass + prior_rows)[:, None]
    squares = (member.T @ z.square() + prior_rows) / (mass + prior_rows)[:, None]
    return (mass + 1) / (mass + 1).sum(), means, (squares - means.square()).clamp_min(1e-4).sqrt()
