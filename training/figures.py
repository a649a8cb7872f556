"""Figures of a run, drawn from plain results. Every function takes ``ax=None`` and returns the Axes it drew on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

if TYPE_CHECKING:
    from training.fitting import FitResult

# Okabe and Ito's colour-blind-safe palette; yellow, faint on white, comes late
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_GREY = "#9A9A9A"
_DASHES = ("-", "--", ":", "-.")
_MARKERS = ("o", "^", "s")
_LEGEND_LABELS = 12


def plot_path(result: FitResult, ax: Axes | None = None) -> Axes:
    """Gates against lambda along the ramp, and k as steps in a strip below; grey dimensions end as noise."""
    ax = _axes(ax, 6.4, 5.4)
    strip = _strip_below(ax)
    ramp = result.path[result.path["stage"] == "ramp"]
    path = ramp if len(ramp) else result.path[result.path["lam"] > 0]
    lam, gates = path["lam"], path["gates"]
    marker = "o" if len(path) < 2 else None
    names = _structure_names(result)
    for i in range(gates.shape[1]):
        if i not in names:
            ax.plot(lam, gates[:, i], color=_GREY, lw=1, marker=marker, zorder=1)
    for j, (i, name) in enumerate(names.items()):
        width = 3.5 - 2 * j / max(len(names) - 1, 1)
        ax.plot(lam, gates[:, i], color=_colour(j), ls=_dash(j), lw=width, marker=marker, label=name, zorder=2)
    strip.step(lam, path["k"], where="post", color="black", marker=marker)
    for panel in (ax, strip):
        panel.axvline(result.null_worth, color="black", ls=":", lw=1.5, label="null threshold")
    _log_lambda(ax)
    ax.set(ylim=(-0.04, 1.04), ylabel="gate (1 structure, 0 noise)")
    strip.set(xlabel="lambda (nats)", ylabel="k", ylim=(-0.4, max(path["k"], default=1) + 0.4))
    strip.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=4))
    dims = result.flow.front.dims
    k = result.structure_dim
    chosen = f"k = {k} of {dims} dimensions" if k else f"k = 0: {dims} dimensions of noise"
    ax.set_title(f"Path: {chosen} (confidence {result.confidence:.2f})")
    if len(names) <= _LEGEND_LABELS:
        _legend_beside(ax)
    _corner(strip, _run_note(result))
    return ax


def plot_hull(result: FitResult, ax: Axes | None = None) -> Axes:
    """J against k with its lower hull and the worth per dimension, and in a strip the lambdas at which each k is best.

    A vertex's bar is the paired standard error of its drop from the vertex before.
    """
    ax = _axes(ax, 6.4, 6.2)
    strip = _strip_below(ax, height=0.42, share=False)
    hull = result.hull
    ks, J = [v.k for v in hull], [v.J for v in hull]
    errors = [0.0, *(b.worth_se * (b.k - a.k) for a, b in pairwise(hull))]
    if others := [k for k in result.J if k not in ks]:
        ax.plot(others, [result.J[k] for k in others], "o", color=_GREY, label="above the hull or past its end")
    ax.errorbar(ks, J, yerr=errors, fmt="o-", color=COLOURS[0], capsize=4, label="lower hull ± paired s.e. of the drop")
    chosen = {v.k: v.J for v in hull}.get(result.structure_dim)
    if chosen is not None:
        ax.plot(result.structure_dim, chosen, "o", ms=13, mfc="none", mec=COLOURS[1], mew=2, label="chosen")
    steep = len(hull) > 4
    for a, b in pairwise(hull):
        ax.annotate(
            f"{b.worth:.3f} ± {b.worth_se:.3f}",
            ((a.k + b.k) / 2, (a.J + b.J) / 2),
            xytext=(0, 8) if steep else (6, 6),
            textcoords="offset points",
            rotation=90 if steep else 0,
            ha="center" if steep else "left",
            va="bottom",
            fontsize=8,
        )
    low, high = min(result.J.values()), max(result.J.values())
    span = (high - low) or 1.0
    last = max(result.J)
    ax.set(ylim=(low - 0.12 * span, high + (0.5 if steep else 0.25) * span), xlim=(-0.5, last + 0.5 + 0.1 * last))
    ax.set(xlabel="k, structure dimensions", ylabel="J = held-out NLL + kappa KE (nats per row)")
    ax.set_title(f"Hull: nats per dimension on each segment; null {result.null_worth:.3f}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.legend(fontsize=8, loc="upper right")
    _plot_intervals(result, strip)
    _corner(strip, _run_note(result))
    return ax


def _plot_intervals(result: FitResult, ax: Axes) -> None:
    """For every vertex of the hull a bar over the lambdas at which its k is best; open ends run to the frame."""
    null = result.null_worth
    ends = [e for v in result.hull for e in (v.low, v.high) if 0 < e < np.inf] + [null]
    left, right = min(ends) / 3, max(ends) * 3
    for row, v in enumerate(result.hull):
        colour = COLOURS[1] if v.k == result.structure_dim else COLOURS[0]
        start, stop = max(v.low, left), min(v.high, right)
        ax.barh(row, stop - start, left=start, height=0.6, color=colour)
    ax.axvspan(left, null, color=_GREY, alpha=0.35, lw=0, zorder=0)
    ax.set_title(f"best k for each lambda; below the null of {null:.3f} in grey", fontsize=9)
    _log_lambda(ax)
    ax.set(xlim=(left, right), ylim=(-0.6, len(result.hull) + 0.3), xlabel="lambda (nats)")
    ax.set_yticks(range(len(result.hull)), [f"k = {v.k}" for v in result.hull], fontsize=8)


def plot_width(result: FitResult, ax: Axes | None = None) -> Axes:
    """Width of the flow against depth, and in a strip the depth at which each dimension leaves."""
    ax = _axes(ax, 6.4, 5.4)
    strip = _strip_below(ax, height=0.5)
    flow = result.flow
    depth = np.linspace(0, 1, 201)
    ax.plot(depth, [flow.width(float(t)) for t in depth], color=COLOURS[0], lw=2)
    ax.set(ylim=(0, flow.front.dims * 1.05), ylabel="width (dimensions in the flow)")
    ax.set_title(f"Width against depth: {flow.front.dims} at the data, {flow.structure_dim} at the latent")
    tau = flow.exits.tau.detach().cpu().numpy()
    rank = np.argsort(np.argsort(tau, kind="stable"), kind="stable") + 1
    is_structure = np.isin(np.arange(len(tau)), list(_structure_names(result)))
    for kind, rows, colour in (("noise", ~is_structure, _GREY), ("structure", is_structure, COLOURS[1])):
        strip.plot(tau[rows], rank[rows], "|", ms=9, mew=2, color=colour, label=kind)
    half = flow.exits.width / 2
    for panel in (ax, strip):
        panel.set_xlim(-half - 0.04, 1 + half + 0.04)
        for outside in ((-1.0, 0.0), (1.0, 2.0)):
            panel.axvspan(*outside, color=_GREY, alpha=0.2, lw=0)
    strip.set(ylim=(0, len(tau) + 1), ylabel="exits, ranked")
    strip.set_xlabel(f"depth t (0 data, 1 latent); exit at {-half:g}: never enters, at {1 + half:g}: stays", fontsize=9)
    strip.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=4))
    _legend_beside(strip)
    _corner(strip, _run_note(result))
    return ax


def plot_structure(
    s: NDArray[np.floating],
    labels: Sequence[Any] | NDArray | None = None,
    ax: Axes | None = None,
    *,
    seed: int | None = None,
) -> Axes:
    """The structure block s (n, k), coloured by ``labels`` (n,): histogram, scatter, 3-D, or pairs of the first four.

    Raises:
        ValueError: labels of another length, or k = 3 with an ``ax`` that is not three-dimensional.
    """
    if labels is not None and len(labels) != len(s):
        raise ValueError(f"labels must have one entry per row of s, got {len(labels)} for {len(s)} rows")
    k = s.shape[1]
    size = (7.4, 7.0) if k > 2 else (6.4, 4.8)
    ax = _axes(ax, *size, projection="3d" if k == 3 else None)
    groups, scale = _label_groups(labels, len(s))
    if k == 0:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "k = 0: no structure block, noise only", ha="center", va="center", transform=ax.transAxes)
    elif k == 1:
        bins = np.linspace(s.min(), s.max(), 61).tolist()
        for _, rows, colour, _ in groups:
            ax.hist(s[rows, 0], bins=bins, color=colour if isinstance(colour, str) else COLOURS[0], alpha=0.6)
        ax.set(xlabel="s1 (whitened units)", ylabel="rows per bin")
    elif k == 2:
        _scatter(ax, s, groups)
        ax.set(xlabel="s1 (whitened units)", ylabel="s2 (whitened units)")
        ax.set_aspect("equal", adjustable="datalim")
    elif k == 3:
        if not hasattr(ax, "set_zlabel"):
            raise ValueError("k = 3 needs 3-D axes, got flat ones; pass ax=None or one with projection='3d'")
        _scatter(ax, s, groups)
        ax.set(xlabel="s1 (whitened units)", ylabel="s2", zlabel="s3")
    else:
        _pair_grid(ax, s[:, :4], groups)
    if k > 0:
        shown = "" if k < 4 else ": the first 4 by price"
        ax.set_title(f"Structure block, k = {k}{shown}")
    if labels is not None and k > 0:
        _label_key(ax, groups, scale)
    _corner(ax, _note(len(s), seed))
    return ax


def plot_noise(n: NDArray[np.floating], ax: Axes | None = None, *, seed: int | None = None) -> Axes:
    """Quantiles of each column of the noise block n (rows, M - k) against N(0, 1); the farthest is named."""
    ax = _axes(ax, 5.6, 5.4)
    rows, dims = n.shape
    if dims == 0:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no noise block: every dimension is structure", ha="center", transform=ax.transAxes)
        return ax
    from scipy.stats import kstest, norm

    share = np.linspace(0, 1, 202)[1:-1]
    expected, quantiles = norm.ppf(share), np.quantile(n, share, axis=0)
    distances = [float(kstest(n[:, i], "norm").statistic) for i in range(dims)]
    worst = int(np.argmax(distances))
    # Kolmogorov's 95 % level for the largest of all dimensions
    level = np.sqrt(np.log(2 * dims / 0.05) / (2 * rows))
    for i in range(dims):
        if i != worst:
            ax.plot(expected, quantiles[:, i], color=_GREY, lw=1)
    ax.plot(expected, quantiles[:, worst], color=COLOURS[1], lw=2, label=f"n{worst + 1}, the farthest")
    ends = [float(expected[0]), float(expected[-1])]
    ax.plot(ends, ends, color="black", ls="--", lw=1, label="N(0, 1)")
    ax.set(xlabel="quantile of N(0, 1)", ylabel="quantile of the noise dimension (whitened units)")
    block = f"Noise block, {dims} dimension{'s' if dims > 1 else ''}"
    ax.set_title(
        f"{block}: worst KS distance {distances[worst]:.3f} (n{worst + 1})\n"
        f"95 % of N(0, I) samples stay below {level:.3f}",
        fontsize=11,
    )
    ax.legend(fontsize=9, loc="upper left")
    ax.set_aspect("equal", adjustable="datalim")
    _corner(ax, _note(rows, seed))
    return ax


def plot_training(history: Sequence[dict[str, Any]], ax: Axes | None = None, *, note: str = "") -> Axes:
    """NLL against step, and kinetic energy in a strip below; stages shaded and named.

    Args:
        history: rows with step, stage, nll (nats) and kinetic, by rising step.
        note: what the corner says, such as rows and seed.
    """
    ax = _axes(ax, 7.2, 5.6)
    strip = _strip_below(ax, height=0.5)
    step = np.array([r["step"] for r in history])
    for panel, key, colour in ((ax, "nll", COLOURS[0]), (strip, "kinetic", COLOURS[2])):
        panel.plot(step, [r[key] for r in history], color=colour, lw=1.2, marker="o" if len(step) < 2 else None)
    spans = [(stage, [r["step"] for r in rows]) for stage, rows in groupby(history, key=lambda r: r["stage"])]
    edges = [*(steps[0] for _, steps in spans), *step[-1:]]
    for number, ((stage, _), (start, stop)) in enumerate(zip(spans, pairwise(edges), strict=True)):
        for panel in (ax, strip):
            panel.axvspan(start, stop, color=_GREY, alpha=0.32 if number % 2 else 0.1, lw=0)
        ax.text((start + stop) / 2, 1.015, stage, rotation=60, fontsize=8, transform=ax.get_xaxis_transform())
    ax.set(ylabel="NLL (nats per row)")
    ax.set_title("Training, batch values", pad=42)
    strip.set(xlabel="optimiser step", ylabel="kinetic energy\n(whitened units²)")
    strip.margins(x=0.01)
    _corner(strip, note)
    return ax


def save_figures(
    result: FitResult,
    s: NDArray[np.floating],
    n: NDArray[np.floating],
    labels: Sequence[Any] | NDArray | None,
    history: Sequence[dict[str, Any]],
    folder: str | Path,
    seed: int,
) -> list[Path]:
    """Write path, hull, width, structure, noise and training as PNG into ``folder`` (made where missing).

    Args:
        s, n: structure and noise block of the rows to show, labelled by ``labels``.
        history: see :func:`plot_training`.
        seed: named in the corners of what is drawn without ``result``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "path": plot_path(result),
        "hull": plot_hull(result),
        "width": plot_width(result),
        "structure": plot_structure(s, labels, seed=seed),
        "noise": plot_noise(n, seed=seed),
        "training": plot_training(history, note=_run_note(result)),
    }
    files = []
    for name, ax in drawn.items():
        files.append(folder / f"{name}.png")
        figure = ax.get_figure(root=True)
        assert figure is not None
        figure.savefig(files[-1], dpi=130)
    return files


