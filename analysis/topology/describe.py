"""The shape of a structure block in words: each piece named in one sentence, with how sure that is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.topology.knot import Knot
from analysis.topology.linking import Linking
from analysis.topology.loops import Loops
from analysis.topology.naming import SENTENCES
from analysis.topology.support import Support
from analysis.topology.survey import MASSES, in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

THIN = 0.1  # of the rows of a loop, on a quarter of its length


@dataclass(frozen=True, repr=False)
class Named:
    """A piece, or several that are one shape, and what it is called.

    Attributes:
        part: its number in the survey.
        pieces: its pieces in the tree.
        kind: a word of ``naming.SENTENCES``, or "unknown".
        confidence: share of the draws that call it so, at every mass that was looked at; of a knot also of the polygons.
        mass: share of the rows.
        level: share of these, the densest, that the name is of.
        doubt: what is undecided or speaks against all words; empty if nothing.
        votes: what the draws call it, and how many do, at every mass.
        loops: numbers of its loops.
        knot: the verdict on its loop, where it is one loop in three dimensions.
        emptiest: share of its rows on the emptiest quarter of its length, where it is one loop.
        densest: what the ridge of its densest rows is, where the name is of the support of all its rows.
    """

    part: int
    pieces: tuple[int, ...]
    kind: str
    confidence: float
    mass: float
    level: float
    doubt: str
    votes: dict[str, int]
    loops: tuple[int, ...] = ()
    knot: Knot | None = None
    emptiest: float | None = None
    densest: str = ""

    @property
    def sentence(self) -> str:
        """One plain sentence."""
        together = " together are" if len(self.pieces) > 1 else " is"
        head = f"{in_words(self.pieces)} ({self.mass:.0%} of the rows){together}"
        if self.kind == "unknown":
            return f"{head} not one of the shapes with a name here: {self.doubt}"
        article = "an" if self.kind[0] in "aeiou" else "a"
        text = f"{head} {article} {self.kind}: {SENTENCES[self.kind]}"
        if self.knot is not None and self.knot.verdict == "knotted":
            text += f" as the {self.knot.name or 'knots'} with Alexander polynomial {list(self.knot.polynomial)}"
        elif self.knot is not None:
            text += {"unknotted": ", not knotted", "undecided": "; whether it is knotted is undecided"}[
                self.knot.verdict
            ]
        thin = self.emptiest is not None and self.emptiest < THIN
        text += f"; a quarter of it holds {self.emptiest:.1%} of the rows" if thin else ""
        text += f"; {self.densest}" if self.densest else ""
        return text + (f" ({self.doubt})" if self.doubt else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "pieces": list(self.pieces),
            "kind": self.kind,
            "confidence": self.confidence,
            "mass": self.mass,
            "level": self.level,
            "sentence": self.sentence,
            "votes": self.votes,
            "loops": list(self.loops),
            "emptiest_quarter": self.emptiest if self.emptiest == self.emptiest else None,
            "densest": self.densest,
            "knot": None if self.knot is None else {k: v for k, v in self.knot.to_dict().items() if k != "curve"},
        }

    def __repr__(self) -> str:
        others = [f"{count} {word}" for word, count in self.votes.items() if word != self.kind and self.kind != "knot"]
        doubt = f"; other draws: {', '.join(others)}" if others and len(self.votes) > 1 else ""
        return f"{self.sentence}. Confidence {self.confidence:.2f}{doubt}"


@dataclass(frozen=True, repr=False)
class Description:
    """What a structure block looks like.

    Attributes:
        pieces: named, the piece itself or several that are one shape; heaviest first.
        links: pairs of loops of different shapes that wind round one another.
        undecided: pairs of which the draws disagree.
        found: the loops.
        support: Betti numbers of the support of all rows, which no piece is cut from; None where it was not read.
    """

    pieces: tuple[Named, ...]
    links: tuple[Linking, ...]
    undecided: tuple[Linking, ...]
    found: Loops
    support: Support | None = None

    @property
    def betti(self) -> dict[int, tuple[int, int, int]]:
        """Pieces, loops and voids of the support of all rows over Z/2 and over Z/3; empty where it was not read."""
        return self.support.betti if self.support else {}

    @property
    def disagreement(self) -> str:
        """What the routes say that does not fit together; empty where they agree."""
        if self.found.survey.other_route:
            return f"the routes disagree: {self.found.survey.other_route}"
        chosen = [self.found.survey.chosen(named.part) for named in self.pieces]
        ridge = tuple(sum(each) for each in zip(*(r.betti[2] for r in chosen if r is not None), strict=True))
        if not self.betti or not ridge or ridge == self.betti[2][1:]:
            return ""
        loops, voids = ridge
        return (
            f"the routes disagree: by the ridges of the densest rows {loops} loops and {voids} voids, see the support"
        )

    @property
    def kind(self) -> str:
        """One word for all: "link" where loops are linked, a piece's own where there is one, else a count such as "3 blob"."""
        if self.links:
            return "link"
        words = Counter(named.kind for named in self.pieces)
        if len(self.pieces) == 1:
            return self.pieces[0].kind
        return ", ".join(f"{count} {word}" for word, count in words.most_common())

    @property
    def confidence(self) -> float:
        """The least of the pieces' and links'."""
        links = [float(np.mean(np.abs(link.numbers) == abs(link.number))) for link in self.links]
        return min([named.confidence for named in self.pieces] + links)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "kind": self.kind,
            "confidence": self.confidence,
            "pieces": [named.to_dict() for named in self.pieces],
            "links": [link.to_dict() for link in self.links],
            "undecided": [link.to_dict() for link in self.undecided],
            "support": self.support.to_dict() if self.support else None,
            "disagreement": self.disagreement,
        }

    def __repr__(self) -> str:
        count = sum(len(named.pieces) for named in self.pieces)
        many = f"{count} piece{'s' * (count > 1)}" if count else "read as a whole"
        if count > len(self.pieces):
            many += f" in {len(self.pieces)} shape{'s' * (len(self.pieces) > 1)}"
        lines = [f"{self.kind} ({many}), confidence {self.confidence:.2f}"]
        lines += [f"  {named!r}" for named in self.pieces]
        lines += [f"  {link!r}" for link in (*self.links, *self.undecided)]
        lines += [f"  {self.support!r}"] if self.support else []
        lines += [f"  {self.disagreement}"] if self.disagreement else []
        return "\n".join(lines + [f"  note: {note}" for note in self.found.notes])

    def plot(self, ax: Axes | None = None) -> Axes:
        """The rows by piece, with the closed curves that were fitted to their loops."""
        from analysis.topology.plots import plot_description

        return plot_description(self, ax)


