"""Analyzer: a trained flow and rows as an instrument; every verb answers with a plain result object."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from analysis.dimension.dimensions import Dimensions, dimensions
from analysis.examples import Examples, of_dimension, of_level, of_piece, tail_mass
from analysis.fitted import Fitted, Untangling, rows_of, untangled_of
from analysis.given import each_row, near, rows_for
from analysis.nothing import Nothing
from analysis.progress import tracked
from flows.flow import FunnelFlow
from flows.untangled import Untangled

if TYPE_CHECKING:
    from analysis.causal.faithfulness import Faithfulness
    from analysis.certification.carved import Carved
    from analysis.certification.certificate import Certificate
    from analysis.certification.tear import Tear
    from analysis.density.bag import Density
    from analysis.density.levels import Levels
    from analysis.dimension.hierarchy import Hierarchy
    from analysis.dimension.intrinsic import IntrinsicDimension
    from analysis.pieces.arrangement import Arrangement
    from analysis.pieces.groups import Groups
    from analysis.pieces.merge_tree import MergeTree
    from analysis.run import SavedRun
    from analysis.topology.describe import Description
    from analysis.topology.knot import Knot
    from analysis.topology.linking import Linking
    from analysis.topology.loops import Loops
    from analysis.topology.support import Support
    from flows.nets.questions import Question

MASSES = (0.5, 0.8, 0.9, 0.95, 0.99)
ROWS_AT_ONCE = 20_000
_MOST_ASKED = 2000


class Analyzer:
    """What a trained flow says of rows of data.

    Results are computed at the first call and kept. Where rows are drawn, the seed and the number are in the result.

    Args:
        flow: a trained :class:`~flows.FunnelFlow`, or the result of ``training.fit``, which brings its rows and
            which of them were held out; or what ``training.untangle`` returns, with the rows: s and n are then at each row's
            own draw of the lift, and :meth:`dimensions` and :meth:`tear` are of the second flow, on lifted rows; None where
            the rows are the structure itself, see :meth:`from_structure`.
        x: rows (N, D) in the flow's own units, best rows that it has not seen; of a result by default its own.
        labels, sources: (N,) metadata for examples, never used to find structure.
        is_held_out: (N,) bool, rows that the flow has not seen, or True for all; the certificate uses these alone. Of a
            result its own. Where it is not given all rows are used, and the certificate decides nothing.
        rows: (N,) what to call the rows (default 0, 1, ...).
        run: the run that the flow comes from.
        seed: draws subsamples, resamples and the certificate's noise.
        question: what comes after the layer, for :meth:`faithfulness`.

    Raises:
        ValueError: rows of another width, NaN or inf, no rows, or metadata of another length.

    Example:
        >>> from analysis import Analyzer
        >>> analyzer = Analyzer.load("runs/my-run")  # doctest: +SKIP
        >>> analyzer.levels().betti(0.9)  # doctest: +SKIP
        (1, 2, 1)
    """

    def __init__(
        self,
        flow: FunnelFlow | Fitted | Untangled | Untangling | None,
        x: object = None,
        labels: ArrayLike | None = None,
        sources: ArrayLike | None = None,
        is_held_out: ArrayLike | bool | None = None,
        rows: ArrayLike | None = None,
        run: SavedRun | None = None,
        seed: int = 0,
        question: Question | None = None,
    ):
        worths: ArrayLike = run.result.get("worth", []) if run else []
        if isinstance(flow, Untangling):
            flow = untangled_of(flow)
        if isinstance(flow, Fitted):
            own = rows_of(flow, x)
            worths = flow.worth
            flow, x, rows = flow.flow, own["x"], own["rows"] if rows is None else rows
            labels = own["labels"] if labels is None else labels
            sources = own["sources"] if sources is None else sources
            is_held_out = own["is_held_out"] if is_held_out is None else is_held_out
            question = own["question"] if question is None else question
        self._flow = cast("FunnelFlow | None", flow)  # an untangled flow has the same methods
        self.run, self.seed, self.question = run, seed, question
        self._worth = float(np.sum(worths)) if np.size(worths) else float("nan")
        self.x = rows_for(self._flow, x)
        count = len(self.x)
        self.labels = each_row("labels", labels, count)
        self.sources = each_row("sources", sources, count)
        self._knows_held_out = is_held_out is not None
        held = None if is_held_out is True else each_row("is_held_out", is_held_out, count)
        self.is_held_out = np.ones(count, dtype=bool) if held is None else held.astype(bool)
        named = each_row("rows", rows, count)
        self.rows = np.arange(count) if named is None else named

    @classmethod
    def load(
        cls,
        run: str | Path,
        x: object = None,
        labels: ArrayLike | None = None,
        seed: int = 0,
        is_held_out: ArrayLike | bool | None = None,
    ) -> Analyzer:
        """The analyzer of a run folder; ``x`` (with ``is_held_out``) instead of the rows that the run kept.

        Raises:
            FileNotFoundError: no such run, or it kept no rows and none were given.
            ValueError: an unfinished run, damaged files, or rows of another width.
        """
        from analysis.run import SavedRun

        saved = SavedRun.load(run, with_rows=x is None)
        if x is not None:
            return cls(saved.flow, x, labels=labels, is_held_out=is_held_out, run=saved, seed=seed)
        is_held_out = np.arange(len(saved.x)) < len(saved.held_out)
        return cls(saved.flow, saved.x, saved.labels, saved.sources, is_held_out, saved.rows, saved, seed)

    @classmethod
    def from_structure(
        cls,
        points: ArrayLike,
        labels: ArrayLike | None = None,
        sources: ArrayLike | None = None,
        rows: ArrayLike | None = None,
        seed: int = 0,
    ) -> Analyzer:
        """The analyzer of any point cloud (N, k), taken for a structure block without noise dimensions.

        What needs a flow (dimensions, hierarchy, certificate, tear, carved, sample, outlier_score) says so. Rows so far out that
        they would set the scale of all others are left out (``rows`` are those that remain), and coordinates that were rounded
        coarsely get uniform noise of one step; a ``flows.geometry.outlying.RowWarning`` names both.

        Raises:
            ValueError: not two-dimensional, no rows or columns, NaN or inf, fewer than 10 distinct rows among repeated ones, or
                metadata of another length.
        """
        from analysis.density.bag import as_points
        from analysis.density.lattice import unrounded

        points = as_points(points, "structure rows")
        count = len(points)
        kept = near(points)
        each = [each_row(name, v, count) for name, v in (("labels", labels), ("sources", sources), ("rows", rows))]
        own, whose, named = (None if values is None else values[kept] for values in each)
        return cls(None, unrounded(points[kept], seed), own, whose, rows=kept if named is None else named, seed=seed)

    def __repr__(self) -> str:
        if self._flow is None:
            return f"Analyzer(structure of {self.structure_dim} dims, {len(self.x)} rows, no flow)"
        held = int(self.is_held_out.sum())
        return f"Analyzer(k={self.structure_dim} of {self.flow.front.dims}, {len(self.x)} rows, {held} held out)"

    @property
    def has_flow(self) -> bool:
        """Whether there is a flow, or the structure alone."""
        return self._flow is not None

    @property
    def flow(self) -> FunnelFlow:
        """The flow.

        Raises:
            ValueError: the analyzer was made from structure alone.
        """
        if self._flow is None:
            raise ValueError(
                "this needs a flow, and the analyzer was made by from_structure, without one; train one with training.fit(x) "
                "and use Analyzer(flow, x)"
            )
        return self._flow

    @property
    def narrowing(self) -> tuple[FunnelFlow, torch.Tensor]:
        """The flow that narrows and its rows: of an untangled flow the second one, on lifted rows."""
        flow: Any = self.flow
        if not isinstance(flow, Untangled):
            return self.flow, self.x
        with torch.no_grad():
            return flow.second, flow.lifted(self.x)

    @property
    def can_ask(self) -> bool:
        """Whether :meth:`faithfulness` answers as it is called: what comes after the layer is known, and sees these very rows."""
        return self.question is not None and self._flow is not None and self._flow.nuisance is None

    @property
    def structure_dim(self) -> int:
        """k."""
        return self.x.shape[1] if self._flow is None else self._flow.structure_dim

    @cached_property
    def s(self) -> NDArray[np.float64]:
        """(N, k) structure block of the rows, dimension of highest price first."""
        return self.x.numpy() if self._flow is None else self._blocks[0]

    @cached_property
    def n(self) -> NDArray[np.float64]:
        """(N, M - k) noise block of the rows."""
        return self._blocks[1]

    @cached_property
    def _blocks(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        chunks = tracked(self.x.split(ROWS_AT_ONCE), "rows to structure and noise", "chunk")
        with torch.no_grad():
            parts = [self.flow.split(self.flow.transform(rows)) for rows in chunks]
        s, n = (torch.cat(block).double().numpy() for block in zip(*parts, strict=True))
        return s, n

    @cached_property
    def density(self) -> Density:
        """The density of s, refitted for the analysis: above three dimensions one mixture of 4000 rows, for time's sake."""
        from analysis.density.bag import fit_density

        thrift = {} if self.structure_dim <= 3 else {"members": 1, "most_rows": 4000}
        return fit_density(self.s, self.seed, groups=self.sources, **thrift)

    @cached_property
    def _log_density(self) -> NDArray[np.float64]:
        return self.density.log_prob(self.s) if len(self.x) > 1 else np.zeros(1)

    def dimensions(self) -> Dimensions:
        """k, worth and prices against the null, the hull, and the exits by depth."""
        return dimensions(self.narrowing[0], self.run.result if self.run else None)

    def intrinsic_dimension(self, sigmas: Sequence[float] | None = None) -> IntrinsicDimension:
        """Dimension of the data at every scale sigma, in data space; "no plateau" where none shows."""
        from analysis.dimension.intrinsic import intrinsic_dimension

        return intrinsic_dimension(self.x.double().numpy(), sigmas, seed=self.seed)

    @cached_property
    def _certificate(self) -> Certificate:
        from analysis.certification.certificate import certify, unknown_split

        if not self._knows_held_out and self.n.shape[1]:
            return unknown_split(self.s, self.n, self._worth, self.seed)
        return certify(self.s[self.is_held_out], self.n[self.is_held_out], seed=self.seed, worth=self._worth)

    def certificate(self) -> Certificate:
        """Whether held-out rows are s x N(0, I): certified at delta, not certified, or not decided."""
        return self._certificate

    def levels(self, masses: Sequence[float] = MASSES, reference: Any = None) -> Levels | Nothing:
        """Superlevel sets of s by mass with their pieces and holes; of the ratio to ``reference`` where one is given."""
        if not self.structure_dim:
            return Nothing("levels")
        from analysis.density.levels import levels

        density = self.density if len(self.x) > 1 else None
        replicates = {} if self.structure_dim <= 3 else {"replicates": 5}
        return levels(self.s, masses, reference=reference, density=density, seed=self.seed, **replicates)

    @cached_property
    def _tree(self) -> MergeTree | Nothing:
        if not self.structure_dim:
            return Nothing("tree")
        from analysis.pieces.tree import tree

        flat = self.density if len(self.x) > 1 else None
        return tree(self.s, groups=self.sources, seed=self.seed, flat=flat)

    def tree(self) -> MergeTree | Nothing:
        """Pieces of s and how they join as the level falls; a generative mixture along that tree, next to a flat one."""
        return self._tree

    def arrangement(self, labels: ArrayLike | None = None, order: Sequence[Any] | None = None) -> Arrangement | Nothing:
        """How the centres of pieces, or of classes, lie in the layer's own units: ring, arc, line or simplex, and in which order.

        Args:
            labels: (N,) class of each row; by default the pieces of :meth:`tree`.
            order: all classes in the order to compare with, such as a calendar.

        Raises:
            ValueError: labels of another length, or an order of other classes.
        """
        from analysis.pieces.arrangement import arrangement

        if labels is None and not self.structure_dim:
            return Nothing("arrangement")
        given = self._tree.labels_ if labels is None else labels  # type: ignore[union-attr]
        return arrangement(self.x.double().numpy(), given, order, self.seed)

    def sample(self, node: int | None = None, count: int = 1, noise: bool = True) -> torch.Tensor:
        """Draw x (count, D) from a node of the tree (default the root): its structure, with the noise drawn or at zero.

        Raises:
            ValueError: k = 0 or no such node.
        """
        tree = self.tree()
        if isinstance(tree, Nothing):
            raise ValueError(f"no node to draw from: {tree}; draw from the flow itself with flow.sample")
        s = torch.from_numpy(tree.sample(node, count, seed=self.seed)).to(self.flow.exits.tau)
        generator = torch.Generator().manual_seed(self.seed)
        return self.flow.decode(s, "draw" if noise else "zero", generator)

    @cached_property
    def _groups(self) -> Groups | Nothing:
        if not self.structure_dim:
            return Nothing("groups")
        from analysis.pieces.groups import groups

        return groups(self.s, self.seed, self.sources)

    def groups(self) -> Groups | Nothing:
        """Components of a Gaussian mixture of s, as many as held-out rows ask for: classes that touch are one piece."""
        return self._groups

    def hierarchy(self) -> Hierarchy | Nothing:
        """Structure dimensions by price, and what the reconstruction of x loses without each."""
        if not self.structure_dim:
            return Nothing("hierarchy")
        from analysis.dimension.hierarchy import hierarchy

        result = self.run.result if self.run else {}
        most_rows = max(
            200, min(2000, 10_000 // self.structure_dim)
        )  # each dimension set to zero inverts the flow again
        return hierarchy(self.flow, self.x, result.get("worth"), result.get("prices"), self.seed, most_rows)

    def faithfulness(
        self,
        model: Any = None,
        layer: str = "",
        inputs: Any = None,
        *,
        head: Any = None,
        answer: Any = "softmax",
        noise: object = None,
        nuisance: object = None,
        most_rows: int = _MOST_ASKED,
        **where: Any,
    ) -> Faithfulness | Nothing:
        """What the net's answers do where noise is redrawn and structure is exchanged; held-out rows alone.

        Args:
            model, layer, inputs: as :class:`flows.Tail`, examples in the order of the data that was fitted; ``where`` its
                ``examples``, ``positions``, ``answer_at``, ``read``, ``channel_axis``.
            head: instead from rows (n, D) to answers; one with ``at`` is asked by the rows' numbers. By default ``question``.
            answer, noise: what the answer is, as ``training.relevance``.
            nuisance: of all rows that were fitted, where the flow has one.
            most_rows: of more so many are drawn; a net that is slow to run wants fewer.

        Raises:
            ValueError, TypeError: nothing to ask, or not exactly one thing; a head, inputs or nuisance that do not fit.
        """
        from analysis.causal.asking import question_of

        question = question_of(self.question, head, model, layer, inputs, answer, noise, where)
        if not self.flow.structure_dim:
            return Nothing("faithfulness")
        if question is self.question and nuisance is None and most_rows == _MOST_ASKED:
            return self._faithfulness
        return self._asked(question, nuisance, most_rows)

    @cached_property
    def _faithfulness(self) -> Faithfulness:
        return self._asked(self.question)  # type: ignore[arg-type]

    def _asked(self, question: Question, nuisance: object = None, most_rows: int = _MOST_ASKED) -> Faithfulness:
        from analysis.causal.faithfulness import faithfulness

        held = self.is_held_out
        sources, labels = (None if each is None else each[held] for each in (self.sources, self.labels))
        x = self.x[torch.from_numpy(held)]
        return faithfulness(self.flow, x, question, self.rows[held], sources, labels, nuisance, self.seed, most_rows)

    def examples(
        self, *, piece: int | None = None, dimension: int | None = None, level: float | None = None, count: int = 10
    ) -> Examples | Nothing:
        """Rows that show a piece (its densest), a dimension (spread over its range) or a level (at its edge).

        Args:
            piece: number of a piece of :meth:`tree`, 0 the heaviest.
            dimension: place in s, 0 the one of highest price.
            level: mass in (0, 1) of a superlevel set.

        Raises:
            ValueError: not exactly one of the three, or out of range.
        """
        asked = {"piece": piece, "dimension": dimension, "level": level}
        named = [name for name, value in asked.items() if value is not None]
        if len(named) != 1:
            raise ValueError(
                f"examples needs exactly one of piece, dimension, level; got {' and '.join(named) or 'none'}"
            )
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        if not self.structure_dim:
            return Nothing("examples")
        if piece is not None:
            return self._of_piece(piece, count)
        if dimension is not None:
            return self._of_dimension(dimension, count)
        if not 0 < level < 1:  # type: ignore[operator]
            raise ValueError(f"level is a mass strictly between 0 and 1, got {level}; .9 is the set that holds 90 %")
        chosen = of_level(self._log_density, level, count)  # type: ignore[arg-type]
        return self._examples(
            f"the edge of the level at mass {level:g}", "log-density of s (nats)", chosen, self._log_density
        )

    def _of_piece(self, piece: int, count: int) -> Examples:
        labels = self._tree.labels_  # type: ignore[union-attr]
        if not 0 <= piece <= labels.max():
            raise ValueError(f"no piece {piece}; the tree has {labels.max() + 1}, numbered from 0, the heaviest")
        chosen = of_piece(np.flatnonzero(labels == piece), self._log_density, count)
        return self._examples(f"piece {piece}", "log-density of s (nats)", chosen, self._log_density)

    def _of_dimension(self, dimension: int, count: int) -> Examples:
        if not 0 <= dimension < self.structure_dim:
            raise ValueError(f"no structure dimension {dimension}; there are {self.structure_dim}, numbered from 0")
        values = self.s[:, dimension]
        return self._examples(f"dimension s{dimension + 1}", f"s{dimension + 1}", of_dimension(values, count), values)

    def _examples(self, of: str, meaning: str, chosen: NDArray[np.intp], values: NDArray[np.float64]) -> Examples:
        labels = None if self.labels is None else self.labels[chosen]
        sources = None if self.sources is None else self.sources[chosen]
        note = "" if len(self.x) > 1 else "too few rows for a claim: 1, it takes 2 to say which is denser"
        return Examples(of, meaning, self.rows[chosen], chosen, values[chosen], labels, sources, note)

    @cached_property
    def _reference(self) -> NDArray[np.float64]:
        with torch.no_grad():
            return self.flow.log_prob(self.x[torch.from_numpy(self.is_held_out)]).double().numpy()

    def outlier_score(self, x: object) -> NDArray[np.float64]:
        """For rows x (n, D): the share of held-out rows with a higher density; 1 is rarer than all of them."""
        with torch.no_grad():
            values = self.flow.log_prob(x).double().numpy()
        return tail_mass(values, self._reference)

    @cached_property
    def _tear(self) -> Tear:
        from analysis.certification.tear import tear

        return tear(*self.narrowing, seed=self.seed)

    def tear(self) -> Tear:
        """Where and how much the map stretches neighbouring rows apart."""
        return self._tear

    @cached_property
    def _carved(self) -> Carved | Nothing:
        if not self.structure_dim:
            return Nothing("carved")
        from analysis.certification.carved import Carved, carved

        if isinstance(self._flow, Untangled):
            return Carved(
                (), len(self.s), self.seed, "not measured: an untangled flow leads through a lift, which has no volume"
            )
        density = self.density if len(self.x) > 1 else None
        return carved(self.flow, self.s, self._tree, density, self._loops, self.seed)  # type: ignore[arg-type]

    def carved(self) -> Carved | Nothing:
        """Valleys between pieces and holes of loops against the range of log |det|: what the map cannot have made."""
        return self._carved

    @cached_property
    def _support(self) -> Support:
        from analysis.topology.support import support

        return support(self.s, self.seed)

    @cached_property
    def _loops(self) -> Loops | Nothing:
        if not self.structure_dim:
            return Nothing("loops")
        from analysis.topology.loops import loops
        from analysis.topology.survey import survey
        from analysis.topology.unions import united
        from analysis.topology.whole import instead_of, wide

        whole = wide(self.s, self._support, self.seed)
        if whole is not None:
            return loops(whole)
        tree: MergeTree = self._tree  # type: ignore[assignment]
        density = self.density if len(self.x) > 1 else None
        parts = united(tree, self.s, density, self.seed)
        surveyed = survey(self.s, tree.labels_, density, self.seed, parts)
        return loops(instead_of(surveyed, self._support))

    def loops(self) -> Loops | Nothing:
        """Loops and voids of every shape's densest 90 %, with p-values, member rows, and an angle around each loop.

        The angle of new activations x around loop 0 is ``analyzer.loops()[0].angle(analyzer.flow.encode(x))``.
        """
        return self._loops

    def knot(self, loop: int = 0) -> Knot | Nothing:
        """Whether a loop of :meth:`loops` is knotted in a three-dimensional block: knotted, unknotted or undecided.

        Raises:
            ValueError: no such loop, or k is not 3.
        """
        found = self._loops
        return Nothing("knot") if isinstance(found, Nothing) else found.knot(loop)

    def linking(self, one: int = 0, other: int = 1) -> Linking | Nothing:
        """How often two loops of :meth:`loops` wind round one another in a three-dimensional block.

        Raises:
            ValueError: no such loops, or k is not 3.
        """
        found = self._loops
        return Nothing("linking") if isinstance(found, Nothing) else found.linking(one, other)

    @cached_property
    def _description(self) -> Description | Nothing:
        from analysis.topology.describe import describe

        return Nothing("describe") if isinstance(self._loops, Nothing) else describe(self._loops, self._support)

    def describe(self) -> Description | Nothing:
        """What every piece is, or several together: blob, arc, circle, torus, ...; one sentence each, with how sure that is."""
        return self._description

    def report(self, path: str | Path) -> Path:
        """Write one offline HTML file that shows all of it; returns its path."""
        from analysis.reports.report import write_report

        return write_report(self, path)
