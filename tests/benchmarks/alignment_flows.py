"""Pairs of flows for the alignment benchmark, each fitted once and kept by the hash of what it was fitted to.

python tests/benchmarks/alignment_flows.py --cache flows-cache
"""

import argparse
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

SETTINGS = ((0.3, 10), (0.8, 20), (1.5, 64))  # noise sd / structure sd, D
NAMES = ("three", "circle", "torus")
ROWS, SHARED = 8000, 2000


@dataclass(frozen=True)
class Pair:
    """Two models of one structure: each its own noise and its own diffeomorphism, fitted on disjoint rows.

    Attributes:
        name: of a planted structure.
        ratio: noise sd / structure sd.
        dims: D.
        seed: everything is drawn from it.
    """

    name: str
    ratio: float
    dims: int
    seed: int = 0

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x of model a, x of model b, structure: ROWS of a's alone, ROWS of b's alone, then SHARED seen by both."""
        import training
        from training.planting import RandomDiffeo

        count = 2 * ROWS + SHARED
        structure = training.planted(self.name, count, 0, self.seed, diffeo=False).structure
        sides = []
        for side in (0, 1):
            generator = torch.Generator().manual_seed(1000 * self.seed + side)
            noise = self.ratio * torch.randn(count, self.dims - structure.shape[1], generator=generator)
            bend = RandomDiffeo(self.dims, 7919 * (self.seed + 1) + side)
            sides.append(bend(torch.cat([structure, noise], 1)).numpy())
        return sides[0], sides[1], structure.numpy()

    def flow(self, side: int, cache: Path):
        """The flow of one side, from the cache or fitted now."""
        import flows
        import training

        key = hashlib.sha256(json.dumps([asdict(self), side, ROWS, SHARED]).encode()).hexdigest()[:16]
        folder = cache / f"{self.name}-{self.ratio}-{self.dims}-{self.seed}-{'ab'[side]}-{key}"
        if not (folder / "flow.json").is_file():
            x = self.rows()[side][side * ROWS : (side + 1) * ROWS]
            result = training.fit(x, seed=self.seed + side)
            result.flow.save(folder)
            print(f"fitted {folder.name}: k = {result.structure_dim}", flush=True)
        return flows.load(folder)

    def blocks(self, cache: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Structure blocks of the shared rows in both flows, and the planted structure."""
        a, b, structure = self.rows()
        with torch.no_grad():
            s = [self.flow(side, cache).encode(torch.from_numpy(x[-SHARED:])).numpy() for side, x in ((0, a), (1, b))]
        return s[0].astype(float), s[1].astype(float), structure[-SHARED:].astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--names", nargs="+", default=NAMES)
    parser.add_argument("--settings", nargs="+", type=int, default=range(len(SETTINGS)))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in given.seeds:
        for setting in given.settings:
            for name in given.names:
                for side in (0, 1):
                    Pair(name, *SETTINGS[setting], seed).flow(side, given.cache)


if __name__ == "__main__":
    main()
