"""The tear: where, and how much, a flow stretches neighbouring rows apart; whether its picture can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from analysis import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flows.flow import FunnelFlow

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Verdict = Literal["trusted", "torn", "not decided", "no structure"]

QUANTILES = (0.5, 0.9, 0.99, 0.999)
STRANGERS = 1 / 3  # an edge longer than this share of the median distance of random pairs joins strangers
TORN_STRETCH = 3.0  # and it has grown at least so much against that distance
NEAR = 0.25  # neighbours must be nearer than this share of it for an edge to tell anything
LOST_EDGES = 0.8  # a row that loses this share of its edges has jumped, alone
MOST_LOST = 0.05  # share of rows that may jump
LARGEST_STRETCH = 10.0  # of the largest singular value at its .99 quantile, whitened units
_FEWEST_ROWS = 5


class Patch(NamedTuple):
    """A place where the cloud is torn: its rows, disjoint pairs of neighbours that became strangers, their median stretch."""

    rows: list[int]
    pairs: int
    stretch: float


@dataclass(frozen=True, repr=False)
class Edges:
    """What a map does to the edges between each row and its nearest neighbours.

    Attributes:
        stretch: (n, k) length after over length before.
        quantiles: of ``stretch``, at .5, .9, .99 and .999.
        row_stretch: (n,) median of ``stretch`` over a row's edges, which one noisy neighbour does not move.
        worst_rows: the five rows with the largest ``row_stretch``, as indices of the caller's rows.
        continuity: 1 where neighbours before are neighbours after (Venna and Kaski 2001).
        trustworthiness: 1 where neighbours after were neighbours before.
        lost: share of rows that lose four in five of their edges to strangers: noisy rows that jump, in any map.
        patches: tears, largest first.
        nearness: median edge before, as a share of the median distance of random pairs.
        decided: nearness <= 1/4; else neighbours are strangers already, and edges cannot tell a tear.
    """

    stretch: Floats
    quantiles: dict[str, float]
    row_stretch: Floats
    worst_rows: list[int]
    continuity: float
    trustworthiness: float
    lost: float
    patches: list[Patch]
    nearness: float
    decided: bool

    @property
    def torn(self) -> bool:
        """A patch is torn, or more than 5 percent of the rows jump."""
        return bool(self.patches) or self.lost > MOST_LOST

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the stretch of single edges."""
        plain = ("quantiles", "worst_rows", "continuity", "trustworthiness", "lost", "nearness", "decided")
        return {**{name: getattr(self, name) for name in plain}, "patches": [p._asdict() for p in self.patches]}

    def __repr__(self) -> str:
        stretch = ", ".join(f"{q} {v:.3g}" for q, v in self.quantiles.items())
        return (
            f"stretch {stretch}; continuity {self.continuity:.3f}, trustworthiness {self.trustworthiness:.3f}, "
            f"{self.lost:.1%} of the rows jump, {len(self.patches)} torn patches"
            + ("" if self.decided else "; neighbours are strangers already, edges cannot tell")
        )