# rows that share a colour and a marker: name, rows, colour (or one a row), marker
_Group = tuple[str, NDArray[np.bool_], Any, str]


def _label_groups(labels: Sequence[Any] | NDArray | None, rows: int) -> tuple[list[_Group], ScalarMappable | None]:
    """One group per distinct label, or one for all with a colour scale where there are too many to name."""
    everything = np.ones(rows, dtype=bool)
    if labels is None:
        return [("", everything, COLOURS[0], "o")], None
    values = np.asarray(labels)
    names, which = np.unique(values, return_inverse=True)
    if len(names) > _LEGEND_LABELS:
        numbers = values if np.issubdtype(values.dtype, np.number) else which
        scale = ScalarMappable(Normalize(float(numbers.min()), float(numbers.max())), "viridis")
        return [("", everything, scale.to_rgba(numbers), "o")], scale
    return [(str(x), which == j, _colour(j), _MARKERS[j // len(COLOURS)]) for j, x in enumerate(names)], None


def _scatter(ax: Axes, s: NDArray[np.floating], groups: list[_Group]) -> None:
    """Points of s (n, 2 or 3), smaller the more there are."""
    size = float(np.clip(20_000 / max(len(s), 1), 2, 14))
    for _, rows, colour, marker in groups:
        ax.scatter(*s[rows].T, s=size, c=colour, marker=marker, alpha=0.6, linewidths=0)  # type: ignore[misc]


def _pair_grid(ax: Axes, s: NDArray[np.floating], groups: list[_Group]) -> None:
    """The lower triangle of all pairs of columns of s, inside ``ax``."""
    ax.set_axis_off()
    cells = s.shape[1] - 1
    side = 1 / cells
    for row in range(1, cells + 1):
        for column in range(row):
            panel = ax.inset_axes((column * side + 0.02, 1 - row * side + 0.02, side - 0.04, side - 0.04))
            _scatter(panel, s[:, [column, row]], groups)
            panel.tick_params(labelsize=7)
            if column:
                panel.set_yticklabels([])
            else:
                panel.set_ylabel(f"s{row + 1} (whitened)")
            if row < cells:
                panel.set_xticklabels([])
            else:
                panel.set_xlabel(f"s{column + 1} (whitened)")


def _label_key(ax: Axes, groups: list[_Group], scale: ScalarMappable | None) -> None:
    """Name the labels beside ``ax``, or show their colour scale."""
    from matplotlib.lines import Line2D

    if scale is not None:
        ax.figure.colorbar(scale, ax=ax, label="label", shrink=0.8)
        return
    keys = [Line2D([], [], ls="", marker=marker, color=colour, label=name) for name, _, colour, marker in groups]
    ax.legend(handles=keys, title="label", loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False)


def _structure_names(result: FitResult) -> dict[int, str]:
    """Dimension -> name of the final flow's structure, in order of falling price."""
    return {int(i): f"s{j + 1}" for j, i in enumerate(result.flow.structure)}


def _colour(j: int) -> str:
    return COLOURS[j % len(COLOURS)]


def _dash(j: int) -> str:
    return _DASHES[(j + j // len(COLOURS)) % len(_DASHES)]


def _axes(ax: Axes | None, width: float, height: float, projection: str | None = None) -> Axes:
    """``ax``, or the one of a new figure that no window manages."""
    if ax is not None:
        return ax
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure.add_subplot(projection=projection)


def _strip_below(ax: Axes, height: float = 0.3, share: bool = True) -> Axes:
    """A panel that takes the lower part of ``ax``'s place, ``height`` of the upper one's.

    It shares ``ax``'s x axis where ``share`` holds.

    Raises:
        ValueError: ``ax`` has no place in a grid to share.
    """
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError("this figure has two panels and needs axes made by subplots() or add_subplot(), or ax=None")
    halves = place.subgridspec(2, 1, height_ratios=(1, height))
    ax.set_subplotspec(halves[0])
    strip = ax.figure.add_subplot(halves[1], sharex=ax if share else None)
    if share:
        ax.tick_params(labelbottom=False)
    return strip


def _log_lambda(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=12))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def _legend_beside(ax: Axes) -> None:
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, fontsize=8)


def _note(rows: int, seed: int | None) -> str:
    return f"n = {rows}" + ("" if seed is None else f", seed {seed}")


def _run_note(result: FitResult) -> str:
    return f"n = {len(result.train)} + {len(result.held_out)} held out, seed {result.flow.seed}"


def _corner(ax: Axes, text: str) -> None:
    """``text`` in the lower right corner of the figure's part that ``ax`` owns, under its x label."""
    style: dict[str, Any] = {"ha": "right", "va": "top", "fontsize": 7, "color": "#555555"}
    ax.annotate(text, (1, 0), (0, -34), "axes fraction", textcoords="offset points", **style)
