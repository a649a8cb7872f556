"""Is a latent cloud really structure x independent Gaussian noise? A held-out lower bound, and what it could have seen."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, ndtr, ndtri
from scipy.stats import rankdata
from torch import Tensor

from flows.inputs import as_rows, as_tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Critic = Callable[[Index, Array], Array]  # (row numbers, their noise block) -> log-ratios up to a constant

GRID = (0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.055, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)  # nats
WORTH_CERTIFYING = 0.1  # nats
KINDS = ("features", "quadratic", "linear")
LEAST_ROWS, MOST_ROWS = 1000, 20_000
TRAIN, CHOOSE = 0.5, 0.2  # shares of the rows; the rest gives the bound
NEGATIVES = 4  # fresh noise blocks for each row that chooses or evaluates
SCALES = np.geomspace(0.05, 2, 16)
LAST_CHEAP = "moments, shrunk"
MOST_COLUMNS = 1000  # products of noise dimensions among the moments


@dataclass(frozen=True)
class Control:
    """A planted dependence of known size, put through the same test.

    Attributes:
        kind: what n_1 depends on: a linear, quadratic or random-feature function of s; "shift" of the mean without any.
        nats, bound: its mutual information, -1/2 log(1 - rho²), and the mean lower bound over the draws.
        z, spread: mean and standard deviation of the test's statistic over the draws.
        draws, detected: number of draws (two misses end it early); whether 95 percent would be rejected.
    """

    kind: str
    nats: float
    bound: float
    z: float
    spread: float
    draws: int
    detected: bool


@dataclass(frozen=True, repr=False)
class Certificate:
    """What :func:`certify` found.

    Attributes:
        verdict: "certified at delta", "not certified", "not decided" or "nothing to certify".
        reason: why, in words.
        lower_bound, se: held-out lower bound in nats on the KL divergence of (s, n) from s x N(0, I); its standard error.
        z: the test's statistic, standard normal if z is a product, large if it is not.
        level: p-values below it reject.
        delta: detection limit in nats; infinite above the grid, NaN where it was not looked for.
        critic, scores: the critic that gave the bound; each one's bound in nats on the rows that chose (optimistic).
        rows, split: rows used; those that trained, chose and evaluated.
        structure_dim, noise_dims: columns of s and of n.
        controls: the planted dependences behind delta.
        seed: of splits, fresh noise, controls and networks.
    """

    verdict: str
    reason: str
    level: float
    rows: int
    structure_dim: int
    noise_dims: int
    seed: int
    lower_bound: float = math.nan
    se: float = math.nan
    z: float = math.nan
    delta: float = math.nan
    critic: str = "none"
    scores: tuple[tuple[str, float], ...] = ()
    split: tuple[int, int, int] = (0, 0, 0)
    controls: tuple[Control, ...] = ()

    @property
    def certified(self) -> bool:
        """Whether the product was not rejected though a dependence of .1 nats would have been."""
        return self.verdict == "certified at delta"

    @property
    def p_value(self) -> float:
        """Of the test that (s, n) comes from s x N(0, I)."""
        return float(ndtr(-self.z))

    @property
    def meaning(self) -> str:
        """The verdict in plain words."""
        if self.certified:
            kinds = ", ".join(dict.fromkeys(control.kind for control in self.controls))
            found = f"no dependence of these kinds above {self.delta:g} nats was there to be found: {kinds}"
            return found + "; others may hide, and no lower bound proves independence"
        if self.verdict == "not certified":
            return f"z is not s x N(0, I): {self.reason}"
        return f"nothing can be claimed about z = s x N(0, I): {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is not finite as None."""

        record = {**asdict(self), "p_value": self.p_value, "split": list(self.split), "meaning": self.meaning}
        nested = {"scores": dict(self.scores), "controls": [asdict(control) for control in self.controls]}
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        return {**finite, **nested}

    def __repr__(self) -> str:
        lines = [f"Certificate: {self.verdict}" + (f" = {self.delta:g} nats" if self.certified else "")]
        if math.isfinite(self.lower_bound):
            lines.append(f"  lower bound      {self.lower_bound:.3g} +- {self.se:.2g} nats (critic: {self.critic})")
            lines.append(f"  p-value          {self.p_value:.3g}, rejected below {self.level:g}")
        if not math.isnan(self.delta):
            limit = f"{self.delta:g} nats" if self.delta < math.inf else f"above {GRID[-1]:g} nats"
            lines.append(f"  detection limit  {limit}")
        train, choose, evaluate = self.split
        parts = f": {train} train, {choose} choose, {evaluate} evaluate" if evaluate else ""
        lines.append(f"  rows             {self.rows}{parts}; s {self.structure_dim}-D, n {self.noise_dims}-D")
        return "\n".join([*lines, f"  meaning          {self.meaning}"])

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the data's bound, a band of one standard error, over the controls' bounds against what was planted."""
        from matplotlib.figure import Figure

        if ax is None:
            ax = Figure(figsize=(5, 4), layout="constrained").add_subplot()
        looks = {"features": ("#0072B2", "o"), "quadratic": ("#E69F00", "s"), "linear": ("#009E73", "^")}
        for kind in dict.fromkeys(control.kind for control in self.controls):
            colour, marker = looks.get(kind, ("#0072B2", "o"))
            found = sorted((c.nats, c.bound, c.detected) for c in self.controls if c.kind == kind)
            nats, heights, seen = zip(*found, strict=True)
            faces = [colour if detected else "white" for detected in seen]
            ax.plot(nats, heights, color=colour, lw=0.8, alpha=0.6)
            ax.scatter(nats, heights, c=faces, edgecolors=colour, marker=marker, label=kind, alpha=0.8, zorder=3)
        ax.plot(GRID, GRID, color="0.6", ls=":", lw=1, label="planted")
        if math.isfinite(self.lower_bound):
            ax.axhspan(self.lower_bound - self.se, self.lower_bound + self.se, color="#CC79A7", alpha=0.35, lw=0)
            ax.axhline(self.lower_bound, color="#CC79A7", label="the data")
        if math.isfinite(self.delta):
            ax.axvline(self.delta, color="0.2", ls="--", lw=1, label="detection limit")
        ax.set_xscale("log")
        ax.set_yscale("symlog", linthresh=1e-3)
        bounds = [self.lower_bound, *(control.bound for control in self.controls)]
        ax.set_ylim(bottom=2 * np.nanmin([-1e-3, *bounds]))
        title = f"{self.verdict}: {self.delta:g} nats" if self.certified else self.verdict
        ax.set(xlabel="planted dependence (nats)", ylabel="held-out lower bound (nats)", title=title)
        ax.text(0.99, 0.01, f"n = {self.rows}, seed {self.seed}", transform=ax.transAxes, ha="right", size="x-small")
        ax.legend(
            fontsize="x-small", title="filled: seen in 95 % of draws", title_fontsize="x-small", loc="center right"
        )
        return ax


def certify(s: ArrayLike, n: ArrayLike, level: float = 0.05, seed: int = 0, draws: int = 4) -> Certificate:
    r"""Test whether rows (s, n) come from s x N(0, I), and say how small a dependence the test would have seen.

    Critics f learn on half of the rows to tell (s, n) from (s, n'), n' ~ N(0, I) drawn afresh. One of them, with a scale
    and an offset, is chosen on a fifth of the rows, and gives on the rest the bound of Nguyen, Wainwright and Jordan
    (arXiv:0809.0853),

    .. math:: \mathrm{KL} \ge E_{q(s, n)}[f] - E_{q(s) N(n')}[e^f] + 1.

    Test: :math:`\epsilon f` gives :math:`\epsilon (E_q[f] - E_{qN}[f]) + O(\epsilon^2)`, a bound above zero at some scale
    if that slope is. The product is rejected where the slope is, one-sided at ``level``, above zero by its standard error:
    twice as many standard errors as the bound at full scale has. |f| is cut off at the log of the rows that evaluate.

    Critics: ridge-logistic on (s, s², n, n², s⊗n, s²⊗n); "moments" :math:`\sum_{bj} C_{bj} \phi_b(s) H_j(n)`, the
    log-ratio to first order, C mean products, phi polynomials and cosines of s, H Hermite products of degree up to 2 (3
    without s), with small entries zero or whole columns shrunk; a network of 2 x 64.

    Detection limit: s stays, n is drawn afresh but for :math:`n_1 = \rho h(s) + \sqrt{1 - \rho^2} e`, h linear, quadratic
    or 16 random cosines, rank-Gaussianised, of :math:`-\frac{1}{2} \log(1 - \rho^2)` nats. delta is the smallest size on
    ``GRID``, by bisection, where for every kind the statistic's mean over ``draws`` draws is 1.645 of its standard
    deviations (at least 1) above the test's limit: 95 percent are rejected. The network is asked only where the other
    critics find nothing on the rows that choose. Without s, h is a function of n_2, n_3 and n_4.

    Args:
        s: structure block (rows, k); k = 0 tests n alone. Constant columns are left out.
        n: noise block (rows, m), of the same rows. Rows are independent and were not used to train the flow. Above
            20 000 a random 20 000 are used.
        level: share of true products that are rejected.
        seed: everything random is drawn from it; global random state is not touched.
        draws: of each control; 0 leaves the detection limit out.

    Returns:
        "certified at delta": not rejected, and delta at most .1 nats. "not certified": rejected. "not decided": not
        rejected, but too few rows to have seen .1 nats (below 1000 nothing is run). "nothing to certify": m = 0.

    Raises:
        ValueError: s and n differ in rows, are not two-dimensional, hold NaN or inf; level outside (0, 1); draws below 0.

    Example:
        >>> import numpy as np
        >>> from analysis.certificate import certify
        >>> noise = np.random.default_rng(0).normal(size=(2000, 3))
        >>> certify(noise[:, :1], np.c_[noise[:, 1], noise[:, 0] * noise[:, 2]], draws=0).verdict
        'not certified'
    """
    s, n = _rows(s, "s"), _rows(n, "n")
    if len(s) != len(n):
        raise ValueError(f"s and n must have the same rows, got {len(s)} and {len(n)}; pass both blocks of one latent")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}; .05 rejects one true product in twenty")
    if draws < 0:
        raise ValueError(f"draws must be 0 or more, got {draws}; 4 is the default, 0 leaves the detection limit out")
    about: dict[str, Any] = {"level": level, "structure_dim": s.shape[1], "noise_dims": n.shape[1], "seed": seed}
    if not n.shape[1]:
        return Certificate("nothing to certify", "there are no noise dimensions", rows=len(n), **about)
    if len(n) < LEAST_ROWS:
        reason = f"{len(n)} rows are too few to see a dependence; pass at least {LEAST_ROWS}, better {MOST_ROWS}"
        return Certificate("not decided", reason, rows=len(n), **about)
    if len(n) > MOST_ROWS:
        used = np.sort(np.random.default_rng([seed, 0]).choice(len(n), MOST_ROWS, replace=False))
        s, n = s[used], n[used]
    block = _Block.of(s, np.random.default_rng([seed, 1]))
    found = _examine(block, n, np.random.default_rng([seed, 2]))
    delta, controls = _detection_limit(block, n.shape[1], level, seed, draws) if draws else (math.nan, ())
    verdict, reason = _verdict(found, level, delta)
    return Certificate(verdict, reason, rows=len(n), delta=delta, controls=controls, **about, **vars(found))


@dataclass(frozen=True)
class _Outcome:
    """What one examination gives; fields as in :class:`Certificate`."""

    lower_bound: float
    se: float
    z: float
    critic: str
    scores: tuple[tuple[str, float], ...]
    split: tuple[int, int, int]


def _verdict(found: _Outcome, level: float, delta: float) -> tuple[str, str]:
    if found.z > ndtri(1 - level):
        bound = f"held-out lower bound {found.lower_bound:.3g} +- {found.se:.2g} nats"
        return "not certified", f"the product is rejected (p = {ndtr(-found.z):.2g}); {bound}"
    if delta <= WORTH_CERTIFYING:
        return "certified at delta", f"not rejected, though {delta:g} nats would have been in 95 % of draws"
    if math.isnan(delta):
        return "not decided", "not rejected, but no controls were run (draws = 0)"
    size = f"{delta:g}" if delta < math.inf else f"more than {GRID[-1]:g}"
    return "not decided", f"not rejected, but a dependence must have {size} nats to be seen; more rows are needed"


def _rows(x: Any, name: str) -> Array:
    tensor = as_tensor(x, name)
    width = 0 if tensor.ndim == 2 and tensor.shape[1] == 0 else None
    return as_rows(tensor, name=name, width=width, min_rows=0).detach().cpu().double().numpy()


@dataclass(frozen=True)
class _Block:
    """The structure block: columns s (rows, k) of unit variance, an orthonormal basis phi (rows, b) of functions of them.

    Orthonormal: phiᵀ phi = rows I. The first ``simple`` functions span (1, s, s²), the others smooth cosines.
    """

    s: Array
    phi: Array
    simple: int

    @classmethod
    def of(cls, s: Array, rng: Generator, kept: int = 48) -> "_Block":
        """Cosines' phases have a standard deviation of 2 and 5 radians; their ``kept`` leading components stay."""
        s = s[:, np.ptp(s, axis=0) > 0]
        s = np.clip((s - s.mean(0)) / s.std(0), -5, 5)
        rows, k = s.shape
        q, r = np.linalg.qr(np.c_[np.ones(rows), s, s**2])
        q = q[:, np.abs(np.diag(r)) > 1e-3 * math.sqrt(rows)] * math.sqrt(rows)
        if not k:
            return cls(s, q, 1)
        cosines = np.concatenate([_cosines(s, 64, 2, rng), _cosines(s, 64, 5, rng)], axis=1)
        cosines -= q @ (q.T @ cosines) / rows
        variances, axes = np.linalg.eigh(cosines.T @ cosines / rows)
        lead = np.flatnonzero(variances > 0.01)[-kept:]
        return cls(s, np.c_[q, cosines @ (axes[:, lead] / np.sqrt(variances[lead]))], q.shape[1])


def _cosines(s: Array, count: int, radians: float, rng: Generator) -> Array:
    """Random Fourier features (rows, count) of columns s of unit variance."""
    slopes = rng.normal(size=(s.shape[1], count)) * radians / math.sqrt(s.shape[1])
    return np.cos(s @ slopes + rng.uniform(0, 2 * math.pi, count))


def _examine(block: _Block, n: Array, rng: Generator, thrifty: bool = False) -> _Outcome:
    """Train the critics, choose one, and evaluate it; each on rows of its own."""
    first, second = round(TRAIN * len(n)), round((TRAIN + CHOOSE) * len(n))
    train, choose, evaluate = np.split(rng.permutation(len(n)), [first, second])

    def values(critic: Critic, rows: Index, noise: Array) -> tuple[Array, Array]:
        """On the rows themselves (rows,), and on fresh noise (NEGATIVES, rows)."""
        return _cut(critic(rows, n[rows])), _cut(np.stack([critic(rows, one) for one in noise]))

    fresh = rng.normal(size=(NEGATIVES, len(choose), n.shape[1]))
    candidates: list[tuple[float, float, float, str, Critic]] = []
    for name, critic in _critics(block, n, train, choose, fresh, rng):
        candidates.append((*_fit_scale(*values(critic, choose, fresh)), name, critic))
        if thrifty and name == LAST_CHEAP and max(c[0] for c in candidates) > 8 / len(choose):  # z = 4: bound z²/2 rows
            break
    _, scale, offset, name, critic = max(candidates, key=lambda candidate: candidate[0])
    p, q = values(critic, evaluate, rng.normal(size=(NEGATIVES, len(evaluate), n.shape[1])))
    bound, se = _mean(_nwj(scale * p + offset, scale * q + offset))
    slope, slope_se = _mean(p - q.mean(0))
    scores = tuple((candidate[3], candidate[0]) for candidate in candidates)
    return _Outcome(bound, se, slope / max(slope_se, 1e-99), name, scores, (len(train), len(choose), len(evaluate)))


def _mean(x: Array) -> tuple[float, float]:
    """Mean of independent values and its standard error."""
    return float(x.mean()), float(x.std(ddof=1) / math.sqrt(len(x)))


def _cut(f: Array) -> Array:
    """Cut off |f| at the log of the rows (last axis): the most nats that so many can show (arXiv:1811.04251)."""
    return np.clip(f, -math.log(f.shape[-1]), math.log(f.shape[-1]))


def _nwj(p: Array, q: Array) -> Array:
    """Row by row (rows,), what is averaged to the bound; critic's values p (rows,) and q (negatives, rows)."""
    return _cut(p) - np.exp(_cut(q)).mean(0) + 1


def _fit_scale(p: Array, q: Array) -> tuple[float, float, float]:
    """The best bound over ``SCALES`` for values p (rows,) and q (negatives, rows); scale and offset of the best bound less
    1.645 standard errors.
    """
    offsets = np.array([-math.log(np.exp(scale * q).mean()) for scale in SCALES])
    u = np.stack([_nwj(a * p + c, a * q + c) for a, c in zip(SCALES, offsets, strict=True)])
    best = int(np.argmax(u.mean(1) - 1.645 * u.std(1) / math.sqrt(len(p))))
    return float(u.mean(1).max()), float(SCALES[best]), float(offsets[best])


def _critics(
    block: _Block, n: Array, train: Index, choose: Index, fresh: Array, rng: Generator
) -> Iterator[tuple[str, Critic]]:
    """Critics trained on rows ``train``, cheap ones first; the network stops early by its bound on rows ``choose``."""
    yield "logistic", _logistic(block, n, train, rng)
    yield from _moments(block, n, train)
    yield "network", _network(block, n, train, choose, fresh, int(rng.integers(2**62)))


def _logistic(block: _Block, n: Array, train: Index, rng: Generator, ridge: float = 1e-3) -> Critic:
    """Logistic regression on phi, phi ⊗ n and n², phi an orthonormal basis of (1, s, s²); the log-ratio is its logit."""
    phi = block.phi[:, : block.simple]
    b, m = block.simple, n.shape[1]
    basis, noise = np.r_[phi[train], phi[train]], np.r_[n[train], rng.normal(size=(len(train), m))]
    squares, sign = (noise**2 - 1) / math.sqrt(2), np.repeat([1.0, -1.0], len(train))

    def loss(weights: Array) -> tuple[float, Array]:
        c, w, v = np.split(weights, [b, b + b * m])
        margin = sign * (basis @ c + ((basis @ w.reshape(b, m)) * noise).sum(1) + squares @ v)
        pull = -sign * expit(-margin) / len(sign)
        gradient = np.concatenate([basis.T @ pull, (basis.T @ (pull[:, None] * noise)).ravel(), squares.T @ pull])
        return np.logaddexp(0, -margin).mean() + ridge / 2 * weights @ weights, gradient + ridge * weights

    fitted = minimize(loss, np.zeros(b + b * m + m), jac=True, method="L-BFGS-B", options={"maxiter": 60, "ftol": 1e-7})
    c, w, v = np.split(fitted.x, [b, b + b * m])
    w = w.reshape(b, m)
    return lambda rows, noise: phi[rows] @ c + ((phi[rows] @ w) * noise).sum(1) + (noise**2 - 1) @ v / math.sqrt(2)


def _moments(block: _Block, n: Array, train: Index) -> Iterator[tuple[str, Critic]]:
    """First-order log-ratios: C_bj = E[phi_b(s) H_j(n)], whose sampling error under the null is 1/sqrt(rows) each.

    "moments" keeps the entries above the universal threshold sqrt(2 log(count) / rows) (Donoho and Johnstone 1994), at
    least one. "moments, shrunk" multiplies column j by max(0, 1 - limit / (rows |C_j|²)), limit the most that a null
    column's chi-squared energy reaches over all columns (Laurent and Massart 2000).
    """
    factors = _hermite_factors(n.shape[1], 2 if block.s.shape[1] else 3)
    c = block.phi[train].T @ _hermite(n[train], factors) / len(train)
    kept = np.where(np.abs(c) > math.sqrt(2 * math.log(c.size) / len(train)), c, 0)
    largest = np.unravel_index(np.abs(c).argmax(), c.shape)
    kept[largest] = c[largest]
    energy, log = len(train) * (c**2).sum(0), math.log(c.shape[1])
    limit = len(c) + 2 * math.sqrt(len(c) * log) + 2 * log
    shrunk = c * np.maximum(0, 1 - limit / np.maximum(energy, 1e-12))
    for name, weights in (("moments", kept), (LAST_CHEAP, shrunk)):
        used = weights.any(0)
        yield name, _moment_critic(block.phi, weights[:, used], factors[:, used])


def _moment_critic(phi: Array, weights: Array, factors: Index) -> Critic:
    return lambda rows, noise: ((phi[rows] @ weights) * _hermite(noise, factors)).sum(1)


def _hermite_factors(m: int, degree: int) -> Index:
    """For every product of Hermite polynomials up to ``degree`` its three factors, as columns of :func:`_hermite`'s table.

    Where these would be more than ``MOST_COLUMNS`` the degree is lowered, and in the end n and its squares are left.
    """
    while degree > 1 and math.comb(m + degree, degree) > MOST_COLUMNS:
        degree -= 1
    powers = [Counter(chosen) for d in range(1, degree + 1) for chosen in combinations_with_replacement(range(m), d)]
    if degree == 1:
        powers += [Counter({i: 2}) for i in range(m)]
    columns = [[1 + (power - 1) * m + i for i, power in product.items()] for product in powers]
    return np.array([column + [0] * (3 - len(column)) for column in columns]).T


def _hermite(n: Array, factors: Index) -> Array:
    """Products (rows, count) of three columns of (1, n, (n² - 1)/sqrt(2), (n³ - 3n)/sqrt(6)): orthonormal under N(0, I)."""
    table = np.c_[np.ones(len(n)), n, (n**2 - 1) / math.sqrt(2), (n**3 - 3 * n) / math.sqrt(6)]
    return table[:, factors[0]] * table[:, factors[1]] * table[:, factors[2]]


@torch.inference_mode(False)
@torch.enable_grad()
def _network(block: _Block, n: Array, train: Index, choose: Index, fresh: Array, seed: int) -> Critic:
    """A network (s, n) -> 64 -> 64 -> logit, fresh negatives in every batch; the epoch of the best bound on ``choose``."""
    generator = torch.Generator().manual_seed(seed)
    s = torch.as_tensor(block.s, dtype=torch.float32)

    def join(rows: Index, noise: Array | Tensor) -> Tensor:
        return torch.cat([s[torch.as_tensor(rows)], torch.as_tensor(noise, dtype=torch.float32)], dim=1)

    def bound() -> float:
        values = _cut(_logits(parameters, held_out).detach().double().numpy().reshape(-1, len(choose)))
        return _fit_scale(values[0], values[1:])[0]

    parameters = _initial((s.shape[1] + n.shape[1], 64, 64, 1), generator)
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=1e-2)
    held_out = torch.cat([join(choose, noise) for noise in (n[choose], *fresh)])
    best, kept, bad, epochs, patience = 0.0, [p.detach().clone() for p in parameters], 0, 40, 8
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 + math.cos(math.pi * epoch / epochs)) / 2
        order = torch.randperm(len(train), generator=generator).numpy()
        for here in np.array_split(train[order], min(20, math.ceil(len(train) / 64))):
            noise = torch.randn(len(here), n.shape[1], generator=generator)
            data, product = _logits(parameters, torch.cat([join(here, n[here]), join(here, noise)])).chunk(2)
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.softplus(torch.cat([-data, product])).mean().backward()
            optimizer.step()
        score, bad = bound(), bad + 1
        if score > best:
            best, kept, bad = score, [p.detach().clone() for p in parameters], 0
        if bad == patience:
            break
    return lambda rows, noise: _logits(kept, join(rows, noise)).double().numpy()


def _initial(sizes: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
    """Weights (out, in) and biases, layer by layer; the last layer's are zero."""
    weights = [torch.randn(b, a, generator=generator) / math.sqrt(a) * (b > 1) for a, b in pairwise(sizes)]
    return [p.requires_grad_() for w in weights for p in (w, torch.zeros(len(w)))]


def _logits(parameters: list[Tensor], x: Tensor) -> Tensor:
    w1, b1, w2, b2, w3, b3 = parameters
    hidden = torch.nn.functional.silu(torch.addmm(b1, x, w1.T))
    return torch.addmm(b3, torch.nn.functional.silu(torch.addmm(b2, hidden, w2.T)), w3.T)[:, 0]


def _detection_limit(block: _Block, m: int, level: float, seed: int, draws: int) -> tuple[float, tuple[Control, ...]]:
    """Smallest size on ``GRID`` that is detected for every kind, by bisection; the kind that failed last goes first."""
    kinds = list(KINDS) if block.s.shape[1] or m > 1 else ["shift"]
    below, above, controls = -1, len(GRID), []
    while above - below > 1:
        middle = (below + above) // 2
        for kind in tuple(kinds):
            controls.append(_try_control(block, m, kind, GRID[middle], level, seed, draws))
            if not controls[-1].detected:
                kinds.insert(0, kinds.pop(kinds.index(kind)))
                below = middle
                break
        else:
            above = middle
    return (GRID[above] if above < len(GRID) else math.inf), tuple(controls)


def _try_control(block: _Block, m: int, kind: str, nats: float, level: float, seed: int, draws: int) -> Control:
    """The same draws of h, noise and split for every size, so that detection is close to monotone in it."""
    limit, outcomes, number = float(ndtri(1 - level)), [], (*KINDS, "shift").index(kind)
    for draw in range(draws):
        rng = np.random.default_rng([seed, 3, number, draw])
        noise = _control_noise(block.s, m, kind, nats, rng)
        outcomes.append(_examine(block, noise, rng, thrifty=True))
        if sum(outcome.z <= limit for outcome in outcomes) == 2:
            break
    z = np.array([outcome.z for outcome in outcomes])
    spread = float(z.std(ddof=1)) if len(z) > 1 else 1.0
    detected = bool(z.mean() - 1.645 * max(spread, 1.0) >= limit)
    bound = float(np.mean([outcome.lower_bound for outcome in outcomes]))
    return Control(kind, nats, bound, float(z.mean()), spread, len(z), detected)


def _control_noise(s: Array, m: int, kind: str, nats: float, rng: Generator) -> Array:
    """Noise (rows, m), N(0, I) but for n_1, which carries ``nats`` about s; about up to three others where s is empty."""
    n = rng.normal(size=(len(s), m))
    source = s if s.shape[1] else n[:, 1:4]
    k = source.shape[1]
    if kind == "shift":
        n[:, 0] += math.sqrt(2 * nats)
        return n
    if kind == "linear":
        h = source @ rng.normal(size=k)
    elif kind == "quadratic":
        h = ((source @ rng.normal(size=(k, k))) * source).sum(1)
    else:
        h = _cosines(source, 16, 2, rng) @ rng.normal(size=16)
    h = ndtri((rankdata(h) - 0.5) / len(h))
    rho = math.sqrt(-math.expm1(-2 * nats))
    n[:, 0] = rho * h + math.sqrt(1 - rho**2) * n[:, 0]
    return n
