"""The tear: where, and how much, a flow stretches neighbouring rows apart; whether its picture can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from analysis import drawing
from analysis.certification.edges import FEWEST_ROWS, HEADER, Edges, neighbour_edges, stretch_quantiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from flows.flow import FunnelFlow

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Verdict = Literal["trusted", "torn", "not decided", "no structure"]

LARGEST_STRETCH = 10.0  # of the largest singular value at its .99 quantile, whitened units


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
            "largest_singular_value": stretch_quantiles(self.singular_values[:, :1]),
            "largest_structure_singular_value": stretch_quantiles(self.structure_singular_values[:, :1]),
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
        known = [(text, edges) for name, text in names if (edges := getattr(self, name)) is not None]
        if known:
            lines.append(f"  {'edges to neighbours':19}  stretch: {HEADER}")
        lines += [f"  {text:19}          {edges.row()}" for text, edges in known]
        if any(not edges.decided for _, edges in known):
            lines.append("  ?: neighbours are strangers already, so the edges cannot tell a tear")
        if self.singular_values.size:
            sizes = "".join(f"{v:8.3g}" for v in stretch_quantiles(self.singular_values[:, :1]).values())
            lines.append(f"  largest singular value       {sizes}  of dz(1)/dz(0); worst rows {self.worst_rows}")
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

    from flows.io.inputs import as_rows

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
    enough = len(rows) >= FEWEST_ROWS
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


def _distinct_sample(x: NDArray[np.floating], most: int, seed: int) -> Rows:
    """Indices of at most ``most`` distinct rows, in random order."""
    first = np.unique(x, axis=0, return_index=True)[1]
    return np.random.default_rng(seed).permutation(np.sort(first))[:most]


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
        return "not decided", f"Fewer than {FEWEST_ROWS} distinct rows, too few for a claim."
    for edges, text in (
        (opened, "neighbours in the data are strangers in s"),
        (glued, "neighbours in s are strangers"),
    ):
        if edges.decided and edges.torn:
            pairs = sum(p.pairs for p in edges.patches)
            return "torn", f"{pairs} disjoint pairs of {text}, in {len(edges.patches)} patches; {edges.lost:.1%} jump."
    if not (opened.decided and glued.decided):
        return "not decided", "Neighbours are hardly nearer than strangers: too few rows for so many dimensions."
    stretch = stretch_quantiles(singular[:, :1])["0.99"]
    if stretch > LARGEST_STRETCH:
        return "not decided", f"1% of the rows are stretched {stretch:.3g} times or more, beyond {LARGEST_STRETCH:g}."
    return "trusted", f"No torn patch either way, and 99% of the rows are stretched less than {stretch:.3g} times."


def _array(values: Any) -> Floats:
    return values.detach().double().cpu().numpy()
