"""Planted clouds: a known structure times Gaussian noise, seen through a random diffeomorphism."""

import difflib
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flows.diffeo import RandomDiffeo, unexplained_share

__all__ = ["PLANTED_NAMES", "Planted", "RandomDiffeo", "planted"]

TORUS_TUBE = 0.45  # the tube's radius; the torus' other radius is 1
LEAST_UNEXPLAINED = 0.05


@dataclass(frozen=True, eq=False)
class Planted:
    """A planted cloud and the truth about it.

    Attributes:
        x: (rows, D) float32, what the user sees.
        structure: (rows, k) float32, the structure with its thickness before the diffeomorphism, whitened.
        labels: (rows,) int64, index of the piece.
        angles: (rows, j) float32 radians in [0, 2 pi), before thickness: circle, trefoil, linked circles j = 1, torus
            j = 2, else j = 0.
        structure_dim: true k at kappa = 1, the dimension of the planted embedding.
        intrinsic_dim: dimension of the structure without thickness.
        betti: Betti numbers of the structure without thickness, from degree 0 on.
        kind: a plain word for the structure.
        scored: whether structure_dim counts as a truth to be found.
    """

    x: Tensor = field(repr=False)
    structure: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    angles: Tensor = field(repr=False)
    structure_dim: int
    intrinsic_dim: int
    betti: tuple[int, ...]
    kind: str
    scored: bool


def planted(name: str, rows: int = 12000, noise_dims: int = 3, seed: int = 0, diffeo: bool = True) -> Planted:
    """Draw a planted cloud: structure (whitened) x N(0, I), pushed through a random diffeomorphism.

    Structures have unit size and are thickened by a Gaussian of sd .08 (clusters .25) before whitening. The same
    (name, rows, noise_dims, seed) has the same structure, labels and angles with and without `diffeo`.

    Args:
        name: one of `PLANTED_NAMES`.
        rows: number of independent rows, at least 4 D.
        noise_dims: number of N(0, 1) columns added to the structure; `gaussian`, which has no structure, gets 2 more.
        seed: everything is drawn from it; global random state is not touched.
        diffeo: False gives the columns (structure, noise) themselves.

    Raises:
        ValueError: unknown name, negative noise_dims, too few rows, or one dimension to bend.
    """
    if name not in _SHAPES:
        near = difflib.get_close_matches(name, PLANTED_NAMES, cutoff=0.4)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise ValueError(f"no planted set is called {name!r}; {hint}Expected one of: {', '.join(PLANTED_NAMES)}")
    shape = _SHAPES[name]
    rows, noise_dims = operator.index(rows), operator.index(noise_dims)
    if noise_dims < 0:
        raise ValueError(f"noise_dims must be 0 or more, got {noise_dims}; pass 0 for the bare structure")
    if shape.structure_dim == 0:
        noise_dims += 2
    dims = shape.structure_dim + noise_dims
    if rows < 4 * dims:
        raise ValueError(f"rows must be at least 4 D = {4 * dims}, got {rows}; draw more rows or fewer noise_dims")

    generator = torch.Generator().manual_seed(seed)
    diffeo_seed = int(torch.randint(2**62, (), generator=generator))  # the same for every set
    which, *turns = torch.rand(3, rows, generator=generator, dtype=torch.float64)
    labels = (which * shape.betti[0]).long()
    angles = 2 * math.pi * torch.stack(turns, dim=1)
    points = shape.embed(labels, *angles.T)
    thick = points + shape.thickness * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    structure = _whiten(thick)
    noise = torch.randn(rows, noise_dims, generator=generator, dtype=torch.float64)
    clean = torch.cat([structure, noise], dim=1)
    return Planted(
        x=(_bend(clean, diffeo_seed) if diffeo else clean).float(),
        structure=structure.float(),
        labels=labels,
        angles=angles[:, : shape.angles].float(),
        structure_dim=shape.structure_dim,
        intrinsic_dim=shape.intrinsic_dim,
        betti=shape.betti,
        kind=shape.kind,
        scored=shape.scored,
    )


