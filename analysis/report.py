"""The report: verdict first, then what it rests on, then what could make it wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.dimensions import NOTHING
from analysis.page import Section, page, png

if TYPE_CHECKING:
    from analysis.analyzer import Analyzer

MOST_POINTS = 3000
_RUN_FIGURES = (
    ("path", "gates and k against lambda"),
    ("hull", "J against k with its lower hull, and the lambdas at which each k is best"),
    ("width", "width of the flow against depth, with every exit"),
    ("training", "loss terms against training steps"),
    ("noise", "quantiles of the noise block against N(0, 1)"),
)


def write_report(analyzer: Analyzer, path: str | Path) -> Path:
    """Write the report of ``analyzer`` to ``path``, whole or not at all.

    Raises:
        IsADirectoryError: ``path`` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file, for instance {path / 'report.html'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(page(_title(analyzer), sections(analyzer)), encoding="utf8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def sections(analyzer: Analyzer) -> list[Section]:
    """The parts of the report, in order."""
    verbs: list[tuple[str, Callable[[], Any]]] = [
        ("Level sets by mass", analyzer.levels),
        ("Tree of pieces", analyzer.tree),
        ("Dimensions by price", analyzer.hierarchy),
        ("Certificate", analyzer.certificate),
        ("Tear", analyzer.tear),
        ("Intrinsic dimension", analyzer.intrinsic_dimension),
    ]
    return [
        Section("Verdict", _verdict(analyzer)),
        Section("How it was found", pictures=tuple(_run_figures(analyzer))),
        Section(
            "Funnel",
            "The rows on their way from data to latent.",
            ((_funnel(analyzer), "the rows at five depths of the flow"),),
        ),
        _structure(analyzer),
        *(_answer(title, verb) for title, verb in verbs),
        Section("What could make this wrong", "\n".join(f"- {line}" for line in doubts(analyzer))),
        Section("Settings", analyzer.run.config if analyzer.run else "The flow came without its run.", ()),
        Section("Environment", _environment(analyzer)),
    ]


def _title(analyzer: Analyzer) -> str:
    name = str(analyzer.run.result.get("data") or analyzer.run.folder.name) if analyzer.run else "a flow and rows"
    return f"unknot: what is left of {name}"


def _verdict(analyzer: Analyzer) -> str:
    lines = [repr(analyzer.dimensions())]
    if analyzer.structure_dim:
        tree, levels = analyzer.tree(), analyzer.levels()
        lines += ["", repr(levels).splitlines()[0], repr(tree).splitlines()[0]]
    lines += [repr(analyzer.certificate()).splitlines()[0], repr(analyzer.tear()).splitlines()[0]]
    return "\n".join(lines)


def _answer(title: str, verb: Callable[[], Any]) -> Section:
    answer = verb()
    return Section(title, repr(answer), ((png(answer.plot()), f"{title}: {repr(answer).splitlines()[0]}"),))


def _run_figures(analyzer: Analyzer) -> Iterator[tuple[bytes, str]]:
    if analyzer.run:
        for name, shows in _RUN_FIGURES:
            file = analyzer.run.folder / f"{name}.png"
            if file.is_file():
                yield file.read_bytes(), shows


def _drawn(analyzer: Analyzer) -> np.ndarray:
    """At most ``MOST_POINTS`` rows, drawn by the analyzer's seed."""
    count = len(analyzer.x)
    return np.random.default_rng(analyzer.seed).permutation(count)[:MOST_POINTS]


def _colours(analyzer: Analyzer, rows: np.ndarray) -> tuple[np.ndarray, str]:
    """An integer per row and what it means: labels where there are some, else pieces."""
    if analyzer.labels is not None:
        return np.unique(analyzer.labels, return_inverse=True)[1][rows], "label"
    if analyzer.structure_dim:
        return analyzer.tree().labels_[rows], "piece"  # type: ignore[union-attr]
    return np.zeros(len(rows), dtype=int), "nothing"


def _funnel(analyzer: Analyzer) -> bytes:
    from matplotlib.figure import Figure

    from analysis.drawing import COLOURS

    rows = _drawn(analyzer)
    states = analyzer.flow.trajectory(analyzer.x[rows]).numpy()
    shown = [0, 1] if states.shape[2] > 1 else [0, 0]
    order = [
        *analyzer.flow.structure.tolist(),
        *(i for i in range(states.shape[2]) if i not in analyzer.flow.structure),
    ]
    a, b = order[shown[0]], order[shown[1]]
    colours, by = _colours(analyzer, rows)
    depths = np.linspace(0, 1, len(states))
    picked = np.unique(np.linspace(0, len(states) - 1, 5).round().astype(int))
    figure = Figure(figsize=(2.5 * len(picked), 2.9), layout="constrained")
    for panel, i in zip(np.ravel(figure.subplots(1, len(picked), sharex=True, sharey=True)), picked, strict=True):
        panel.scatter(
            states[i, :, a], states[i, :, b], s=2, c=[COLOURS[c % len(COLOURS)] for c in colours], linewidths=0
        )
        panel.set_title(f"depth {depths[i]:.2f}, width {analyzer.flow.width(float(depths[i])):.1f}", fontsize=9)
        panel.set_aspect("equal", adjustable="box")
    names = [f"s{j + 1}" if j < analyzer.structure_dim else f"n{j + 1 - analyzer.structure_dim}" for j in shown]
    figure.supxlabel(
        f"{names[0]} (whitened units); {len(rows)} rows, coloured by {by}, seed {analyzer.seed}", fontsize=8
    )
    figure.supylabel(names[1], fontsize=8)
    return png(figure.axes[0])


def _structure(analyzer: Analyzer) -> Section:
    from analysis.drawing import COLOURS, axes

    title, k = "Structure block", analyzer.structure_dim
    if not k:
        return Section(title, f"k = 0: {NOTHING}.")
    rows = _drawn(analyzer)
    colours, by = _colours(analyzer, rows)
    s = analyzer.s[rows]
    if k >= 3:
        more = "" if k == 3 else f" (the dearest three of {k})"
        return Section(title, f"s1, s2, s3{more}, coloured by {by}.", cloud=(s[:, :3], colours))
    ax = axes(None, 5.6, 5)
    if k == 1:
        bins = np.linspace(s.min(), s.max(), 60).tolist()
        for c in np.unique(colours):
            ax.hist(s[colours == c, 0], bins, color=COLOURS[c % len(COLOURS)], alpha=0.6, label=f"{by} {c}")
        ax.set(xlabel="s1 (whitened units)", ylabel="rows per bin")
    else:
        ax.scatter(s[:, 0], s[:, 1], s=3, c=[COLOURS[c % len(COLOURS)] for c in colours], linewidths=0)
        ax.set(xlabel="s1 (whitened units)", ylabel="s2 (whitened units)")
        ax.set_aspect("equal", adjustable="datalim")
    return Section(title, f"{len(rows)} rows, coloured by {by}.", ((png(ax), "the structure block"),))


def doubts(analyzer: Analyzer) -> list[str]:
    """What could make the verdict wrong, as far as this run shows it; never empty."""
    found, result = analyzer.dimensions(), analyzer.run.result if analyzer.run else {}
    certificate, tear = analyzer.certificate(), analyzer.tear()
    lines = [
        "Everything is said at one regularity (kappa in the settings). At a smaller kappa less is structure; at a larger "
        "one every bend of the noise is. Repeat the fit at half and at twice the kappa.",
        "Noise means Gaussian noise: bent noise has a positive worth, and is counted as structure where it is large.",
    ]
    if found.confidence < 0.5:
        lines.append(
            f"The confidence is only {found.confidence:.2f}: another k is best on nearly as wide a range of lambda."
        )
    if found.stability < 0.9:
        lines.append(
            f"Only {found.stability:.0%} of resamples of the held-out rows choose the same k: more rows would help."
        )
    near = [w for w, e in zip(found.worth, found.worth_se, strict=True) if w - 2 * e < found.null_worth]
    if near:
        lines.append(
            f"{len(near)} structure dimensions are within two standard errors of what noise seems to be worth."
        )
    if certificate.verdict != "certified at delta":
        lines.append(f"The split into structure and noise: {certificate.verdict}. {certificate.reason}")
    lines.append(repr(tear).splitlines()[0])
    held = int(analyzer.is_held_out.sum())
    if held < 3000:
        lines.append(
            f"Only {held} rows are held out: the certificate and the level sets are weak below some thousands."
        )
    if analyzer.structure_dim > 3:
        lines.append("With more than three structure dimensions the level sets are read off a subsample of rows.")
    if analyzer.structure_dim:
        lines.append(
            "Level sets belong to the coordinates that the flow found; only ratios of two densities are invariant."
        )
    lines += [f"The fit noted: {note}" for note in result.get("notes", [])]
    return lines


def _environment(analyzer: Analyzer) -> str:
    from importlib.metadata import version

    fitted = analyzer.run.result.get("versions", {}) if analyzer.run else {}
    lines = [f"fitted with {name} {value}" for name, value in fitted.items()]
    lines.append(
        "analysed with " + ", ".join(f"{name} {version(name)}" for name in ("unknot", "torch", "gudhi", "ripser"))
    )
    lines.append(f"{len(analyzer.x)} rows, {int(analyzer.is_held_out.sum())} of them held out; seed {analyzer.seed}")
    return "\n".join(lines)
