"""The aligner on pairs of trained nets: classes, labels and answers carried from one net to the other, and what stays ambiguous.

    unknot fit -c digits --data.half 0 --seed 0 --out runs/digits-0   (and --data.half 1 --seed 1: the nets share no image)
    unknot fit -c rotated-digits --seed 0 --out runs/rotated-0        (and 1; the same of modular-addition)
    python tests/benchmarks/alignment_real.py digits runs/digits-0 runs/digits-1
    python tests/benchmarks/alignment_real.py geometry runs/digits-0 runs/digits-1
    python tests/benchmarks/alignment_real.py angle runs/rotated-0 runs/rotated-1
    python tests/benchmarks/alignment_real.py residues runs/modular-0 runs/modular-1

Every seed trains its net anew, from other initial weights and on another split of the images. Rows are held out.

*digits*: without pairs, and with labels as evidence. Classes whose centre lands nearest to their own in b; labels of b's rows by
a vote of 5 mapped rows of a; accuracy of net b's head on a's activations mapped into b's layer (stitching), between a random
rigid map and b's own activations with their noise at zero.
*geometry*: what could be told from classes at all: those of each net are given, and which goes with which is sought. Distances
between class centres (in the block; in units of the spread within classes), and how near the nearest rows of two classes come;
squared difference between the nets, distances standardised, at the true assignment and at the best of 60 descents by swaps.
*angle*: the angle of a mapped row, read off the 5 nearest rows of b, against its own: best over the symmetry that the aligner
reports, and after one and two labelled pairs: rows of equal angle, drawn at random, whatever the nets make of them.
*residues*: modular addition; share of rows whose residue is that of the nearest row of b, best over x -> unit * x + shift mod 59
(1/59 by chance, the best of 3422 about .05). A rigid map can exist up to units only if u * (frequencies of a) are those of b.
"""

import argparse
import itertools
import json
import os
import re
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

import training
from analysis import Aligner, Analyzer
from analysis.alignment import label_transfer
from analysis.alignment.rigid import Rigid, random_map

MOST = 1500


class Model:
    """A run's flow, and at most 1500 of its held-out rows: activations, block, labels, angles."""

    def __init__(self, run):
        self.run = Path(run)
        kept = load_file(self.run / "data.safetensors")
        self.x = kept["held_out.x"][:MOST]
        self.labels = kept["held_out.labels"][:MOST].numpy() if "held_out.labels" in kept else None
        self.angles = kept["held_out.targets"][:MOST, 0].numpy() if "held_out.targets" in kept else None
        self.analyzer = Analyzer.load(run, self.x, self.labels)
        self.s = self.analyzer.s

    def answers(self, x):
        """What the net's last layer makes of activations."""
        result = json.loads((self.run / "result.json").read_text())
        half = re.search(r"^  half: (\d)", (self.run / "config.yaml").read_text(), re.M)
        net = training.trained_subject(result["data"], result["seed"], half=int(half[1]) if half else None).model
        with torch.no_grad():
            return list(net.children())[-1](x).argmax(1).numpy()


def classes(mapped, labels, target, truth):
    """Share of classes whose mapped centre is nearest to their own centre."""
    names = np.unique(labels)
    centres, others = ([rows[of == name].mean(0) for name in names] for rows, of in ((mapped, labels), (target, truth)))
    return float((cKDTree(others).query(centres)[1] == np.arange(len(names))).mean())


def digits(a, b, given):
    ceiling = (b.answers(b.analyzer.flow.project(b.x)) == b.labels).mean()
    chance = Rigid(random_map(a.s.shape[1], b.s.shape[1], np.random.default_rng(0)), np.zeros(b.s.shape[1]))
    floor = (b.answers(b.analyzer.flow.decode(torch.from_numpy(chance(a.s)).float())) == a.labels).mean()
    print(
        f"b's head: its own rows {(b.answers(b.x) == b.labels).mean():.3f}, noise at zero {ceiling:.3f}, floor {floor:.3f}"
    )
    for evidence in (None, (a.labels, b.labels)):
        found = Aligner(rows=given.rows).fit(a.analyzer, b.analyzer, labels=evidence)
        mapped = found.transform_structure(a.s)
        print(
            f"{'labels as evidence' if evidence else 'no pairs':18}  classes {classes(mapped, a.labels, b.s, b.labels):.2f}  "
            f"label transfer {label_transfer(mapped, a.labels, b.s, b.labels):.3f}  "
            f"stitched {(b.answers(found.transform(a.x)) == a.labels).mean():.3f}  {found!r}, differs {found.differs_}",
            flush=True,
        )