def _bend(clean: Tensor, seed: int) -> Tensor:
    """Bend clean (rows, D) by the first random diffeomorphism that no linear map undoes (mostly the very first)."""
    for attempt in range(64):
        x = RandomDiffeo(clean.shape[1], seed + attempt)(clean)
        share = unexplained_share(x, clean)
        if share >= LEAST_UNEXPLAINED:
            return x
    raise AssertionError(f"64 diffeomorphisms were nearly linear; the last left {share:.3f} of the variance")


def _whiten(points: Tensor) -> Tensor:
    """Zero mean and identity covariance by the symmetric map, the one that moves the points least."""
    centred = points - points.mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / (len(points) - 1))
    return centred @ (axes * variances.rsqrt()) @ axes.T


@dataclass(frozen=True)
class _Shape:
    """embed(piece, t, p) -> (rows, structure_dim): the bare structure, t and p uniform in [0, 2 pi)."""

    embed: Callable[[Tensor, Tensor, Tensor], Tensor]
    structure_dim: int
    intrinsic_dim: int
    betti: tuple[int, ...]
    kind: str
    angles: int = 0
    thickness: float = 0.08
    scored: bool = True


def _columns(*columns: Tensor) -> Tensor:
    return torch.stack(columns, dim=1)


def _nothing(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    return t.new_empty(len(t), 0)


def _two(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    return _columns(2.0 * piece - 1).to(t)


def _three(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    corner = 2 * math.pi / 3 * piece.to(t)
    return 2 / math.sqrt(3) * _columns(corner.cos(), corner.sin())  # side 2, as between the two clusters


def _circle(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    return _columns(t.cos(), t.sin())


def _figure_eight(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    return _columns(t.sin(), t.sin() * t.cos())


def _torus(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    radius = 1 + TORUS_TUBE * p.cos()
    return _columns(radius * t.cos(), radius * t.sin(), TORUS_TUBE * p.sin())


def _sphere(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    height = p / math.pi - 1  # uniform in [-1, 1): so is every coordinate of a uniform point of the sphere
    radius = (1 - height.square()).sqrt()
    return _columns(radius * t.cos(), radius * t.sin(), height)


def _linked_circles(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    centre = piece - 0.5  # each circle passes through the other's centre
    return _columns(centre + t.cos(), (1 - piece) * t.sin(), piece * t.sin())


def _trefoil(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    return _columns(t.sin() + 2 * (2 * t).sin(), t.cos() - 2 * (2 * t).cos(), -(3 * t).sin()) / 3


def _swiss_roll(piece: Tensor, t: Tensor, p: Tensor) -> Tensor:
    turn = 1.5 * math.pi + 1.5 * t
    return _columns(turn * turn.cos(), 4.5 * (p - math.pi), turn * turn.sin()) / (4.5 * math.pi)


_SHAPES = {
    "gaussian": _Shape(_nothing, 0, 0, (1,), "noise"),
    "two": _Shape(_two, 1, 0, (2,), "clusters", thickness=0.25),
    "three": _Shape(_three, 2, 0, (3,), "clusters", thickness=0.25),
    "circle": _Shape(_circle, 2, 1, (1, 1), "loop", angles=1),
    "figure_eight": _Shape(_figure_eight, 2, 1, (1, 2), "loops"),
    "torus": _Shape(_torus, 3, 2, (1, 2, 1), "torus", angles=2),
    "sphere": _Shape(_sphere, 3, 2, (1, 0, 1), "sphere"),
    "linked_circles": _Shape(_linked_circles, 3, 1, (2, 2), "link", angles=1),
    "trefoil": _Shape(_trefoil, 3, 1, (1, 1), "knot", angles=1),
    "swiss_roll": _Shape(_swiss_roll, 3, 2, (1,), "sheet", scored=False),
}
PLANTED_NAMES: tuple[str, ...] = tuple(_SHAPES)