def describe(found: Loops, support: Support | None = None) -> Description:
    """Name every piece; where a piece is one loop in three dimensions say whether it is knotted, and what it is linked with."""
    pieces = tuple(_named(found, part) for part in range(len(found.survey.readings)))
    single = [named.loops[0] for named in pieces if named.kind in ("circle", "knot") and found.survey.dims == 3]
    closed = [number for number in single if any(curve is not None for curve in found.curves(number))]
    pairs = [found.linking(one, other) for one, other in combinations(closed, 2)]
    links = tuple(pair for pair in pairs if pair.is_decided and pair.number)
    return Description(pieces, links, tuple(pair for pair in pairs if not pair.is_decided), found, support)


def _named(found: Loops, part: int) -> Named:
    kind, confidence, doubt = found.survey.kind(part)
    numbers = tuple(loop.number for loop in found.loops if loop.part == part)
    level = found.survey.masses[part]
    if level < MASSES[0]:
        only = f"by its densest {level:.0%}, for on its densest {MASSES[0]:.0%} the draws do not agree"
        doubt = f"{doubt}; {only}" if doubt else only
    named = Named(
        part=part,
        pieces=found.survey.parts[part],
        kind=kind,
        confidence=confidence,
        mass=float((found.survey.labels == part).mean()),
        level=level,
        doubt=doubt,
        votes=dict(Counter(found.survey.said[part])),
        loops=numbers,
        emptiest=found.loops[numbers[0]].emptiest if kind == "circle" and numbers else None,
        densest=found.survey.densest.get(part, ""),
    )
    if kind != "circle" or found.survey.dims != 3 or all(curve is None for curve in found.curves(numbers[0])):
        return named
    verdict = found.knot(numbers[0])
    if verdict.verdict == "undecided":
        return replace(named, knot=verdict)
    word = "knot" if verdict.verdict == "knotted" else kind
    return replace(named, kind=word, knot=verdict, confidence=min(confidence, verdict.agreeing))
