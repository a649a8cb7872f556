"""Aligner: the map between the structure blocks of two models, without pairs, and whether it is the only one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from analysis.alignment.asked import NULL_DRAWS, ROWS, TOLERANCE, Both, both_of, check_settings, part_of, within
from analysis.alignment.bends import Fit
from analysis.alignment.clouds import FEWEST, Cloud, Rows
from analysis.alignment.correction import Correction, correct
from analysis.alignment.evidence import Evidence, evidence
from analysis.alignment.frame import outward
from analysis.alignment.judge import Judge
from analysis.alignment.layer import by_layer, layers
from analysis.alignment.matching import PLAN_ROWS, Match, Members, matched, transport_plan
from analysis.alignment.nulls import p_value
from analysis.alignment.proportions import even, with_shares
from analysis.alignment.rigid import Floats, Rigid
from analysis.alignment.scores import apart, quality
from analysis.alignment.sides import Side
from analysis.alignment.solution import solution
from analysis.alignment.symmetry import Symmetry
from analysis.alignment.wide import ALL_ROWS, Search

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.alignment.carrying import Head, Stitched, Transfer
    from analysis.alignment.geometry import Geometry

SIGNIFICANT = 0.05


class Aligner:
    """Finds the rigid map between two structure blocks from their shapes alone, and every other map that does as well.

    Unique means unique among rigid maps, at the kappa of the two flows and at the resolution of ``rows`` rows and ``tolerance``
    degrees. No density fixes a circle's phase: pairs, labels or a function known on both sides can.

    Args:
        tolerance: degrees within which two maps count as one.
        rows: rows a side that the search looks at, drawn at random; more tell more maps apart and take longer (their square).
        correction: steps after the rigid map, each of which must win on held-out rows: "affine", "flow" (affine, then a small
            flow), or a callable from rows (n, k) and where they should go (n, k) to an object b with b(s) and b.inverse(s).
        proportions: whether the shares of the rows that pieces hold count as evidence; False where the two models saw classes in
            other proportions: as many rows of every piece of a side are then looked at, and geometry alone decides.
        null_draws: mismatched structures behind ``p_value_``; 19 reach .05.
        seed: draws everything.

    Attributes:
        map_: the best rigid map, a's block to b's.
        alternatives_: every distinct near-optimal map, the best first; of a continuous family one of each component.
        symmetry_: the group, in the frame of the smaller block (a's if they are equal), under which the map, model a and
            model b all stay as they are: the answer is the coset of g @ map_.matrix, g in the group.
        own_symmetries_: each model's own group, found without the other; of the smaller block alone where sizes differ.
        is_unique_: one near-optimal map, no symmetry anywhere, and a search that would have found another; see ``reached_``.
        reached_: how many of the uniform starts led to the best map, and how many there were: of two maps that a symmetry relates
            neither is reached more often than the other, so six at one of them leave little room for a second.
        matches_: pieces of a and their partners; ``unmatched_`` the numbers of those without, of a and of b.
        loop_matches_, unmatched_loops_: the same of loops, with winding and phase; found when first asked for.
        metric_: "layer" where rows of activations were compared, "block" where structure blocks were.
        part_: what alone was aligned: ("piece", (0, 1)) and the like, or None for all.
        left_out_: pieces of a and of b without which the rest fits, where the whole does not: structures that only one model has.
            Fewest first; another choice of as many may fit too.
        plan_: sparse transport plan between ``plan_rows_``, of the pieces that are not left out.
        score_: quality in [0, 1] without pairs, of rows that the search did not see where enough are left; see
            :func:`~analysis.alignment.scores.quality`.
        p_value_: share of mismatched structures that fit as well; computed when it is first asked for.
        differs_: whether the models differ: even the best map costs more than chance, or pieces had to be left out.
        pairs_apart_: how far the best map leaves the known pairs apart, 1 as far as rows drawn at random; None without pairs.
        correction_: what the non-rigid steps did, or None.

    Example:
        >>> import numpy as np
        >>> from analysis import Aligner
        >>> two = np.repeat([[-1.0, 0.0], [1.0, 0.5]], 60, axis=0)
        >>> a = two + 0.1 * np.random.default_rng(0).normal(size=two.shape)
        >>> b = two + 0.1 * np.random.default_rng(1).normal(size=two.shape)
        >>> Aligner().fit(a, b @ [[0, 1], [1, 0]]).symmetry_.name
        'D2'
    """

    def __init__(
        self,
        tolerance: float = TOLERANCE,
        rows: int = ROWS,
        correction: str | Fit | None = None,
        null_draws: int = NULL_DRAWS,
        seed: int = 0,
        proportions: bool = True,
    ) -> None:
        check_settings(tolerance, rows, correction, null_draws)
        self.tolerance, self.rows, self.correction = tolerance, rows, correction
        self.null_draws, self.seed, self.proportions = null_draws, seed, proportions

    def fit(
        self,
        a: object,
        b: object,
        pairs: ArrayLike | None = None,
        *,
        labels: Both | None = None,
        values: Both | None = None,
        only: Both | None = None,
        piece: tuple[int, int] | None = None,
        loop: tuple[int, int] | None = None,
        nuisance: tuple[ArrayLike | None, ArrayLike | None] | None = None,
    ) -> Aligner:
        """Find the map from a to b.

        Args:
            a, b: two :class:`~analysis.Analyzer`, or two arrays (n_a, D_a), (n_b, D_b) of activations or structure coordinates,
                of any widths.
            pairs: (p, 2) row numbers of a and b that belong together; optional evidence, like the next two.
            labels: a class per row of a and of b; classes go with their namesakes.
            values: (n_a, q) and (n_b, q), a function of the rows known on both sides, such as logits or a density ratio.
            only: row numbers or masks of a and of b: align these alone. At most one of this and the next two.
            piece: a piece of a and one of b, by their numbers in ``Analyzer.tree()``: align these alone.
            loop: the same of loops, by their numbers in ``Analyzer.loops()``.
            nuisance: of a and of b, what is known and not cared for, such as the template of a prompt: (n,) or (n, j), classes
                or real covariates; its linear share is taken off the activations first.

        Raises:
            ValueError: k = 0, fewer than 40 rows, NaN or inf, evidence that does not fit the rows, or parts that are not there.
        """
        self.part_ = part_of(only, piece, loop)
        parts = (None, None) if self.part_ is None else [(self.part_[0], which) for which in self.part_[1]]
        taken = both_of(nuisance)
        self.a_, self.b_ = (
            Side.of(given, name, parts[i], self.seed, taken[i]) for i, (given, name) in enumerate(((a, "a"), (b, "b")))
        )
        for side in (self.a_, self.b_):
            if len(side.rows) < FEWEST:
                raise ValueError(
                    f"{side.name} has {len(side.rows)} rows, alignment needs at least {FEWEST}; pass more rows"
                )
        for name in ("p_value_", "_loops", "geometry_", "transfer_"):
            self.__dict__.pop(name, None)
        self._pairs = pairs
        wide = by_layer(self.a_, self.b_)
        self.metric_ = "layer" if wide else "block"
        search = self._search_wide if wide else self._search
        pairs, labels, values = within(self.part_, (self.a_, self.b_), pairs, labels, values)
        search(pairs, labels, values)
        kept = labels or tuple(
            None if s.analyzer.labels is None else s.analyzer.labels[s.rows] for s in (self.a_, self.b_)
        )
        self._labels = None if any(of is None for of in kept) else (np.asarray(kept[0]), np.asarray(kept[1]))
        self._describe()
        return self

    def _search_wide(self, pairs: Any, labels: Any, values: Any) -> None:
        both = layers(self.a_, self.b_, pairs, labels, values, self.seed)
        self._looked = self._rows_of([nodes.labels for nodes in both.search.nodes])
        if not self.proportions:
            both = layers(self.a_, self.b_, pairs, labels, values, self.seed, self._looked)
        self.evidence_, self._frames, self._work, self._clouds = both.evidence, both.frames, both.within, both.clouds
        self._wide: Search | None = both.search
        found = both.search.found(self.tolerance)
        for side, nodes in zip((self.a_, self.b_), found.nodes, strict=True):
            side.cut = nodes.labels
        self._solution, self._swapped, self._wide_order = found.solution, False, found.order
        self._unseen = [rows[ALL_ROWS : ALL_ROWS + ROWS] for rows in both.search.order]
        self.left_out_: dict[str, list[int]] = {"a": [], "b": []}

    def _search(self, pairs: Any, labels: Any, values: Any) -> None:
        known: Evidence = evidence(self.a_.s, self.b_.s, pairs, labels, values)
        self.evidence_, self._wide = known.kinds, None
        self._clouds = self._work = Cloud(self.a_.s, known.a), Cloud(self.b_.s, known.b)
        generator = np.random.default_rng([self.seed, 0])
        self._looked = self._rows_of([side.pieces for side in (self.a_, self.b_)])
        rows = [generator.permutation(looked) for looked in self._looked]
        seen, self._unseen = (
            [r[part] for r in rows] for part in (slice(self.rows), slice(self.rows, self.rows + ROWS))
        )
        small = [cloud.take(np.sort(r)) for cloud, r in zip(self._clouds, seen, strict=True)]
        pieces = [side.pieces[np.sort(r)] for side, r in zip((self.a_, self.b_), seen, strict=True)]
        # the search goes from the smaller block to the larger
        self._swapped = self.a_.s.shape[1] > self.b_.s.shape[1]
        way = -1 if self._swapped else 1
        anchor = known.anchor.T if self._swapped and known.anchor is not None else known.anchor
        self._solution = solution(small[::way], pieces[::way], anchor, self.tolerance, self.seed)
        self.left_out_ = dict(zip("ab"[::way], self._solution.left_out, strict=True))

    def _rows_of(self, pieces: Sequence[Rows]) -> list[Rows]:
        """The rows of either side that are looked at, of all those that are aligned."""
        if self.proportions:
            return [np.arange(len(of)) for of in pieces]
        return [even(of, side.name, self.seed) for of, side in zip(pieces, (self.a_, self.b_), strict=True)]

    def _describe(self) -> None:
        judge, found = self._solution.judge, self._solution.agreement
        self.alternatives_ = [self._oriented(o.map) for o in found.optima]
        self.map_ = self.alternatives_[0]
        self.symmetry_: Symmetry = found.shared
        self.own_symmetries_ = found.own
        self.differs_ = judge.differs or any(self.left_out_.values())
        search = self._solution.found
        self.reached_ = search.reached, search.uniform
        groups = self.symmetry_, *self.own_symmetries_
        self.is_unique_ = search.is_thorough and len(self.alternatives_) == 1 and all(g.is_trivial for g in groups)
        self.score_ = self._quality()
        self._match()
        self.correction_: Correction | None = None
        if self.correction is not None:
            shared = [cloud.take(rows) for cloud, rows in zip(self._clouds, self._shared, strict=True)]
            self.correction_ = correct(shared, self.map_, self.correction, self.seed)

    def _quality(self) -> float:
        """Of rows that the search did not see, where enough are left; in many dimensions a map fits the rows it was sought on."""
        best, judge = self._solution.agreement.optima[0].map, self._solution.judge
        kept = [
            rows[~np.isin(side.pieces[rows], self.left_out_[side.name])]
            for side, rows in zip((self.a_, self.b_), self._unseen, strict=True)
        ]
        if min(map(len, kept)) >= 2 * FEWEST:
            one, other = (cloud.take(rows) for cloud, rows in zip(self._work, kept, strict=True))
            judge = Judge(other, one, self.seed) if self._swapped else Judge(one, other, self.seed)
        spreads = [cloud.centred().var(0) for cloud in judge.clouds]
        return quality(judge.between(best).transport, judge.usual, spreads[0], spreads[1])

    def _match(self) -> None:
        sides, generator = (self.a_, self.b_), np.random.default_rng([self.seed, 8])
        self._shared = [
            rows[~np.isin(side.pieces[rows], self.left_out_[side.name])]
            for side, rows in zip(sides, self._looked, strict=True)
        ]
        self.plan_rows_ = tuple(np.sort(generator.permutation(rows)[:PLAN_ROWS]) for rows in self._shared)
        some = [cloud.take(rows) for cloud, rows in zip(self._clouds, self.plan_rows_, strict=True)]
        self.plan_: csr_array = transport_plan(some[0], some[1], self.map_)
        pieces = [Members.of_pieces(side.pieces[rows]) for side, rows in zip(sides, self.plan_rows_, strict=True)]
        self.matches_: list[Match]
        self.matches_, *lonely = matched(self.plan_, *pieces)
        if not self.proportions:
            self.matches_ = with_shares(self.matches_, *sides)
        self.unmatched_ = {side: sorted(lonely[i] + self.left_out_[side]) for i, side in enumerate("ab")}

    def _oriented(self, map: Rigid) -> Rigid:
        if self._wide is not None:
            return outward(map, *self._frames)
        return Rigid(map.matrix.T, -map.shift @ map.matrix.T) if self._swapped else map

    @cached_property
    def _loops(self) -> tuple[list[Match], list[int], list[int]]:
        self._fitted()
        loops = [side.loops(rows) for side, rows in zip((self.a_, self.b_), self.plan_rows_, strict=True)]
        return matched(self.plan_, *loops)

    @property
    def loop_matches_(self) -> list[Match]:
        """Loops of a and their partners, with what takes one's angle to the other's; found when first asked for."""
        return self._loops[0]

    @property
    def unmatched_loops_(self) -> dict[str, list[int]]:
        """Numbers of the loops without a partner, of a and of b."""
        return dict(zip("ab", self._loops[1:], strict=True))

    @cached_property
    def p_value_(self) -> float:
        if self._wide is not None:
            from analysis.alignment.shuffled import p_value as of_wide

            return of_wide(self._wide, self.null_draws, self.seed)
        left = sum(map(len, self.left_out_.values()))
        pieces = [side.pieces[rows] for side, rows in zip((self.a_, self.b_), self._looked, strict=True)]
        clouds = [cloud.take(rows) for cloud, rows in zip(self._clouds, self._looked, strict=True)]
        return p_value(clouds, pieces, self.null_draws, self.tolerance, self.seed, left)

    @property
    def pairs_apart_(self) -> float | None:
        """Root mean square distance that the best map leaves between known pairs, 1 for rows at random; None without pairs."""
        rows = np.zeros((0, 2), dtype=int) if self._pairs is None else np.asarray(self._pairs)
        if not rows.size:
            return None
        return apart(self.map_(self.a_.s), self.b_.s, rows)

    @cached_property
    def geometry_(self) -> Geometry | None:
        """What the distances between pieces, and between classes, can tell; None where blocks were aligned in few dimensions."""
        self._fitted()
        return None if self._wide is None else self._wide.geometry(self._labels)

    @cached_property
    def transfer_(self) -> Transfer | None:
        """Labels of a carried to b's rows, and b's own ceiling; None where a side has no labels."""
        self._fitted()
        from analysis.alignment.carrying import transferred

        if self._labels is None:
            return None
        return transferred(self.map_(self.a_.s), self._labels[0], self.b_.s, self._labels[1], self.seed)

    def stitched(self, head: Head | Both, x: Any = None, labels: ArrayLike | None = None) -> Stitched:
        """Send a's rows through b's head.

        Args:
            head: a callable from activations of b to answers (n,) or scores (n, classes), or (weight, bias) of b's last layer.
            x: activations of a (n, D_a); by default those that were aligned.
            labels: (n,) of these; by default those of a's analyzer or of ``fit``.

        Raises:
            ValueError: a head of another width, or one that does not give an answer a row.
        """
        from analysis.alignment.carrying import stitched

        self._fitted()
        known = self._labels or (None, None)
        given = self.a_.given if x is None else x
        of_a = known[0] if x is None and labels is None else labels
        return stitched((self.transform(given), self.b_.given), head, (of_a, known[1]))

    @property
    def is_aligned_(self) -> bool:
        """Whether the structures fit better than mismatched ones at the 5 % level."""
        return self.p_value_ <= SIGNIFICANT

    def transform_structure(self, s: ArrayLike, alternative: int = 0) -> Floats:
        """Map structure rows of a (n, k_a) to b's block (n, k_b), by the best map or another of the alternatives."""
        mapped = self._alternative(alternative)(self.a_.mapped_from(self.a_.checked(s)))
        bend = self._bend(alternative)
        return self.b_.mapped_to(mapped if bend is None else bend(mapped))

    def inverse_transform_structure(self, s: ArrayLike, alternative: int = 0) -> Floats:
        """Map structure rows of b (n, k_b) to a's block (n, k_a)."""
        map = self._alternative(alternative)
        rows, bend = self.b_.mapped_from(self.b_.checked(s)), self._bend(alternative)
        return self.a_.mapped_to(map.inverse(rows if bend is None else bend.inverse(rows)))

    def transform(self, x: Any, alternative: int = 0, noise: str = "zero") -> Any:
        """Map activations of a (n, D_a) to b's activation space (n, D_b): encode, map, decode.

        Args:
            x: rows of a; structure coordinates themselves where plain arrays were aligned.
            alternative: which of ``alternatives_``.
            noise: of b, "zero" or "draw".
        """
        self._fitted()
        return self.b_.decode(self.transform_structure(self.a_.encode(x), alternative), noise, self.seed)

    def inverse_transform(self, x: Any, alternative: int = 0, noise: str = "zero") -> Any:
        """Map activations of b (n, D_b) to a's activation space (n, D_a)."""
        self._fitted()
        return self.a_.decode(self.inverse_transform_structure(self.b_.encode(x), alternative), noise, self.seed)

    def _alternative(self, number: int) -> Rigid:
        self._fitted()
        if not 0 <= number < len(self.alternatives_):
            raise ValueError(f"no alternative {number}; there are {len(self.alternatives_)}, numbered from 0, the best")
        return self.alternatives_[number]

    def _bend(self, alternative: int) -> Correction | None:
        return self.correction_ if alternative == 0 else None

    def _fitted(self) -> None:
        if not hasattr(self, "map_"):
            raise ValueError("this Aligner is not fitted; call fit(a, b) first")

    def verdict(self) -> str:
        """The answer in plain lines."""
        from analysis.alignment.words import verdict

        self._fitted()
        return verdict(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the plan."""
        self._fitted()
        from analysis.alignment.plain import to_dict

        return to_dict(self)

    def __repr__(self) -> str:
        if not hasattr(self, "map_"):
            return f"Aligner(tolerance={self.tolerance:g}, rows={self.rows}, seed={self.seed}), not fitted"
        return (
            f"Aligner: {self.map_.matrix.shape[0]} -> {self.map_.matrix.shape[1]} dims, symmetry {self.symmetry_.name}, "
            f"{'unique' if self.is_unique_ else 'not unique'}, score {self.score_:.2f}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Both blocks over one another in matched colours, after the best map."""
        from analysis.alignment.plots import overlay

        self._fitted()
        return overlay(self, ax=ax)

    def report(self, path: str | Path) -> Path:
        """Write one offline HTML file that shows all of it; returns its path."""
        from analysis.alignment.report import write_report

        self._fitted()
        return write_report(self, path)
