"""Do geodesic distances start an alignment of SNARE-seq's cells? Tried outside the aligner, not part of it.

    python tests/benchmarks/alignment_geodesics.py

Ceilings first: FOSCTTM of the rotation, and of the linear map, that know every pair, of rows as they are and of unit rows. Then
starts without pairs: entropic Gromov-Wasserstein between geodesics of neighbour graphs of 300 unit rows a side, the rotation of
its plan, and transport and rotation of centroids in turn from there, as in the wide search. *Cost* is of the centroids' plan and
looks at no truth; the start of the least cost is the answer.
"""

import os
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import ot
from alignment_peers import _geodesics
from alignment_public import procrustes, real

from analysis.alignment import foscttm
from analysis.alignment.clouds import Cloud
from analysis.alignment.frame import Frame
from analysis.alignment.grains import Grains, carried
from analysis.alignment.rigid import polar

ROWS = 300


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ceilings(a, b):
    for name, x, y in (("as they are", a, b), ("unit rows", unit(a), unit(b))):
        design = np.c_[x, np.ones(len(x))]
        linear = design @ np.linalg.lstsq(design, y, rcond=None)[0]
        print(
            f"all pairs known, {name}: rotation {foscttm(procrustes(x, y)(x), y):.3f}, linear map {foscttm(linear, y):.3f}"
        )


def main():
    data = real("snareseq")
    a, b = data["rna"].astype(float), data["atac"].astype(float)
    ceilings(a, b)
    rows = unit(a), unit(b)
    x, y = (Frame.of(r)(r) for r in rows)
    grains = [Grains.of(Cloud(z, np.zeros((len(z), 0)))) for z in (x, y)]
    weights, found = np.full(ROWS, 1 / ROWS), []
    for neighbours in (20, 35):
        for seed in range(4):
            rng = np.random.default_rng(seed)
            some = [rng.permutation(len(z))[:ROWS] for z in (x, y)]
            gaps = [_geodesics(r[i], neighbours) for r, i in zip(rows, some, strict=True)]
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                plan = ot.gromov.entropic_gromov_wasserstein(*gaps, weights, weights, epsilon=5e-3, max_iter=50)
            if not np.isfinite(plan).all():
                continue
            p, q = x[some[0]], y[some[1]]
            matrix, cost = carried(*grains, polar((p - p.mean(0)).T @ plan @ (q - q.mean(0))))
            found.append((cost, foscttm(x @ matrix, y)))
            print(f"{neighbours} neighbours, draw {seed}: cost {cost:.3f}, FOSCTTM {found[-1][1]:.3f}", flush=True)
    print("of the least cost: cost {:.3f}, FOSCTTM {:.3f}".format(*min(found)))


if __name__ == "__main__":
    main()
