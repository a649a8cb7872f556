"""Two models of one planted structure, for tests/benchmarks/alignment_noise.py; flows are kept by the hash of what they saw.

    python tests/benchmarks/alignment_pairs.py --cache FOLDER --seeds 0 1

The bare structure of a shared row is the same on both sides; thickness, noise and diffeomorphism are each side's own.
"""

import argparse
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

SETTINGS = ((0.3, 10), (0.8, 20), (1.5, 64))  # noise sd / structure sd, D
ROWS, SCORED, TOLD = (
    12_000,
    1000,
    500,
)  # of a side alone, shared rows that are scored, shared rows for methods told of pairs
NULL = 0.03  # nats; the floor of the threshold, given so that no null has to be run for every D
STEP = 2  # degrees at which a continuous group is walked through


def three(corner, t, p):
    return 2 / np.sqrt(3) * np.c_[np.cos(2 * np.pi / 3 * corner), np.sin(2 * np.pi / 3 * corner)]


def circle(corner, t, p):
    return np.c_[np.cos(t), np.sin(t)]


def torus(corner, t, p):
    return np.c_[(1 + 0.45 * np.cos(p)) * np.cos(t), (1 + 0.45 * np.cos(p)) * np.sin(t), 0.45 * np.sin(p)]


def planar(step):
    """Turns of the first two axes, and their mirror images."""
    turns = np.radians(np.arange(0, 360, step))
    return [np.array([[np.cos(t), np.sin(t) * f], [-np.sin(t), np.cos(t) * f]]) for t in turns for f in (1, -1)]


def upright(step):
    blocks = [np.eye(3) for _ in range(4 * len(range(0, 360, step)))]
    for i, block in enumerate(blocks):
        block[:2, :2], block[2, 2] = planar(step)[i // 2], (-1) ** i
    return blocks


SHAPES = {"three": (three, 0.25), "circle": (circle, 0.08), "torus": (torus, 0.08)}  # and the thickness
GROUPS = {"three": lambda: planar(120), "circle": lambda: planar(STEP), "torus": lambda: upright(STEP)}


@dataclass(frozen=True)
class Pair:
    """Two models of one structure.

    Attributes:
        name: of the structure.
        ratio: noise sd / structure sd.
        dims: D.
        seed: everything is drawn from it.
    """

    name: str
    ratio: float
    dims: int
    seed: int = 0

    @cached_property
    def drawn(self):
        """Bare structure of all rows, and (structure with thickness, x) of each side.

        The first ROWS are a's, the next ROWS b's, the rest both see.
        """
        from flows.diffeo import RandomDiffeo

        shape, thickness = SHAPES[self.name]
        rng = np.random.default_rng([self.seed, self.dims, sorted(SHAPES).index(self.name)])
        count = 2 * ROWS + SCORED + TOLD
        bare = shape(rng.integers(0, 3, count), *rng.uniform(0, 2 * np.pi, (2, count)))
        white = np.sqrt(bare.var(0) + thickness**2)
        sides = []
        for side in (0, 1):
            structure = (bare + thickness * rng.standard_normal(bare.shape)) / white
            noise = self.ratio * rng.standard_normal((len(bare), self.dims - bare.shape[1]))
            bend = RandomDiffeo(self.dims, 7919 * (self.seed + 1) + side)
            sides.append((structure, bend(torch.from_numpy(np.hstack([structure, noise]))).float()))
        return bare / white, *sides

    def flow(self, side, cache):
        """The flow of one side, from the cache or fitted now."""
        import flows
        import training

        key = hashlib.sha256(json.dumps([asdict(self), side, ROWS, SCORED, TOLD, NULL]).encode()).hexdigest()[:12]
        folder = Path(cache) / f"{self.name}-{self.ratio}-{self.dims}-{self.seed}{'ab'[side]}-{key}"
        if not (folder / "flow.json").is_file():
            x = self.drawn[1 + side][1][side * ROWS : (side + 1) * ROWS]
            training.fit(x, seed=10 * self.seed + side, null_worth=NULL).flow.save(folder)
        return flows.load(folder)

    def shared(self, cache):
        """Of the shared rows, by side: x, the flow's block, the planted block."""
        sides = []
        for side in (0, 1):
            structure, x = self.drawn[1 + side]
            with torch.no_grad():
                s = self.flow(side, cache).encode(x[2 * ROWS :])
            sides.append((x[2 * ROWS :].double().numpy(), s.double().numpy(), structure[2 * ROWS :]))
        return sides

    def partners(self, count):
        """See :func:`partners`; of the first shared rows."""
        return partners(self.drawn[0][2 * ROWS : 2 * ROWS + count], GROUPS[self.name]())


@dataclass(frozen=True)
class Saved:
    """Two runs of ``tests/benchmarks/planted.py --save``: one planted set at two seeds, noise sd 1.

    They share no rows; those that are scored are pairs of rows next to one another in the bare structure.
    """

    name: str
    noise_dims: int
    seeds: tuple[int, int]
    folder: str

    @cached_property
    def drawn(self):
        """Bare structure (n, k) of the pairs, and (structure with thickness, x) of each side's rows of them."""
        from training import planted

        made = [planted(self.name, noise_dims=self.noise_dims, seed=seed) for seed in self.seeds]
        angles = [np.hstack([m.angles.numpy(), np.zeros((len(m.x), 2))]).T[:2] for m in made]
        bare, other = (SHAPES[self.name][0](m.labels.numpy(), *t) for m, t in zip(made, angles, strict=True))
        rows = np.random.default_rng(self.seeds).permutation(len(bare))[: SCORED + TOLD]
        jitter = 1e-6 * np.random.default_rng(0).standard_normal(other.shape)
        taken = linear_sum_assignment(cdist(bare[rows], other + jitter))[1]
        sides = [(m.structure.double().numpy()[r], m.x[r]) for m, r in zip(made, (rows, taken), strict=True)]
        return bare[rows], *sides

    def shared(self, cache):
        """As :meth:`Pair.shared`."""
        import flows

        sides = []
        for seed, (structure, x) in zip(self.seeds, self.drawn[1:], strict=True):
            with torch.no_grad():
                s = flows.load(f"{self.folder}/{self.name}-{self.noise_dims}-{seed}").encode(x)
            sides.append((x.double().numpy(), s.double().numpy(), structure))
        return sides

    def partners(self, count):
        """See :func:`partners`; of the first pairs."""
        return partners(self.drawn[0][:count], GROUPS[self.name]())


def partners(bare, group):
    """For every symmetry (k, k) of a structure: the row nearest to where it takes row i (n,), and the same back."""
    bare = bare + 1e-6 * np.random.default_rng(0).standard_normal(bare.shape)  # rows of one cluster: one partner each
    tree = cKDTree(bare)
    return [(tree.query(bare @ g)[1], tree.query(bare @ g.T)[1]) for g in group]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--names", nargs="+", default=list(SHAPES))
    parser.add_argument("--settings", nargs="+", type=int, default=range(len(SETTINGS)))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in given.seeds:
        for setting in given.settings:
            for name in given.names:
                found = [Pair(name, *SETTINGS[setting], seed).flow(side, given.cache).structure_dim for side in (0, 1)]
                print(name, *SETTINGS[setting], "seed", seed, "k", *found, flush=True)


if __name__ == "__main__":
    main()
