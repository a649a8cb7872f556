"""What the levels of a density say: features, pieces, Betti numbers by mass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.density.bag import Density, as_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.density.persistence import Bars

Array = NDArray[np.float64]

NAMES = ("piece", "loop", "void")
BELONGS = {
    "density": "belongs to these coordinates: another smooth reversible map of s has other level sets",
    "ratio": "invariant: a density ratio is the same in all smooth reversible coordinates",
}


@dataclass(frozen=True, repr=False)
class Feature:
    """A bar: something that is there from one level down to another.

    Attributes:
        degree: 0 piece, 1 loop, 2 void.
        born: level in nats at which it appears.
        dies: level at which it is filled in or joins an older piece; the cut where it is still there.
        born_mass: share of held-out rows above `born`.
        dies_mass: the same for `dies`; None where it is still there at the cut.
        significant: longer than twice the band.
        where: coordinates (k,) of the point at which it is born, None where not known.
        index: that point's index in the domain, -1 where not known.
    """

    degree: int
    born: float
    dies: float
    born_mass: float
    dies_mass: float | None
    significant: bool
    where: tuple[float, ...] | None = None
    index: int = -1

    @property
    def persistence(self) -> float:
        """Nats from birth to death."""
        return self.born - self.dies

    def alive(self, level: float) -> bool:
        """Whether it is there in the set above `level`."""
        return self.born >= level and (self.dies < level or self.dies_mass is None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "degree": self.degree,
            "born": self.born,
            "dies": self.dies,
            "born_mass": self.born_mass,
            "dies_mass": self.dies_mass,
            "persistence": self.persistence,
            "significant": self.significant,
            "where": None if self.where is None else list(self.where),
        }

    def __repr__(self) -> str:
        end = "still there at the last level" if self.dies_mass is None else f"gone at mass {self.dies_mass:.2f}"
        doubt = "" if self.significant else ", not significant"
        return f"{_name(self.degree)}: there from mass {self.born_mass:.2f}, {end}, {self.persistence:.2f} nats{doubt}"


@dataclass(frozen=True, repr=False)
class Piece:
    """A component of a level set.

    Attributes:
        mass: of the level set.
        index: 0 the heaviest at that mass.
        share: of all rows.
        peak: coordinates (k,) of its densest point.
        loops: loops in it at that mass; None above three dimensions.
        inside: index of the piece at the next larger mass in which it lies; None at the largest, or where that does not count.
    """

    mass: float
    index: int
    share: float
    peak: tuple[float, ...]
    loops: int | None
    inside: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**self.__dict__, "peak": list(self.peak)}

    def __repr__(self) -> str:
        inside = "" if self.inside is None else f", in piece {self.inside} of the next mass"
        loops = f", {self.loops} {'loop' if self.loops == 1 else 'loops'}" if self.loops else ""
        return f"Piece({self.index} at mass {self.mass:g}, {self.share:.1%} of the rows{loops}{inside})"


@dataclass(frozen=True, repr=False)
class Levels:
    """Level sets by mass; made by :func:`analysis.density.levels.levels`.

    Attributes:
        kind: "density" or "ratio": of which function the superlevel sets are.
        masses: rising.
        thresholds: c_alpha in nats, falling.
        features: the bars that count, longest first, then some that do not.
        pieces: components at each mass and how they include one another.
        band: nats; a feature counts when it is longer than twice this.
        sup_band: nats between log p* and log p over the last level set; for comparison.
        replicates: refits behind the bands.
        cut: level in nats below which nothing is looked at.
        degrees: how many degrees were computed, from 0 on.
        domain: where the function was looked at.
        disagree: masses at which the two grid constructions do not agree.
        other: the other construction's Betti numbers there.
        rows: rows given.
        dims: k.
        seed: everything is drawn from it.
        density: the fitted density, with how it was chosen.
        notes: what limits the claims.
        enough: False where there are too few rows for any claim; then `betti` is None.
    """

    kind: str
    masses: tuple[float, ...]
    thresholds: tuple[float, ...]
    features: tuple[Feature, ...]
    pieces: tuple[Piece, ...]
    band: float | None
    sup_band: float | None
    replicates: int
    cut: float | None
    degrees: int
    domain: str
    disagree: tuple[float, ...]
    other: tuple[tuple[int, ...], ...]
    rows: int
    dims: int
    seed: int
    density: Density | None
    notes: tuple[str, ...]
    held: Array = field(default_factory=lambda: np.empty(0))
    bars: Bars | None = None
    drawn: dict[str, Any] = field(default_factory=dict)
    enough: bool = True

    @classmethod
    def too_few(cls, rows: int, dims: int, least: int, masses: tuple[float, ...], ratio: bool, seed: int) -> Levels:
        """The answer that claims nothing."""
        return cls(
            kind="ratio" if ratio else "density",
            masses=masses,
            thresholds=(),
            features=(),
            pieces=(),
            band=None,
            sup_band=None,
            replicates=0,
            cut=None,
            degrees=0,
            domain="nowhere",
            disagree=(),
            other=(),
            rows=rows,
            dims=dims,
            seed=seed,
            density=None,
            notes=(f"too few rows for a claim: {rows}, at least {least} for k = {dims}",),
            enough=False,
        )

    def betti(self, mass: float) -> tuple[int, ...] | None:
        """Betti numbers of the set that holds `mass`, from degree 0 on without trailing zeros; None without a claim.

        Any mass will do, not only those in `masses`, down to the cut.

        Raises:
            ValueError: mass outside (0, 1), or its level below the cut.
        """
        if not self.enough or self.bars is None:
            _level_in_range(mass)
            return None
        return _trimmed(self.bars.betti(self._level(mass), 2 * (self.band or 0.0), self.degrees))

    def unsure(self, mass: float) -> tuple[int, ...] | None:
        """How many significant features of each degree are born or die within the band of that level: it may have them or not."""
        if not self.enough:
            return None
        level, band = self._level(mass), self.band or 0.0
        out = [0] * self.degrees
        for feature in self.features:
            ends = [feature.born] + ([] if feature.dies_mass is None else [feature.dies])
            out[feature.degree] += feature.significant and any(abs(end - level) <= band for end in ends)
        return tuple(out)

    def mass(self, points: ArrayLike, heights: Array | None = None) -> Array:
        """For points (n, k) the mass (n,) of the smallest level set that holds each; 1 is rarer than all held-out rows.

        Args:
            points: (n, k).
            heights: (n,) the function there, needed for a ratio only.
        """
        if not self.enough or self.density is None:
            raise ValueError(f"there are no levels: {'; '.join(self.notes)}; pass more rows")
        if heights is None:
            if self.kind == "ratio":
                raise ValueError("masses of new points under a ratio need its value at them: pass heights")
            heights = self.density.log_prob(as_points(points, width=self.dims))
        return 1 - np.searchsorted(self.held, heights, side="left") / len(self.held)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; finite numbers or None."""
        betti = [self.betti(m) if self._readable(m) else None for m in self.masses]
        return {
            "kind": self.kind,
            "means": BELONGS[self.kind],
            "enough": self.enough,
            "masses": list(self.masses),
            "thresholds": list(self.thresholds),
            "betti": [None if b is None else list(b) for b in betti],
            "unsure": [list(self.unsure(m) or ()) if self._readable(m) else None for m in self.masses],
            "features": [feature.to_dict() for feature in self.features],
            "pieces": [piece.to_dict() for piece in self.pieces],
            "band": self.band,
            "sup_band": self.sup_band,
            "replicates": self.replicates,
            "cut": self.cut,
            "degrees": self.degrees,
            "domain": self.domain,
            "disagree": list(self.disagree),
            "other": [list(_trimmed(b)) for b in self.other],
            "rows": self.rows,
            "dims": self.dims,
            "seed": self.seed,
            "density": None if self.density is None else self.density.to_dict(),
            "notes": list(self.notes),
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the levels: k = 1 the curve, k = 2 contours over the rows, k = 3 rows by mass, above it the bars."""
        from analysis.density.level_plots import plot_levels

        return plot_levels(self, ax)

    def __repr__(self) -> str:
        head = f"Levels of the {self.kind} of {self.rows} rows in {self.dims} dimensions ({BELONGS[self.kind]})"
        if not self.enough or self.density is None:
            return f"{head}\n  {'; '.join(self.notes)}"
        counted = ", ".join(_name(degree, 2) for degree in range(self.degrees))
        lines = [head, f"  mass   level  Betti numbers ({counted})"]
        for mass, level in zip(self.masses, self.thresholds, strict=True):
            lines.append(f"  {mass:<5g} {level:6.2f}  {self._line(mass)}")
        lines += [f"  {feature!r}" for feature in self.features if feature.significant]
        lines += [f"  {line}" for line in self._joins()]
        counts = f"{2 * (self.band or 0):.2f} nats, twice the band of {self.replicates} refits"
        lines.append(f"  a feature counts above {counts}; seen on {self.domain}")
        fitted = f"{self.density.components} {self.density.kind} Gaussians"
        lines.append(
            f"  density: {self.density.members} x {fitted}, fitted to {self.density.fit_rows} rows, seed {self.seed}"
        )
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    def _joins(self) -> Iterator[str]:
        """Where pieces of one mass lie together in one of the next, or a new one appears."""
        counts = {mass: [piece for piece in self.pieces if piece.mass == mass] for mass in self.masses}
        changed = False
        for (mass, here), (wider, there) in pairwise(counts.items()):
            inner = [[str(p.index) for p in here if p.inside == piece.index] for piece in there]
            if all(len(names) == 1 for names in inner):
                continue
            changed = True
            parts = [
                f"{piece.index} ({piece.share:.0%}) {'holds ' + ', '.join(names) if names else 'is new'}"
                for piece, names in zip(there, inner, strict=True)
            ]
            yield f"pieces of mass {wider:g}, and those of mass {mass:g} in them: {'; '.join(parts)}"
        if not changed and max(map(len, counts.values())) > 1:
            yield f"the same {len(counts[self.masses[0]])} pieces at every mass, each inside the next"

    def _line(self, mass: float) -> str:
        if not self._readable(mass):
            return "not read"
        out = str(self.betti(mass))
        if doubts := in_words(self.unsure(mass) or ()):
            out += f"; within the band of the level: {doubts}"
        if mass in self.disagree:
            out += f"; the other grid construction says {_trimmed(self.other[self.disagree.index(mass)])}"
        return out

    def _readable(self, mass: float) -> bool:
        return self.enough and self.cut is not None and self._quantile(mass) >= self.cut

    def _quantile(self, mass: float) -> float:
        _level_in_range(mass)
        return float(np.quantile(self.held, 1 - mass))

    def _level(self, mass: float) -> float:
        level = self._quantile(mass)
        if self.cut is not None and level < self.cut:
            raise ValueError(
                f"mass {mass:g} has its level at {level:.2f} nats, below the cut at {self.cut:.2f}; ask for a smaller mass"
            )
        return level


def wrong_masses(masses: Sequence[float] | float) -> str:
    """The error message about masses that are none."""
    return f"masses must lie strictly between 0 and 1, got {masses}; pass shares of the rows such as 0.5, 0.9"


def _level_in_range(mass: float) -> None:
    if not 0 < mass < 1:
        raise ValueError(wrong_masses(mass))


def _name(degree: int, count: int = 1) -> str:
    return NAMES[degree] + ("" if count == 1 else "s")


def in_words(betti: Sequence[int]) -> str:
    """ "1 piece, 2 loops" of (1, 2, 0); nothing of zeros."""
    return ", ".join(f"{count} {_name(degree, count)}" for degree, count in enumerate(betti) if count)


def _trimmed(betti: tuple[int, ...]) -> tuple[int, ...]:
    """Without trailing zeros, but never without degree 0."""
    last = max((d for d, count in enumerate(betti) if count), default=0)
    return tuple(betti[: last + 1])
