"""What the report says of shape: names, loops with their angles, persistence diagram, knots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.reports.page import Section, png

if TYPE_CHECKING:
    from analysis.analyzer import Analyzer

MOST_LOOPS = 4


def shape_sections(analyzer: Analyzer) -> list[Section]:
    """The report's sections about shape; of at most four loops there are pictures."""
    from analysis.nothing import Nothing

    described, found = analyzer.describe(), analyzer.loops()
    shape = Section(
        "Shape", repr(described), pictures=((png(described.plot()), f"the pieces: {repr(described).splitlines()[0]}"),)
    )
    if isinstance(found, Nothing) or isinstance(described, Nothing):
        return [shape]
    shown = list(found)[:MOST_LOOPS]
    pictures = [(png(found.plot(loop=loop.number)), f"rows by their angle around {loop!r}") for loop in shown]
    pictures.append(
        (png(found.plot_diagram()), "persistence diagram: scales at which loops and voids close and are filled")
    )
    pictures += [
        (png(named.knot.plot()), f"the fitted curve from two sides: {named.knot!r}")
        for named in described.pieces
        if named.knot is not None
    ][:MOST_LOOPS]
    return [shape, Section("Loops", repr(found), pictures=tuple(pictures))]
