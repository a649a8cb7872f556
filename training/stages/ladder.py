"""The ladder: how many dimensions at how many nats each, which k is chosen from it and why, and what PCA says at that k."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from flows.front import Front
from training.stages.selection import Vertex, middle

CLEAR = 2.0  # a step at which worth falls by less than half is no step


@dataclass(frozen=True)
class Rung:
    """Dimensions that share a worth: an edge of the hull.

    Attributes:
        dims: how many they are.
        top: k with this rung and all before it.
        nats: worth of each, nats per row.
        se: its paired standard error over held-out rows.
    """

    dims: int
    top: int
    nats: float
    se: float

    def __str__(self) -> str:
        return f"{self.dims} x {self.nats:.3f} ± {self.se:.3f}"


@dataclass(frozen=True, repr=False)
class Ladder:
    """The rungs by falling worth.

    Attributes:
        rungs: edges of the lower hull of k -> J_k, those below the null among them.
        structure_dim: k, the rungs down to it are structure.
        lam: nats, the lambda at which k is read off; see :func:`training.stages.selection.middle`. None where k = 0.
        null_worth: nats that noise stays below.
        variance: share of the layer's variance in the k principal directions of largest variance: what PCA keeps at the same k.
    """

    rungs: tuple[Rung, ...]
    structure_dim: int
    lam: float | None
    null_worth: float
    variance: float

    @classmethod
    def of(cls, hull: list[Vertex], structure_dim: int, null_worth: float, front: Front) -> "Ladder":
        """The ladder of a hull and of the front that the rows went through."""
        rungs = tuple(Rung(b.k - a.k, b.k, b.worth, b.worth_se) for a, b in pairwise(hull))
        lam = middle(hull, null_worth) if structure_dim else None
        return cls(rungs, structure_dim, lam, null_worth, principal_share(front, structure_dim))

    @property
    def kept(self) -> tuple[Rung, ...]:
        """The rungs that are structure."""
        return tuple(rung for rung in self.rungs if rung.top <= self.structure_dim)

    @property
    def beyond(self) -> float:
        """Nats that the next dimension is worth, at least those of noise."""
        left = self.rungs[len(self.kept) :]
        return max(left[0].nats, self.null_worth) if left else self.null_worth

    @property
    def fall(self) -> float:
        """By what factor a dimension's worth falls at k; 1 where k = 0."""
        return self.kept[-1].nats / self.beyond if self.kept else 1.0

    @property
    def is_clear(self) -> bool:
        """Whether k is a step: beyond it a dimension is worth half as much or less."""
        return self.fall >= CLEAR

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the text."""
        derived = {
            "fall": self.fall,
            "is_clear": self.is_clear,
            "is_short_of_rows": self.is_short_of_rows,
            "text": repr(self),
        }
        return {**asdict(self), "rungs": [asdict(rung) for rung in self.rungs], **derived}

    def __repr__(self) -> str:
        head = f"ladder, dimensions x nats each: {self._steps()}; noise stays below {self.null_worth:.3f}."
        return "\n".join([head, *self._reasons()])

    def _steps(self) -> str:
        kept, left = (", ".join(map(str, part)) for part in (self.kept, self.rungs[len(self.kept) :]))
        if not self.structure_dim:
            none = "no rung for certain" if self.is_short_of_rows else "no rung above noise"
            return f"{none} ({left})" if left else none
        return " | ".join(part for part in (kept, f"k = {self.structure_dim}", left) if part)

    @property
    def is_short_of_rows(self) -> bool:
        """Whether k is 0 only because the first rung, above the null, is less than two standard errors above 0."""
        return not self.structure_dim and any(rung.nats > self.null_worth for rung in self.rungs[:1])

    def _reasons(self) -> list[str]:
        """Why this k, and what PCA says at the same k."""
        if self.is_short_of_rows:
            return ["not decided: the first rung is less than two standard errors above 0; more rows would tell."]
        if not self.structure_dim:
            return []
        worth, k = self.kept[-1].nats, self.structure_dim
        step = f"a dimension is worth {worth:.3f} nats up to k = {k}, {self.beyond:.3f} or less beyond it"
        if self.is_clear:
            why = f"why: {step}, {self.fall:.1f} times less"
        else:
            why = f"no clear rung: {step}, so worth falls smoothly there and k is a choice, not a step"
        return [
            f"{why}; k is best at lambda = {self.lam:.3f}, the middle of the ladder (log scale, noise to first rung).",
            f"PCA: the {k} largest principal directions hold {self.variance:.1%} of the variance.",
        ]


def principal_share(front: Front, count: int) -> float:
    """Share of the total variance of the used columns in the ``count`` principal directions of largest variance."""
    variances = front.scales.double().square()
    beyond = (front.used - front.stored) * float(front.rest) ** 2 if front.stored < front.used else 0.0
    return float(variances[:count].sum() / (variances.sum() + beyond))