def _gaps(model):
    """Three ways to say how far apart two classes are: (10, 10) each."""
    rows = [model.s[model.labels == label] for label in np.unique(model.labels)]
    centres = np.array([r.mean(0) for r in rows])
    values, axes = np.linalg.eigh(np.mean([np.cov(r.T) for r in rows], axis=0))
    scaled = centres @ (axes / np.sqrt(np.maximum(values, 1e-3)))
    nearest = np.array([[np.quantile(cdist(x, y), 0.02) for y in rows] for x in rows])
    return {"centres": cdist(centres, centres), "in spreads": cdist(scaled, scaled), "nearest rows": nearest}


def geometry(a, b, given):
    upper = np.triu_indices(10, 1)
    for name, one in _gaps(a).items():
        one, other = ((gaps - gaps[upper].mean()) / gaps[upper].std() for gaps in (one, _gaps(b)[name]))

        def cost(order, one=one, other=other):
            return float(((one - other[np.ix_(order, order)])[upper] ** 2).sum())

        ends = [_swapped(cost, np.random.default_rng(i).permutation(10)) for i in range(60)]
        best = min(ends, key=cost)
        print(
            f"{name:12}  true assignment {cost(np.arange(10)):5.1f}, best {cost(best):5.1f}, which has "
            f"{int((best == np.arange(10)).sum())} of 10 classes right",
            flush=True,
        )


def _swapped(cost, order):
    """An assignment that no exchange of two makes cheaper."""
    while True:
        tries = [order.copy() for _ in range(45)]
        for other, (i, j) in zip(tries, itertools.combinations(range(10), 2), strict=True):
            other[[i, j]] = other[[j, i]]
        best = min(tries, key=cost)
        if cost(best) >= cost(order) - 1e-9:
            return order
        order = best


def read(mapped, b):
    """Angles of mapped rows: the circular mean over the 5 nearest rows of b."""
    near = cKDTree(b.s).query(mapped, 5)[1]
    return np.angle(np.exp(1j * b.angles[near]).mean(1))


def angle(a, b, given):
    found = Aligner(rows=given.rows).fit(a.analyzer, b.analyzer)
    print(repr(found), "own", [g.name for g in found.own_symmetries_])
    maps = [g @ m.matrix for m in found.alternatives_ for g in found.symmetry_.orbit(np.eye(len(found.map_.matrix)))]
    shift = b.s.mean(0) - a.s.mean(0) @ found.map_.matrix
    errors = [_error(read((a.s - a.s.mean(0)) @ m + b.s.mean(0), b), a.angles) for m in maps]
    print(
        f"median error of an angle: best over the reported set {min(errors):.1f} degrees, worst {max(errors):.1f} "
        f"(shift of the best map {np.linalg.norm(shift):.2f})"
    )
    for pairs in (1, 2):
        rng, got = np.random.default_rng(0), []
        for _ in range(given.draws):
            rows = rng.permutation(len(a.s))[:pairs]
            gaps = np.abs(np.angle(np.exp(1j * (a.angles[rows, None] - b.angles))))
            told = Aligner(rows=given.rows).fit(a.analyzer, b.analyzer, pairs=np.c_[rows, gaps.argmin(1)])
            ends = [_error(read(m(a.s), b), a.angles) for m in told.alternatives_]
            sure = (
                "unique"
                if told.is_unique_
                else told.symmetry_.name + (", not sure: the pairs do not fit" * told.differs_)
            )
            got.append(f"{ends[0]:.1f} degrees, least of {len(ends)} maps {min(ends):.1f} ({sure})")
        print(f"{pairs} labelled pair(s): {'; '.join(got)}", flush=True)


def _error(one, other):
    return float(np.degrees(np.median(np.abs(np.angle(np.exp(1j * (one - other)))))))


def frequencies(model, share=0.05):
    """Frequencies mod 59 that carry at least a twentieth of the variance of the labels' means, the strongest first."""
    means = np.array([model.s[model.labels == label].mean(0) for label in range(59)])
    power = (np.abs(np.fft.fft(means - means.mean(0), axis=0)) ** 2).sum(1)[1:30]
    return [int(i) + 1 for i in np.argsort(-power) if power[i] >= share * power.sum()]


def residues(a, b, given):
    one, other = frequencies(a), frequencies(b)
    print(f"frequencies of a {one}, of b {other}, shared {sorted(set(one) & set(other))}", flush=True)
    found = Aligner(rows=given.rows).fit(a.analyzer, b.analyzer)
    near = cKDTree(b.s).query(found.transform_structure(a.s))[1]
    read_off = b.labels[near]
    hits = [((u * a.labels + t - read_off) % 59 == 0).mean() for u in range(1, 59) for t in range(59)]
    print(
        repr(found),
        f"aligned {found.is_aligned_}, unique {found.is_unique_}; residues right, best over units and shifts: {max(hits):.3f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=("digits", "geometry", "angle", "residues"))
    parser.add_argument("runs", nargs=2)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--draws", type=int, default=3, help="of labelled pairs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    calls = {"digits": digits, "geometry": geometry, "angle": angle, "residues": residues}
    calls[given.subject](*map(Model, given.runs), given)


if __name__ == "__main__":
    main()