@dataclass(frozen=True, repr=False)
class Tear:
    """How much a flow stretches neighbouring rows apart, in whitened units: 1 is no stretch.

    Attributes:
        verdict: "trusted", "torn", "not decided" or "no structure"; see :func:`tear`.
        reason: why, in words.
        latent: edges between whitened rows, mapped to z(1); None where there are too few rows.
        onto: the same edges, mapped onto s; None without structure.
        opened: edges between the rows without their noise, project(x) whitened, mapped onto s: neighbours torn apart.
        glued: edges between rows of s, mapped back to those: strangers put side by side.
        singular_values: (J, M) of dz(1)/dz(0), falling, at J rows.
        structure_singular_values: (J, k) of ds/dz(0), falling.
        jacobian_rows: (J,) those rows, as indices of the caller's.
        rows: distinct rows used.
        neighbours: edges at every row.
        seed: drew the rows.
    """

    verdict: Verdict
    reason: str
    latent: Edges | None
    onto: Edges | None
    opened: Edges | None
    glued: Edges | None
    singular_values: Floats
    structure_singular_values: Floats
    jacobian_rows: Rows
    rows: int
    neighbours: int
    seed: int

    @property
    def worst_rows(self) -> list[int]:
        """Up to five rows at which the flow's Jacobian stretches most, as indices of the caller's rows."""
        if not self.singular_values.size:
            return []
        return self.jacobian_rows[np.argsort(-self.singular_values[:, 0], kind="stable")[:5]].tolist()

    def to_dict(self) -> dict[str, Any]:
        """Plain data: quantiles and verdict, no arrays over edges."""
        edges = {name: getattr(self, name) for name in ("latent", "onto", "opened", "glued")}
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            **{name: None if e is None else e.to_dict() for name, e in edges.items()},
            "largest_singular_value": _quantiles(self.singular_values[:, :1]),
            "largest_structure_singular_value": _quantiles(self.structure_singular_values[:, :1]),
            "worst_rows": self.worst_rows,
            "rows": self.rows,
            "neighbours": self.neighbours,
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        lines = [f"Tear: {self.verdict}. {self.reason}"]
        names = (
            ("latent", "rows -> z"),
            ("onto", "rows -> s"),
            ("opened", "project(rows) -> s"),
            ("glued", "s -> project(rows)"),
        )
        lines += [f"  {text:19} {edges}" for name, text in names if (edges := getattr(self, name)) is not None]
        if self.singular_values.size:
            sizes = ", ".join(f"{q} {v:.3g}" for q, v in _quantiles(self.singular_values[:, :1]).items())
            lines.append(f"  largest singular value of dz(1)/dz(0): {sizes}; worst rows {self.worst_rows}")
        lines.append(f"  {self.rows} distinct rows, {self.neighbours} neighbours, seed {self.seed}")
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Histogram of log stretch: edges into z and onto s, edges without noise, largest singular values."""
        ax = drawing.axes(ax)
        shown = {
            "rows -> z, neighbours": None if self.latent is None else self.latent.stretch,
            "project(rows) -> s, neighbours": None if self.opened is None else self.opened.stretch,
            "largest singular value of dz(1)/dz(0)": self.singular_values[:, :1],
        }
        for (label, values), colour in zip(shown.items(), drawing.COLOURS[:3], strict=True):
            if values is not None and (values > 0).any():
                logs = np.log10(values[values > 0])
                share = np.full(len(logs), 1 / len(logs))
                ax.hist(logs, 60, weights=share, histtype="step", lw=1.8, color=colour, label=label)
        ax.axvline(0, color="black", ls=":", lw=1)
        ax.set(xlabel="log10 stretch (whitened units; 0: none)", ylabel="share of edges, or rows")
        ax.set_title(f"Tear: {self.verdict}")
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8)
        drawing.corner(ax, f"n = {self.rows}, {self.neighbours} neighbours, seed {self.seed}")
        return ax


def tear(
    flow: FunnelFlow, x: object, neighbours: int = 10, seed: int = 0, most_rows: int = 2000, jacobians: int = 500
) -> Tear:
    """Measure how much a flow stretches neighbouring rows apart, and say whether s can be trusted topologically.

    A flow map tears nothing, but it can stretch a thin stretch of rows so much that s shows a gap, or press strangers
    together. Neighbours are those of the rows without their noise, project(x): among noisy rows in many dimensions they are
    hardly nearer than strangers. An edge is *torn* if it is longer after the map than a third of the median distance of random
    pairs and has grown threefold against it. A row that loses four in five of its edges has jumped: that happens in any map,
    and the largest single edge decides nothing. What is left makes a torn *patch* where at least max(2, k / 3) disjoint
    pairs lie side by side. The verdict:

    - "torn": a torn patch, or more than 5 percent of the rows jump, from project(x) to s or back (then s is glued);
    - "not decided": fewer than 5 distinct rows; the flow does not invert; typical neighbours are further apart than a quarter
      of random pairs, on either side; or the largest singular value of dz(1)/dz(0), at its .99 quantile over rows, exceeds 10;
    - "no structure": k = 0, there is no picture to trust;
    - "trusted": none of these.

    project(x) is a function of s: structure that the flow hid in the noise block is the certificate's affair, not this one's.

    Args:
        x: rows (n, D) in original units; above ``most_rows`` a random ``most_rows`` of them, exact duplicates left out.
        neighbours: edges at every row.
        seed: draws the rows.
        jacobians: rows at which singular values are taken, M backward passes over all of them.

    Raises:
        ValueError: neighbours below 1, or rows that do not fit the flow.
    """
    import torch

    from flows.inputs import as_rows

    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}; 10 is the default")
    given = as_rows(x, width=flow.front.features).detach()
    index = _distinct_sample(given.cpu().numpy(), most_rows, seed)
    rows = given[torch.from_numpy(index)].to(flow.exits.tau)
    start, k = flow.front(rows).detach(), flow.structure_dim
    with torch.no_grad():
        z = flow.solve(start).z
        s = flow.split(z)[0]
        clean, failure = _without_noise(flow, s) if k else (None, "")
    enough = len(rows) >= _FEWEST_ROWS
    before, after = _array(start), _array(s)
    latent = neighbour_edges(before, _array(z), neighbours, index) if enough else None
    onto = neighbour_edges(before, after, neighbours, index) if enough and k else None
    opened = neighbour_edges(_array(clean), after, neighbours, index) if enough and clean is not None else None
    glued = neighbour_edges(after, _array(clean), neighbours, index) if enough and clean is not None else None
    singular, structural = _singular_values(flow, start[:jacobians])
    verdict, reason = _verdict(k, opened, glued, singular, failure)
    return Tear(
        verdict, reason, latent, onto, opened, glued, singular, structural, index[:jacobians], len(rows),
        min(neighbours, max(1, (len(rows) - 1) // 2)), seed,
    )  # fmt: skip


def neighbour_edges(
    before: ArrayLike, after: ArrayLike, neighbours: int = 10, index: Rows | None = None, seed: int = 0
) -> Edges:
    """What the map from ``before`` (n, a) to ``after`` (n, b), row by row, does to the neighbour graph of ``before``.

    Args:
        neighbours: k, at most (n - 1) / 2.
        index: (n,) what the caller calls these rows.
        seed: draws the random pairs.

    Raises:
        ValueError: fewer than 5 distinct rows before, or another number of rows after.
    """
    p, q = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if len(p) != len(q):
        raise ValueError(f"before and after must have one row each, got {len(p)} and {len(q)} rows")
    first = np.sort(np.unique(p, axis=0, return_index=True)[1])
    if len(first) < _FEWEST_ROWS:
        raise ValueError(f"neighbour edges need at least {_FEWEST_ROWS} distinct rows, got {len(first)}")
    index = (np.arange(len(p)) if index is None else index)[first]
    p, q = p[first], q[first]
    k = min(neighbours, (len(p) - 1) // 2)
    length, nearest = cKDTree(p).query(p, k + 1)
    length, nearest = _without_self(length, nearest)
    grown = np.linalg.norm(q[:, None] - q[nearest], axis=2)
    stretch = grown / length
    left, right = np.random.default_rng(seed).integers(len(p), size=(2, 20_000))
    pairs_p, pairs_q = (float(np.median(np.linalg.norm(a[left] - a[right], axis=1))) for a in (p, q))
    torn = (grown > STRANGERS * pairs_q) & (grown * pairs_p > TORN_STRETCH * length * pairs_q)
    lost, patches = _patches(nearest, torn, stretch, max(2, k // 3), index)
    row_stretch = np.median(stretch, axis=1)
    nearness = float(np.median(length)) / pairs_p if pairs_p > 0 else math.inf
    trustworthiness, continuity = _rank_agreement(p, q, k)
    return Edges(
        stretch, _quantiles(stretch), row_stretch,
        worst_rows=index[np.argsort(-row_stretch, kind="stable")[:5]].tolist(),
        continuity=continuity, trustworthiness=trustworthiness,
        lost=lost, patches=patches, nearness=nearness, decided=nearness <= NEAR,
    )  # fmt: skip


def _distinct_sample(x: NDArray[np.floating], most: int, seed: int) -> Rows:
    """Indices of at most ``most`` distinct rows, in random order."""
    first = np.unique(x, axis=0, return_index=True)[1]
    return np.random.default_rng(seed).permutation(np.sort(first))[:most]


def _without_self(length: Floats, nearest: NDArray[np.intp]) -> tuple[Floats, Rows]:
    """Drop every row from its own neighbours, wherever rounding has put it."""
    is_self = nearest == np.arange(len(nearest))[:, None]
    is_self[~is_self.any(1), -1] = True
    shape = (len(nearest), nearest.shape[1] - 1)
    return length[~is_self].reshape(shape), nearest[~is_self].reshape(shape)


def _rank_agreement(p: Floats, q: Floats, k: int) -> tuple[float, float]:
    """Trustworthiness and continuity of the map p -> q; nan where there are too few rows for ``k`` of them."""
    from sklearn.manifold import trustworthiness

    k = min(k, (len(p) - 1) // 2)
    if k < 1 or 2 * k >= len(p):
        return math.nan, math.nan
    return float(trustworthiness(p, q, n_neighbors=k)), float(trustworthiness(q, p, n_neighbors=k))


def _patches(
    nearest: Rows, torn: NDArray[np.bool_], stretch: Floats, fewest: int, index: Rows
) -> tuple[float, list[Patch]]:
    """Share of rows that lose 4 in 5 of their edges, and the torn patches among the others, largest first."""
    n, k = nearest.shape
    start, end = np.repeat(np.arange(n), k), nearest.ravel()
    degree = np.bincount(start, minlength=n) + np.bincount(end, minlength=n)
    gone = np.bincount(start[torn.ravel()], minlength=n) + np.bincount(end[torn.ravel()], minlength=n)
    jumped = gone >= LOST_EDGES * degree
    left = torn.ravel() & ~jumped[start] & ~jumped[end]
    in_patch = np.zeros(n, dtype=bool)
    in_patch[start[left]] = in_patch[end[left]] = True
    beside = in_patch[start] & in_patch[end]
    graph = coo_array((np.ones(int(beside.sum())), (start[beside], end[beside])), shape=(n, n))
    which = connected_components(graph, directed=False)[1]
    patches = []
    for label in np.unique(which[in_patch]):
        here = left & (which[start] == label)
        pairs = _disjoint(start[here], end[here])
        if pairs >= fewest:
            rows = index[in_patch & (which == label)].tolist()
            patches.append(Patch(rows, pairs, float(np.median(stretch.ravel()[here]))))
    return float(jumped.mean()), sorted(patches, key=lambda patch: -patch.pairs)


def _disjoint(start: Rows, end: Rows) -> int:
    """A number of edges of which no two share a row: greedy, edges between rows with few edges first."""
    degree = np.bincount(np.concatenate([start, end]))
    taken: set[int] = set()
    pairs = 0
    for e in np.argsort(degree[start] + degree[end], kind="stable"):
        ends = {int(start[e]), int(end[e])}
        if not ends & taken:
            taken |= ends
            pairs += 1
    return pairs


def _singular_values(flow: FunnelFlow, start: Any) -> tuple[Floats, Floats]:
    """Singular values (J, M) of dz(1)/dz(0) and (J, k) of ds/dz(0) at whitened, rotated rows ``start`` (J, M)."""
    import torch

    start = start.detach().requires_grad_()
    with torch.enable_grad():
        z = flow.solve(start).z
        gradients = [torch.autograd.grad(z[:, i].sum(), start, retain_graph=True)[0] for i in range(z.shape[1])]
    jacobian = torch.stack(gradients, dim=1).double()
    structure = flow.structure
    singular = torch.linalg.svdvals(jacobian)
    return _array(singular), _array(torch.linalg.svdvals(jacobian[:, structure]))


def _without_noise(flow: FunnelFlow, s: Any) -> tuple[Any, str]:
    """Whitened rows of structure s with their noise at 0, or None and why the flow does not invert there."""
    try:
        return flow.front(flow.decode(s)), ""
    except RuntimeError as error:
        return None, str(error)


def _verdict(
    k: int, opened: Edges | None, glued: Edges | None, singular: Floats, failure: str = ""
) -> tuple[Verdict, str]:
    if k == 0:
        return "no structure", "Nothing but noise at this regularity: there is no latent picture to trust."
    if failure:
        return "not decided", f"project(x) cannot be had: {failure}"
    if opened is None or glued is None:
        return "not decided", f"Fewer than {_FEWEST_ROWS} distinct rows, too few for a claim."
    for edges, text in (
        (opened, "neighbours in the data are strangers in s"),
        (glued, "neighbours in s are strangers"),
    ):
        if edges.decided and edges.torn:
            pairs = sum(p.pairs for p in edges.patches)
            return "torn", f"{pairs} disjoint pairs of {text}, in {len(edges.patches)} patches; {edges.lost:.1%} jump."
    if not (opened.decided and glued.decided):
        return "not decided", "Neighbours are hardly nearer than strangers: too few rows for so many dimensions."
    stretch = _quantiles(singular[:, :1])["0.99"]
    if stretch > LARGEST_STRETCH:
        return "not decided", f"1% of the rows are stretched {stretch:.3g} times or more, beyond {LARGEST_STRETCH:g}."
    return "trusted", f"No torn patch either way, and 99% of the rows are stretched less than {stretch:.3g} times."


def _quantiles(values: Floats) -> dict[str, float]:
    return {str(q): float(np.quantile(values, q)) for q in QUANTILES} if values.size else {}


def _array(values: Any) -> Floats:
    return values.detach().double().cpu().numpy()
