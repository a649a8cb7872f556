"""The skeleton of a cloud: its rows moved to the ridge of their density, strays left out, and landmarks evenly along it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from flows.geometry.landmarks import maxmin
from flows.geometry.ridge import kernel_derivatives, thin_directions, to_ridge

Floats = NDArray[np.float64]

MOST_ROWS = 4000
LANDMARKS = 1000
COUNTED, SMOOTHED = (
    600,
    0.2,
)  # rows at which thin directions are counted, and sd of the kernels at the others, in units of the cloud
SHARP, STEPS = 0.13, 20  # the same for the ridge itself
AROUND = 15
SPARSE, LONELY = 5.0, 1.5


@dataclass(frozen=True)
class Skeleton:
    """Rows of a cloud, where they are on its ridge, and landmarks evenly spread over the ridge.

    Attributes:
        points, on_ridge: rows (n, k) and the same moved to the ridge.
        landmarks: (m, k), of ``on_ridge``.
        dimension: directions in which the cloud runs on: 1 for curves, 2 for surfaces. Where it is k or 0 nothing was moved. (A
            blob of three dimensions and more can be taken for a surface, for its kernels hold few rows.)
    """

    points: Floats
    on_ridge: Floats
    landmarks: Floats
    dimension: int

    @property
    def thickness(self) -> float:
        """Median distance of rows from the ridge, a direction; 0 where nothing was moved."""
        normals = max(1, self.points.shape[1] - self.dimension)
        return float(np.sqrt(np.median(((self.points - self.on_ridge) ** 2).sum(1)) / normals))


def skeleton(cloud: Floats, rng: np.random.Generator) -> Skeleton:
    """Skeleton of rows (N, k), of which at most 4000 are drawn.

    Where strands are thick, single rows between two of them join what is apart, and any graph of the rows shows the shortcut; on
    the ridge they are few and far from one another. What is left of them are strays: ridge points five times sparser
    than most, or half as far again from their 15 nearest as these are from theirs (a local outlier factor, Breunig et al. 2000:
    a strand that is sparse as a whole stays).
    """
    points = cloud[rng.permutation(len(cloud))[:MOST_ROWS]]
    k = points.shape[1]
    unit = float(np.sqrt(np.linalg.eigvalsh(np.atleast_2d(np.cov(points.T)))[-1]))
    thin = thin_directions(points[:COUNTED], kernel_derivatives(points[COUNTED:], SMOOTHED * unit), unit)
    normals = int(np.bincount(thin, minlength=k + 1).argmax())
    on_ridge = points
    if 0 < normals < k:
        on_ridge = to_ridge(points, kernel_derivatives(points, SHARP * unit), normals, unit, STEPS)
    kept = ~_is_stray(on_ridge, k - normals or k)
    chosen, _ = maxmin(on_ridge[kept], LANDMARKS, rng)
    return Skeleton(points[kept], on_ridge[kept], on_ridge[kept][chosen], k - normals)


def _is_stray(ridge: Floats, dimension: int) -> NDArray[np.bool_]:
    distances, index = cKDTree(ridge).query(ridge, AROUND + 1)
    reach = distances[:, -1]
    sparse = reach**dimension > SPARSE * np.median(reach) ** dimension
    lonely = reach > LONELY * np.median(reach[index[:, 1:]], axis=1)
    return sparse | lonely
