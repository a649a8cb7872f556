"""The report of an alignment as one offline HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.alignment import plots, words
from analysis.reports.page import Section, png, write_page

if TYPE_CHECKING:
    from analysis.alignment.aligner import Aligner

MOST_POINTS = 1500


def write_report(aligner: Aligner, path: str | Path, title: str = "unknot: alignment of two structure blocks") -> Path:
    """Write the report to ``path``, whole or not at all.

    Raises:
        IsADirectoryError: ``path`` is a folder.
    """
    return write_page(path, title, lambda: sections(aligner), "alignment.html")


def sections(aligner: Aligner) -> list[Section]:
    """The parts of the report, in order."""
    first = png(plots.before(aligner))
    return [
        Section("Verdict", words.headline(aligner)),
        Section(
            "Before and after",
            _legend(aligner),
            pictures=((first, "before"), (png(plots.overlay(aligner)), "after")),
            key=plots.key(aligner),
        ),
        *_turning(aligner),
        Section("Matches", "\n".join(words.matches(aligner)) or "no pieces match"),
        Section(
            "What stays ambiguous",
            "\n".join(words.ambiguity(aligner)),
            pictures=_maps(aligner),
        ),
        Section("What this rests on", "\n".join(f"- {line}" for line in words.doubts(aligner))),
    ]


def _maps(aligner: Aligner) -> tuple[tuple[bytes, str], ...]:
    many = len(aligner.alternatives_) > 1
    return ((png(plots.all_alternatives(aligner)), "the near-optimal maps"),) if many else ()


def _legend(aligner: Aligner) -> str:
    if len(aligner.matches_) > 1 or any(aligner.unmatched_.values()):
        return "One colour a match; grey where a piece has no partner."
    return "One piece on either side: a in eight sectors of colour, b in the colours of the rows of a that land there."


def _turning(aligner: Aligner) -> list[Section]:
    """Both blocks in a viewer that turns, where there is a third dimension."""
    if aligner.b_.s.shape[1] < 3:
        return []
    rng = np.random.default_rng(aligner.seed)
    parts = []
    for rows, numbers in zip((aligner.map_(aligner.a_.s), aligner.b_.s), plots.colours(aligner), strict=True):
        some = rng.permutation(len(rows))[: MOST_POINTS // 2]
        parts.append((rows[some, :3], numbers[some]))
    cloud = np.vstack([p for p, _ in parts]), np.concatenate([c for _, c in parts])
    return [
        Section(
            "Both blocks after the map", "a and b together, in b's coordinates.", cloud=cloud, key=plots.key(aligner)
        )
    ]
