"""The report: verdict first, then what it rests on, then what could make it wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.dimension.dimensions import NOTHING
from analysis.reports.page import Section, png, write_page
from analysis.topology.sections import shape_sections

if TYPE_CHECKING:
    from analysis.analyzer import Analyzer

MOST_POINTS = 3000
_RUN_FIGURES = (
    ("path", "gates and k against lambda"),
    ("hull", "the ladder: J against k with its lower hull, and the lambdas at which each k is best"),
    ("width", "width of the flow against depth, with every exit"),
    ("training", "loss terms against training steps"),
    ("noise", "quantiles of the noise block against N(0, 1)"),
)


def write_report(analyzer: Analyzer, path: str | Path) -> Path:
    """Write the report of ``analyzer`` to ``path``, whole or not at all.

    Raises:
        IsADirectoryError: ``path`` is a folder.
    """
    return write_page(path, _title(analyzer), lambda: sections(analyzer), "report.html")


def sections(analyzer: Analyzer) -> list[Section]:
    """The parts of the report, in order."""
    if not analyzer.has_flow:
        return _of_structure(analyzer)
    verbs: list[tuple[str, Callable[[], Any]]] = [
        ("Level sets by mass", analyzer.levels),
        ("Tree of pieces", analyzer.tree),
        *([("Arrangement of pieces", analyzer.arrangement)] if _many_pieces(analyzer) else []),
        ("Dimensions by price", analyzer.hierarchy),
        *([("What the net uses", analyzer.faithfulness)] if analyzer.can_ask else []),
        ("Certificate", analyzer.certificate),
        ("Tear", analyzer.tear),
        ("What the map cannot have made", analyzer.carved),
        ("Intrinsic dimension", analyzer.intrinsic_dimension),
    ]
    return [
        Section("Verdict", repr(analyzer.dimensions()), _verdict(analyzer)),
        Section("How it was found", pictures=tuple(_run_figures(analyzer))),
        Section(
            "Funnel",
            "The rows on their way from data to latent: two dimensions at five depths; at each the flow is as wide as it says.",
            pictures=((_funnel(analyzer), "the rows at five depths of the flow"),),
            key=_colours(analyzer)[1],
        ),
        _structure(analyzer),
        *shape_sections(analyzer),
        *(_answer(title, verb) for title, verb in verbs),
        Section("What could make this wrong", "\n".join(f"- {line}" for line in doubts(analyzer))),
        Section("Settings", analyzer.run.config if analyzer.run else "The flow came without its run."),
        Section("Environment", _environment(analyzer)),
    ]


def _of_structure(analyzer: Analyzer) -> list[Section]:
    """The parts of a report on structure alone."""
    verbs: list[tuple[str, Callable[[], Any]]] = [
        ("Level sets by mass", analyzer.levels),
        ("Tree of pieces", analyzer.tree),
        *([("Arrangement of pieces", analyzer.arrangement)] if _many_pieces(analyzer) else []),
    ]
    return [
        Section(
            "Verdict",
            "\n".join(repr(verb()).splitlines()[0] for verb in (analyzer.describe, analyzer.levels, analyzer.tree)),
        ),
        _structure(analyzer),
        *shape_sections(analyzer),
        *(_answer(title, verb) for title, verb in verbs),
        _answer("Intrinsic dimension", analyzer.intrinsic_dimension),
        Section("Environment", _environment(analyzer)),
    ]


def _many_pieces(analyzer: Analyzer) -> bool:
    """Whether there are enough pieces for an arrangement."""
    from analysis.pieces.arrangement import FEWEST

    return analyzer.structure_dim > 0 and analyzer.tree().count >= FEWEST  # type: ignore[union-attr]


def _title(analyzer: Analyzer) -> str:
    name = str(analyzer.run.result.get("data") or analyzer.run.folder.name) if analyzer.run else "a flow and rows"
    return f"unknot: what is left of {name}"


def _verdict(analyzer: Analyzer) -> tuple[tuple[str, str], ...]:
    """The questions that a reader comes with, answered in a line each."""
    found, certificate, tear = analyzer.dimensions(), analyzer.certificate(), analyzer.tear()
    k, noise = found.structure_dim, found.dims - found.structure_dim
    if not k:
        rows = [("How many dimensions carry structure?", f"none of {found.dims}: {NOTHING}")]
    else:
        rows = [
            ("How many dimensions carry structure?", f"{k} of {found.dims}; {noise or 'none'} left as Gaussian noise"),
            ("What shape has it?", _shape(analyzer)),
            ("How many pieces?", f"{analyzer.tree().count}, parted by valleys of the density"),  # type: ignore[union-attr]
        ]
    if found.ladder:
        rows.insert(0, ("Which rungs has the ladder?", found.ladder))
    split = certificate.verdict + certificate.extent
    if k and analyzer.can_ask:
        rows.append(("Does the net use it, and not the rest?", analyzer.faithfulness().verdict()))  # type: ignore[union-attr]
    return (
        *rows,
        *(("What is odd about the rows?", oddity) for oddity in found.oddities),
        ("Is the rest really independent noise?", split if certificate.certified else f"{split}: {certificate.reason}"),
        ("Can the picture be trusted?", f"{tear.verdict}. {tear.reason}"),
    )


def _shape(analyzer: Analyzer) -> str:
    from analysis.density.level_sets import in_words

    levels = analyzer.levels()
    betti = levels.betti(0.9)  # type: ignore[union-attr]
    if betti is None:
        return "; ".join(levels.notes)  # type: ignore[union-attr]
    doubt = in_words(levels.unsure(0.9) or ())  # type: ignore[union-attr]
    unsure = f" ({doubt} within the error of that level)" if doubt else ""
    return f"{in_words(betti)} in the densest set that holds 90 % of the rows{unsure}"


def _answer(title: str, verb: Callable[[], Any]) -> Section:
    answer = verb()
    return Section(title, repr(answer), pictures=((png(answer.plot()), f"{title}: {repr(answer).splitlines()[0]}"),))


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


def _colours(analyzer: Analyzer) -> tuple[np.ndarray, tuple[tuple[str, str], ...]]:
    """An integer for every row, by label where there are several, else by piece; the colour and name of each."""
    from analysis.drawing import palette

    labels, kind = analyzer.labels, "label"
    if labels is None or len(np.unique(labels)) < 2:
        if not analyzer.structure_dim:
            return np.zeros(len(analyzer.x), dtype=int), ((palette(1)[0], "all rows"),)
        labels, kind = analyzer.tree().labels_, "piece"  # type: ignore[union-attr]
    names, index = np.unique(labels, return_inverse=True)
    return index, tuple(zip(palette(len(names)), (f"{kind} {name}" for name in names.tolist()), strict=True))


def _funnel(analyzer: Analyzer) -> bytes:
    from matplotlib.figure import Figure

    rows = _drawn(analyzer)
    flow, given = analyzer.narrowing
    states = flow.trajectory(given[rows]).numpy()
    shown = [0, 1] if states.shape[2] > 1 else [0, 0]
    order = [
        *flow.structure.tolist(),
        *(i for i in range(states.shape[2]) if i not in flow.structure),
    ]
    a, b = order[shown[0]], order[shown[1]]
    shades = _shades(analyzer, rows)
    depths = np.linspace(0, 1, len(states))
    picked = np.unique(np.linspace(0, len(states) - 1, 5).round().astype(int))
    figure = Figure(figsize=(2.5 * len(picked), 2.9), layout="constrained")
    for panel, i in zip(np.ravel(figure.subplots(1, len(picked), sharex=True, sharey=True)), picked, strict=True):
        panel.scatter(states[i, :, a], states[i, :, b], s=2, c=shades, linewidths=0)
        panel.set_title(f"depth {depths[i]:.2f}, width {flow.width(float(depths[i])):.1f}", fontsize=9)
        panel.set_aspect("equal", adjustable="box")
    names = [f"s{j + 1}" if j < analyzer.structure_dim else f"n{j + 1 - analyzer.structure_dim}" for j in shown]
    figure.supxlabel(f"{names[0]} (whitened units); {len(rows)} rows, seed {analyzer.seed}", fontsize=8)
    figure.supylabel(names[1], fontsize=8)
    return png(figure.axes[0])


def _shades(analyzer: Analyzer, rows: np.ndarray) -> list[str]:
    """The colour of each of the rows."""
    index, key = _colours(analyzer)
    return [key[c][0] for c in index[rows]]


def _structure(analyzer: Analyzer) -> Section:
    from analysis.drawing import axes

    title, k = "Structure block", analyzer.structure_dim
    if not k:
        return Section(title, f"k = 0: {NOTHING}.")
    rows = _drawn(analyzer)
    index, key = _colours(analyzer)
    s = analyzer.s[rows]
    if k >= 3:
        more = "" if k == 3 else f" (the three of highest price of {k})"
        return Section(title, f"s1, s2, s3{more}.", cloud=(s[:, :3], index[rows]), key=key)
    ax = axes(None, 5.6, 5)
    if k == 1:
        bins = np.linspace(s.min(), s.max(), 60).tolist()
        for c, (colour, _) in enumerate(key):
            ax.hist(s[index[rows] == c, 0], bins, color=colour, alpha=0.6)
        ax.set(xlabel="s1 (whitened units)", ylabel="rows per bin")
    else:
        ax.scatter(s[:, 0], s[:, 1], s=3, c=_shades(analyzer, rows), linewidths=0)
        ax.set(xlabel="s1 (whitened units)", ylabel="s2 (whitened units)")
        ax.set_aspect("equal", adjustable="datalim")
    text = f"{len(rows)} rows, drawn by seed {analyzer.seed}."
    return Section(title, text, pictures=((png(ax), "the structure block"),), key=key)


def doubts(analyzer: Analyzer) -> list[str]:
    """What could make the verdict wrong, as far as this run shows it; never empty."""
    found, result = analyzer.dimensions(), analyzer.run.result if analyzer.run else {}
    certificate, tear = analyzer.certificate(), analyzer.tear()
    lines = [
        "Everything here holds at one regularity (kappa in the settings). At a smaller kappa less is structure; at a larger "
        "one every bend of the noise is. Repeat the fit at half and at twice the kappa.",
        "Noise means Gaussian noise: bent noise has a positive worth, and is counted as structure where it is large.",
    ]
    if found.confidence < 0.5:
        lines.append(
            f"The confidence is only {found.confidence:.2f}: another k is best at lambdas near the middle of the ladder."
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
    if analyzer.can_ask and analyzer.structure_dim:
        same = analyzer.faithfulness().parts[0].rest["redrawn"].agreement  # type: ignore[union-attr]
        if same < 0.99:
            lines.append(
                f"The net reads what is called noise: redrawn, its answers agree at {same:.3f} with what they were."
            )
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
