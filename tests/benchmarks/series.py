"""How a recording is split: twins among the held-out rows, and how much better a density looks on them than on a fresh recording.

    python tests/benchmarks/series.py

Prints one line for each kind of recording, block length and gap: share of twins, optimism in nats, its standard error.
About two minutes on one core.
"""

import math
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_series import forgetting, recording

COUNT, TIME, DRAWS = 4000, 25, 4
WIDTHS = (0.1, 0.2, 0.3, 0.5, 0.8)
Floats = NDArray[np.float64]
KINDS = {
    "AR(1)": lambda seed: forgetting(COUNT, 5, TIME, seed),
    "ring": lambda seed: recording(COUNT, TIME, seed).numpy(),
}


def nll(train: Floats, rows: Floats) -> Floats:
    """Nats per row of a Gaussian kernel density, for each width."""
    squared, dims = cdist(rows, train, "sqeuclidean"), train.shape[1]
    return np.array(
        [
            math.log(len(train) * h**dims * (2 * math.pi) ** (dims / 2))
            - logsumexp(-squared / (2 * h * h), axis=1).mean()
            for h in WIDTHS
        ]
    )


def measured(kind: str, block: int, gap: int, seed: int) -> tuple[float, float]:
    """Share of twins among the held-out rows, and the optimism."""
    x, fresh = KINDS[kind](seed), KINDS[kind](seed + 1000)[::20]
    source = np.arange(COUNT) // block
    names = np.unique(source)
    held = np.isin(source, np.random.default_rng(seed).permutation(names)[: round(0.15 * len(names))])
    at = np.flatnonzero(held)
    far = np.abs(np.subtract.outer(np.arange(COUNT), at)).min(1) > gap
    train, some = np.flatnonzero(~held & far), at[:: max(1, len(at) // 200)]
    nearest = train[cKDTree(x[train]).query(x[some])[1]]
    own = nll(x[train][::3], x[some])
    return float((np.abs(nearest - some) < TIME).mean()), float((nll(x[train][::3], fresh) - own)[own.argmin()])


def main() -> None:
    for kind in KINDS:
        for times in (0, 1, 3, 10, 20):
            for gap in (0, TIME) if times else (0,):
                twins, optimism = np.array([measured(kind, max(1, times * TIME), gap, s) for s in range(DRAWS)]).T
                error = optimism.std() / DRAWS**0.5
                said = f"{kind}: blocks of {max(1, times * TIME)}, gap {gap}"
                print(f"{said}: twins {twins.mean():.2f}, optimism {optimism.mean():.2f} +- {error:.2f}")


if __name__ == "__main__":
    main()
