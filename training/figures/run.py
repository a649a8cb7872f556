"""Figures of a run, drawn from plain results. Every function takes ``ax=None`` and returns the Axes it drew on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from training.figures.blocks import plot_noise, plot_structure
from training.figures.panels import (
    COLOURS,
    GREY,
    LEGEND_LABELS,
    axes,
    colour_of,
    corner,
    dash_of,
    legend_beside,
    log_lambda,
    save_panel,
    strip_below,
)

if TYPE_CHECKING:
    from training.fitting import FitResult


def plot_path(result: FitResult, ax: Axes | None = None) -> Axes:
    """Gates against lambda along the ramp, and k as steps in a strip below; grey dimensions end as noise."""
    ax = axes(ax, 6.4, 5.4)
    strip = strip_below(ax)
    ramp = result.path[result.path["stage"] == "ramp"]
    path = ramp if len(ramp) else result.path[result.path["lam"] > 0]
    lam, gates = path["lam"], path["gates"]
    marker = "o" if len(path) < 2 else None
    names = _structure_names(result)
    for i in range(gates.shape[1]):
        if i not in names:
            ax.plot(lam, gates[:, i], color=GREY, lw=1, marker=marker, zorder=1)
    for j, (i, name) in enumerate(names.items()):
        width = 3.5 - 2 * j / max(len(names) - 1, 1)
        ax.plot(lam, gates[:, i], color=colour_of(j), ls=dash_of(j), lw=width, marker=marker, label=name, zorder=2)
    strip.step(lam, path["k"], where="post", color="black", marker=marker)
    for panel in (ax, strip):
        panel.axvline(result.null_worth, color="black", ls=":", lw=1.5, label="null threshold")
    log_lambda(ax)
    ax.set(ylim=(-0.04, 1.04), ylabel="gate (1 structure, 0 noise)")
    strip.set(xlabel="lambda (nats)", ylabel="k", ylim=(-0.4, max(path["k"], default=1) + 0.4))
    strip.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=4))
    dims = result.flow.front.dims
    k = result.structure_dim
    chosen = f"k = {k} of {dims} dimensions" if k else f"k = 0: {dims} dimensions of noise"
    ax.set_title(f"Path: {chosen} (confidence {result.confidence:.2f})")
    if len(names) <= LEGEND_LABELS:
        legend_beside(ax)
    corner(strip, _run_note(result))
    return ax


def plot_hull(result: FitResult, ax: Axes | None = None) -> Axes:
    """The ladder: J against k with its lower hull and every rung, and in a strip the lambdas at which each k is best.

    A vertex's bar is the paired standard error of its drop from the vertex before.
    """
    ax = axes(ax, 6.4, 6.2)
    strip = strip_below(ax, height=0.42, share=False)
    hull = result.hull
    ks, J = [v.k for v in hull], [v.J for v in hull]
    errors = [0.0, *(b.worth_se * (b.k - a.k) for a, b in pairwise(hull))]
    if others := [k for k in result.J if k not in ks]:
        ax.plot(others, [result.J[k] for k in others], "o", color=GREY, label="above the hull or past its end")
    ax.errorbar(ks, J, yerr=errors, fmt="o-", color=COLOURS[0], capsize=4, label="lower hull ± paired s.e. of the drop")
    chosen = {v.k: v.J for v in hull}.get(result.structure_dim)
    if chosen is not None:
        ax.plot(result.structure_dim, chosen, "o", ms=13, mfc="none", mec=COLOURS[1], mew=2, label="chosen")
    steep = len(hull) > 4
    for rung, (a, b) in zip(result.ladder.rungs, pairwise(hull), strict=True):
        ax.annotate(
            str(rung),
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
    first = "NLL" if result.kl is None else "bound of the KL"
    ax.set(xlabel="k, structure dimensions", ylabel=f"J = held-out {first} + kappa KE (nats per row)")
    step = "" if not result.structure_dim else ", a clear rung" if result.ladder.is_clear else ", no clear rung"
    ax.set_title(f"Ladder: dimensions x nats each; k = {result.structure_dim}{step}; null {result.null_worth:.3f}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.legend(fontsize=8, loc="upper right")
    _plot_intervals(result, strip)
    corner(strip, _run_note(result))
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
    ax.axvspan(left, null, color=GREY, alpha=0.35, lw=0, zorder=0)
    if (lam := result.ladder.lam) is not None:
        ax.axvline(lam, color="black", ls=":", lw=1.5)
    ax.set_title(f"best k for each lambda; dotted: where k is read off; grey: below the null of {null:.3f}", fontsize=9)
    log_lambda(ax)
    ax.set(xlim=(left, right), ylim=(-0.6, len(result.hull) + 0.3), xlabel="lambda (nats)")
    ax.set_yticks(range(len(result.hull)), [f"k = {v.k}" for v in result.hull], fontsize=8)


def plot_width(result: FitResult, ax: Axes | None = None) -> Axes:
    """Width of the flow against depth, and in a strip the depth at which each dimension leaves."""
    ax = axes(ax, 6.4, 5.4)
    strip = strip_below(ax, height=0.5)
    flow = result.flow
    depth = np.linspace(0, 1, 201)
    ax.plot(depth, [flow.width(float(t)) for t in depth], color=COLOURS[0], lw=2)
    ax.set(ylim=(0, flow.front.dims * 1.05), ylabel="width (dimensions in the flow)")
    ax.set_title(f"Width against depth: {flow.front.dims} at the data, {flow.structure_dim} at the latent")
    tau = flow.exits.tau.detach().cpu().numpy()
    rank = np.argsort(np.argsort(tau, kind="stable"), kind="stable") + 1
    is_structure = np.isin(np.arange(len(tau)), list(_structure_names(result)))
    for kind, rows, colour in (("noise", ~is_structure, GREY), ("structure", is_structure, COLOURS[1])):
        strip.plot(tau[rows], rank[rows], "|", ms=9, mew=2, color=colour, label=kind)
    half = flow.exits.width / 2
    for panel in (ax, strip):
        panel.set_xlim(-half - 0.04, 1 + half + 0.04)
        for outside in ((-1.0, 0.0), (1.0, 2.0)):
            panel.axvspan(*outside, color=GREY, alpha=0.2, lw=0)
    strip.set(ylim=(0, len(tau) + 1), ylabel="exits, ranked")
    strip.set_xlabel(f"depth t (0 data, 1 latent); exit at {-half:g}: never enters, at {1 + half:g}: stays", fontsize=9)
    strip.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=4))
    legend_beside(strip)
    corner(strip, _run_note(result))
    return ax


def plot_training(history: Sequence[dict[str, Any]], ax: Axes | None = None, *, note: str = "") -> Axes:
    """NLL against step, and kinetic energy in a strip below; stages shaded and named.

    Args:
        history: rows with step, stage, nll (nats) and kinetic, by rising step.
        note: what the corner says, such as rows and seed.
    """
    ax = axes(ax, 7.2, 5.6)
    strip = strip_below(ax, height=0.5)
    step = np.array([r["step"] for r in history])
    for panel, key, colour in ((ax, "nll", COLOURS[0]), (strip, "kinetic", COLOURS[2])):
        panel.plot(step, [r[key] for r in history], color=colour, lw=1.2, marker="o" if len(step) < 2 else None)
    spans = [(stage, [r["step"] for r in rows]) for stage, rows in groupby(history, key=lambda r: r["stage"])]
    edges = [*(steps[0] for _, steps in spans), *step[-1:]]
    for number, ((stage, _), (start, stop)) in enumerate(zip(spans, pairwise(edges), strict=True)):
        for panel in (ax, strip):
            panel.axvspan(start, stop, color=GREY, alpha=0.32 if number % 2 else 0.1, lw=0)
        ax.text((start + stop) / 2, 1.015, stage, rotation=60, fontsize=8, transform=ax.get_xaxis_transform())
    ax.set(ylabel="NLL (nats per row)")
    ax.set_title("Training, batch values", pad=42)
    strip.set(xlabel="optimiser step", ylabel="kinetic energy\n(whitened units²)")
    strip.margins(x=0.01)
    corner(strip, note)
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
        history: see :func:`plot_training`; none, no figure of it.
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
    }
    if history:
        drawn["training"] = plot_training(history, note=_run_note(result))
    files = []
    for name, ax in drawn.items():
        files.append(folder / f"{name}.png")
        save_panel(ax, files[-1])
    return files


def _structure_names(result: FitResult) -> dict[int, str]:
    """Dimension -> name of the final flow's structure, in order of falling price."""
    return {int(i): f"s{j + 1}" for j, i in enumerate(result.flow.structure)}


def _run_note(result: FitResult) -> str:
    return f"n = {len(result.train)} + {len(result.held_out)} held out, seed {result.flow.seed}"
