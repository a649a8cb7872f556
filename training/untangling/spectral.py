"""Coordinates of a cloud that know nothing of how it lies in space: eigenvectors of its skeleton's neighbour graph."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from torch import Tensor

from flows.lift import SPREAD, Lift
from training.untangling.false_neighbours import false_neighbours
from training.untangling.skeleton import skeleton

Floats = NDArray[np.float64]

MOST_ROWS = 10_000
DRAWS = 5  # of the skeleton
LIFT_LANDMARKS = 1500
NEIGHBOURS = 20
SMALLEST_PIECE = 0.02
VECTORS = 6
NEW = 0.5  # an eigenvector that the chosen ones explain to less than this residual is a direction of its own
APART = 4.0  # between pieces, in standard deviations of one
FINEST = 0.05  # draws of a lift: what a mixture's components can resolve
FEWEST_ROWS = 2000


@dataclass(frozen=True)
class Spectrum:
    """Spectral coordinates of a cloud.

    Attributes:
        cloud: rows (N, k) looked at.
        points, coordinates: rows (n, k) near the skeleton and their coordinates (n, r), pieces side by side along the first.
        spread: of a lift's draws: twice what the cloud is thick, in these coordinates, within .05 to .1. Wider, and what the
            coordinates do not explain is bent where a long curve turns; finer, and the ring is thinner than a flow can fit.
        pieces: number of pieces of the graph.
        eigenvalues, residuals: of each piece its graph's eigenvalues and how new each eigenvector is, heaviest piece first.
        seed: what drew them.
    """

    cloud: Floats
    points: Floats
    coordinates: Floats
    spread: float
    pieces: int
    eigenvalues: tuple[tuple[float, ...], ...]
    residuals: tuple[tuple[float, ...], ...]
    seed: int

    @property
    def dims(self) -> int:
        """r, coordinates."""
        return self.coordinates.shape[1]

    def lift(self) -> Lift:
        """The lift by these coordinates, on at most 1500 landmarks; its kernel is as wide as their sixth neighbours are far."""
        rng = np.random.default_rng([self.seed, 1])
        chosen, rows = (rng.permutation(count)[:LIFT_LANDMARKS] for count in (len(self.points), len(self.cloud)))
        points, coordinates = self.points[chosen], self.coordinates[chosen]
        width = float(np.median(cKDTree(points).query(points, 7)[0][:, -1]))
        return Lift(_float(points), _float(coordinates), width, self.spread, _float(self.cloud[rows]))


def spectrum(points: Tensor, seed: int = 0) -> Spectrum:
    """Spectral coordinates of ``points`` (N, k): as many as its pieces have directions of their own.

    Of more than 10 000 rows that many are drawn. The graph joins every landmark of their skeleton
    (:mod:`training.untangling.skeleton`) with its 20 nearest, with self-tuned Gaussian weights (Zelnik-Manor and Perona
    2004), normalised so that the eigenvectors do not depend on the density (Coifman and Lafon 2006, alpha = 1). Of each
    piece's first 6 eigenvectors those are kept that the ones before do not explain (local linear regression, Dsilva et
    al. 2018): a closed curve has two, not six. A row has the coordinates of the landmarks nearest to where it is on the
    ridge.

    Which rows stay between two strands is chance: of five skeletons with the usual number of coordinates the one whose
    coordinates put the fewest false neighbours (:func:`training.untangling.false_neighbours.false_neighbours`) is kept.

    Raises:
        ValueError: fewer than 2000 rows, of which a thin ring may come out open.
    """
    cloud = points.double().cpu().numpy()
    if len(cloud) < FEWEST_ROWS:
        raise ValueError(f"a neighbour graph of the structure needs at least {FEWEST_ROWS} rows, got {len(cloud)}")
    rng = np.random.default_rng([seed, 0])
    cloud = cloud[np.sort(rng.permutation(len(cloud))[:MOST_ROWS])]
    drawn = [_drawn(cloud, seed, np.random.default_rng([seed, 2 + draw])) for draw in range(DRAWS)]
    usual = int(np.bincount([found.dims for found in drawn]).argmax())
    rows = _float(cloud)
    return min(
        (found for found in drawn if found.dims == usual), key=lambda f: false_neighbours(rows, f.lift().above(rows))
    )


def _drawn(cloud: Floats, seed: int, rng: np.random.Generator) -> Spectrum:
    """The spectrum of one skeleton of rows (N, k)."""
    bones = skeleton(cloud, rng)
    weights = _graph(bones.landmarks)
    _, labels = connected_components(weights, directed=False)
    counts = np.bincount(labels)
    pieces = [p for p in np.argsort(-counts, kind="stable") if counts[p] >= SMALLEST_PIECE * len(labels)]
    found = [_piece(weights[labels == p][:, labels == p]) for p in pieces]
    placed = np.full((len(labels), max(coordinates.shape[1] for coordinates, _, _ in found)), np.nan)
    for place, (piece, (coordinates, _, _)) in enumerate(zip(pieces, found, strict=True)):
        wide = np.pad(coordinates, ((0, 0), (0, placed.shape[1] - coordinates.shape[1])))
        wide[:, 0] += APART * (place - (len(pieces) - 1) / 2)
        placed[labels == piece] = wide
    of_rows = _between(bones.on_ridge, bones.landmarks, placed)
    in_piece = np.isfinite(of_rows).all(1)
    return Spectrum(
        cloud=cloud,
        points=bones.points[in_piece],
        coordinates=of_rows[in_piece],
        spread=float(
            np.clip(2 * bones.thickness * _stretch(bones.on_ridge[in_piece], of_rows[in_piece]), FINEST, SPREAD)
        ),
        pieces=len(pieces),
        eigenvalues=tuple(tuple(values.tolist()) for _, values, _ in found),
        residuals=tuple(tuple(residuals) for _, _, residuals in found),
        seed=seed,
    )


def _graph(points: Floats) -> csr_array:
    """Symmetric weights exp(-d² / (d_i d_j)) of every row to its 20 nearest, d_i the distance of its twentieth."""
    distances, index = cKDTree(points).query(points, NEIGHBOURS + 1)
    distances, index = distances[:, 1:], index[:, 1:]
    scale = np.maximum(distances[:, -1], 1e-12)
    weights = np.exp(-(distances**2) / (scale[:, None] * scale[index]))
    start = np.repeat(np.arange(len(points)), NEIGHBOURS)
    graph = csr_array((weights.ravel(), (start, index.ravel())), shape=(len(points), len(points)))
    return graph.maximum(graph.T)


def _piece(weights: csr_array) -> tuple[Floats, Floats, list[float]]:
    """Coordinates (n, r) of unit variance of one connected piece, its eigenvalues, and how new each eigenvector is.

    Twice: where the graph is thin its coordinates run fast and rows end up far apart, so weights are raised there by the mean
    length of an edge in the first coordinates. Values and newness are of the graph as it was.
    """
    density = weights.sum(1)
    weights = diags_array(1 / density) @ weights @ diags_array(1 / density)
    vectors, values = _eigenvectors(weights)
    chosen, residuals = _independent(vectors)
    again, _ = _eigenvectors(_evened(weights, vectors[:, chosen]))
    kept = _independent(again)[0][: len(chosen)]
    kept += [n for n in range(again.shape[1]) if n not in kept][: len(chosen) - len(kept)]
    return again[:, kept], values, residuals


def _eigenvectors(weights: csr_array) -> tuple[Floats, Floats]:
    """The first eigenvectors (n, 6) of the random walk on a graph but the constant one, of unit variance, and its 1 - values."""
    degree = weights.sum(1)
    walk = diags_array(degree**-0.5) @ weights @ diags_array(degree**-0.5)
    count = min(VECTORS + 1, len(degree) - 1)
    values, vectors = eigsh(walk, k=count, sigma=1.0001, which="LM", v0=np.ones(len(degree)))  # next to 1, the largest
    falling = np.argsort(-values)
    vectors = vectors[:, falling[1:]] / vectors[:, falling[:1]]
    return (vectors - vectors.mean(0)) / vectors.std(0), 1 - values[falling[1:]]


def _independent(vectors: Floats) -> tuple[list[int], list[float]]:
    """Which columns the ones before do not explain, and how much of each they do not."""
    chosen, residuals = [0], [1.0]
    for number in range(1, vectors.shape[1]):
        residuals.append(_unexplained(vectors[:, number], vectors[:, chosen]))
        if residuals[-1] >= NEW:
            chosen.append(number)
    return chosen, residuals


def _evened(weights: csr_array, coordinates: Floats) -> csr_array:
    """Weights times how long edges are around their ends (smoothed over ten steps), against the median."""
    edges = weights.tocoo()
    length = np.linalg.norm(coordinates[edges.row] - coordinates[edges.col], axis=1)
    count = np.bincount(edges.row, minlength=len(coordinates))
    long = np.bincount(edges.row, weights=length, minlength=len(coordinates)) / count
    joined = csr_array((np.ones(len(edges.row)), (edges.row, edges.col)), shape=weights.shape)
    for _ in range(10):
        long = joined @ long / count
    long /= np.median(long)
    return csr_array(
        (edges.data * np.sqrt(long[edges.row] * long[edges.col]), (edges.row, edges.col)), shape=weights.shape
    )


def _between(points: Floats, landmarks: Floats, coordinates: Floats) -> Floats:
    """Coordinates of points (n, k): those of their three nearest landmarks, weighted by 1 / distance; nan next to a nan."""
    distances, index = cKDTree(landmarks).query(points, 3)
    weights = 1 / np.maximum(distances, 1e-9)
    return np.einsum("nm,nma->na", weights / weights.sum(1, keepdims=True), coordinates[index])


def _stretch(ridge: Floats, coordinates: Floats) -> float:
    """How far apart neighbours on the ridge are in the coordinates, against on the ridge."""
    distances, index = cKDTree(ridge).query(ridge, NEIGHBOURS + 1)
    far = np.linalg.norm(coordinates[index[:, -1]] - coordinates, axis=1)
    return float(np.median(far) / max(np.median(distances[:, -1]), 1e-12))


def _unexplained(values: Floats, others: Floats) -> float:
    """Residual sd of leave-one-out local linear regression of values (n,) of unit variance on others (n, j)."""
    distances = cdist(others, others)
    weights = np.exp(-((6 * distances / np.median(distances)) ** 2))
    np.fill_diagonal(weights, 0.0)
    design = np.c_[np.ones(len(others)), others]
    normal = np.einsum("nm,mi,mj->nij", weights, design, design, optimize=True)
    normal += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(design.shape[1])
    right = (weights * values) @ design
    fitted = np.einsum("ni,ni->n", design, np.linalg.solve(normal, right[..., None])[..., 0])
    return float(np.sqrt(np.mean((values - fitted) ** 2)) / values.std())


def _float(array: Floats) -> Tensor:
    return torch.from_numpy(array).float()
