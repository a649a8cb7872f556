"""The aligner on real models whose answer is known, without pairs: classes, days and months, sentences, cells.

    python tests/benchmarks/alignment_public.py digits [--peers]     ten pairs of digits nets that share no image
    python tests/benchmarks/alignment_public.py resnets [--peers]    six pairs of CIFAR ResNets, halves of 2000 images
    python tests/benchmarks/alignment_public.py calendars            SmolLM2 against Gemma, and pairs that do not belong
    python tests/benchmarks/alignment_public.py sentences [--peers]  MiniLM against multilingual e5, other sentences
    python tests/benchmarks/alignment_public.py snare                RNA against ATAC of 1047 cells
    python tests/benchmarks/alignment_public.py missing              digits nets, one side without two of ten classes
    python tests/benchmarks/alignment_public.py same                 one layer against itself, other rows

Every pair is printed. The aligner has its defaults throughout: no labels, no pairs, no number of classes. The files lie
outside the project; where they are missing the benchmark says so and stops. *Right* counts pieces of a whose partner has
the same commonest label. *Labels* is the share of b's rows that 5 mapped rows of a name rightly, and by b's own rows (one
half for the other, by source where rows share one). *FOSCTTM* is of the rows that both models saw. Peers are given what
they need: k-means + assignment + Procrustes is told the number of classes; Wasserstein-Procrustes, SCOT's and
mini-vec2vec's recipes see 400 rows a side.
"""

import argparse
import itertools
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import alignment_peers as peers
import numpy as np
import torch
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

import training
from analysis import Aligner
from analysis.alignment import foscttm, label_transfer
from analysis.alignment.assignment import assignments
from analysis.alignment.nuisance import without
from analysis.alignment.rigid import polar

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real"
PEER_ROWS = 400


def real(name):
    path = REAL / f"{name}.npz"
    if not path.exists():
        raise SystemExit(f"{path.name} is not in ../shared/real, so there is nothing to measure here")
    return np.load(path)


def procrustes(x, y):
    """Rotation, scale and shift from known pairs."""
    p, q = x - x.mean(0), y - y.mean(0)
    matrix, scale = polar(p.T @ q), np.sqrt((q**2).sum() / (p**2).sum())
    return lambda rows: scale * (rows - x.mean(0)) @ matrix + y.mean(0)


def plain(a, b, rng, count):
    """k-means told the number of pieces, assignment of their distances, Procrustes on the centres: a map of rows."""
    one, other = (
        KMeans(count, n_init=10, random_state=int(rng.integers(2**31))).fit(x).cluster_centers_ for x in (a, b)
    )
    order = assignments(cdist(one, one), cdist(other, other), rng).orders[0]
    return procrustes(one, other[order])


def right(found, of_a, of_b):
    """Pieces of a whose partner by the map has the same commonest label, and how many pieces there are."""
    order, named = found._wide_order, []
    for side, labels in ((found.a_, of_a), (found.b_, of_b)):
        named.append([np.bincount(labels[side.pieces == i]).argmax() for i in range(side.pieces.max() + 1)])
    return sum(int(p >= 0 and named[0][i] == named[1][p]) for i, p in enumerate(order)), len(order)


def own(rows, labels, sources=None):
    """Labels of one half of the rows by the other, halves by source."""
    sources = np.arange(len(rows)) if sources is None else sources
    names = np.unique(sources)
    half = np.isin(sources, np.random.default_rng(0).permutation(names)[::2])
    return label_transfer(rows[half], labels[half], rows[~half], labels[~half])


def said(found):
    group = found.symmetry_.name
    unique = "unique" if found.is_unique_ else f"{len(found.alternatives_)} maps, {group}"
    return f"p {found.p_value_:.3f}, {unique}, reached {found.reached_[0]} of {found.reached_[1]}"


def others(a, b, of_a, of_b, classes, score):
    """What peers reach, a line each."""
    for name, call in (
        ("k-means told k + assignment + Procrustes", None),
        ("Wasserstein-Procrustes", peers.wasserstein_procrustes),
        ("SCOT's recipe", peers.scot),
        ("mini-vec2vec's recipe", peers.quadratic),
    ):
        start, rng = time.time(), np.random.default_rng(0)
        if call is None:
            map = plain(a, b, rng, classes)
            got, extra = label_transfer(map(a), of_a, b, of_b), score(map)
        else:
            some = [rng.permutation(len(x))[:PEER_ROWS] for x in (a, b)]
            x, y = (rows[i] - rows.mean(0) for rows, i in zip((a, b), some, strict=True))
            x, y = x / np.sqrt(x.var(0).sum()), y / np.sqrt(y.var(0).sum())
            mapped, target = call(x, y, rng)
            got, extra = label_transfer(mapped, of_a[some[0]], target, of_b[some[1]]), ""
        print(f"    {name:42} labels {got:.3f} {extra}  {time.time() - start:.0f} s", flush=True)


def resnets(given):
    data, order = real("cifar_resnets"), np.random.default_rng(0).permutation(2000)
    labels, (left, rest) = data["labels"], (order[:1000], order[1000:])
    for one, other in itertools.combinations((20, 32, 44, 56), 2):
        a, b = (data[f"resnet{n}"].astype(float) for n in (one, other))
        start = time.time()
        found = Aligner().fit(a[left], b[rest])
        ceiling = procrustes(a[left], b[left])
        hits = right(found, labels[left], labels[rest])
        head = data[f"resnet{other}_weight"], data[f"resnet{other}_bias"]
        stitched = found.stitched(head, labels=labels[left])
        carried = label_transfer(found.transform(a[left]), labels[left], b[rest], labels[rest])
        print(
            f"ResNet {one} -> {other}: right {hits[0]} of {hits[1]}, labels {carried:.3f} "
            f"(own {own(b[rest], labels[rest]):.3f}), FOSCTTM {foscttm(found.transform(a), b):.4f} "
            f"(paired {foscttm(ceiling(a), b):.4f}), stitched {stitched.accuracy:.3f}; "
            f"{said(found)}; {time.time() - start:.0f} s",
            flush=True,
        )
        if given.peers:

            def score(map, a=a, b=b):
                return f"FOSCTTM {foscttm(map(a), b):.4f}"

            others(a[left], b[rest], labels[left], labels[rest], 10, score)


def digits(given):
    for pair in given.pairs:
        sides = []
        for half in (0, 1):
            seed = 2 * pair + half
            subject = training.trained_subject("digits", seed, half=half)
            rows, last = subject.activations(), list(subject.model.children())[-1]
            some = np.random.default_rng(seed).permutation(len(rows.x))[:1500]
            sides.append(
                (
                    rows.x.numpy()[some].astype(float),
                    rows.labels.numpy()[some],
                    rows.sources.numpy()[some],
                    tuple(p.detach().double().numpy() for p in (last.weight, last.bias)),
                )
            )
        (a, of_a, _, _), (b, of_b, sources, head) = sides
        start = time.time()
        found = Aligner().fit(a, b)
        hits = right(found, of_a, of_b)
        centres = [
            np.array([x[of == c].mean(0) for c in range(10)]) for x, of in ((found.transform(a), of_a), (b, of_b))
        ]
        classes = int((cdist(*centres).argmin(1) == np.arange(10)).sum())
        print(
            f"digits, seeds {2 * pair} and {2 * pair + 1}: classes {classes} of 10, pieces right {hits[0]} of {hits[1]}, labels "
            f"{label_transfer(found.transform(a), of_a, b, of_b):.3f} (own {own(b, of_b, sources):.3f}), "
            f"stitched {found.stitched(head, labels=of_a).accuracy:.3f}; {said(found)}; {time.time() - start:.0f} s",
            flush=True,
        )
        if given.peers:
            others(
                a, b, of_a, of_b, 10, lambda map, head=head, a=a, of_a=of_a: f"stitched {_head(map(a), head, of_a):.3f}"
            )


def _head(rows, head, labels):
    return float(((rows @ head[0].T + head[1]).argmax(1) == labels).mean())


def calendars(given):
    data = real("calendars")

    def side(model, kind, layer):
        name = f"{model}_{kind}"
        return data[f"{name}_layer{layer}"].astype(float), data[f"{name}_template"], data[f"{name}_label"]

    for layers in itertools.product((10, 15, 25, 30), (7, 13)):
        for kinds in (("day", "day"), ("month", "month"), ("day", "month"), ("month", "day")):
            (a, of_a, days), (b, of_b, others_) = (
                side("smollm2", kinds[0], layers[0]),
                side("gemma3", kinds[1], layers[1]),
            )
            one_calendar(kinds, layers, a, b, (of_a, of_b), days, others_, given)
    for kind in ("day", "month"):
        (a, of_a, days), (b, of_b, months) = side("smollm2", kind, 15), side("gemma3", kind, 13)
        b, rng = without(b, of_b, "b"), np.random.default_rng(0)
        mixed = np.array([rng.permutation(column) for column in b.T]).T
        one_calendar((kind, "columns shuffled"), (15, 13), a, mixed, (of_a, None), days, months, given)


def one_calendar(kinds, layers, a, b, nuisance, of_a, of_b, given):
    start = time.time()
    found = Aligner().fit(a, b, nuisance=nuisance)
    belongs = kinds[0] == kinds[1]
    hits, true = right(found, of_a, of_b), "-"
    if belongs:
        left, target = without(a, nuisance[0], "a"), found.b_.s
        shares = [label_transfer(m(left), of_a, target, of_b) for m in found.alternatives_]
        true = next((str(i) for i, share in enumerate(shares) if share > 0.99), "none")
        simple = plain(left, target, np.random.default_rng(0), len(np.unique(of_a)))
        true += f", plain recipe's labels {label_transfer(simple(left), of_a, target, of_b):.2f}"
    print(
        f"{kinds[0]} -> {kinds[1]}, layers {layers[0]} -> {layers[1]}: "
        + (f"right {hits[0]} of {hits[1]}, true map is alternative {true}; " if belongs else "")
        + f"{'aligned' if found.is_aligned_ else 'no alignment'}, {said(found)}; {time.time() - start:.0f} s",
        flush=True,
    )


def sentences(given):
    for draw, rows in itertools.product(given.draws, given.rows):
        sentences_of(draw, rows, given.peers)


def sentences_of(draw, rows, with_peers):
    """Rows that the other side has not, tested on 1000 more; of 3250 a side all are used, so on some that one side saw."""
    data, order = real("sentences"), np.random.default_rng(draw).permutation(6500)
    a, b = data["minilm"].astype(float), data["e5"].astype(float)
    left, rest = order[:rows], order[rows : 2 * rows]
    tested = order[-1000:] if rows <= 2750 else np.random.default_rng(1).permutation(order)[:1000]
    start = time.time()
    found = Aligner().fit(a[left], b[rest])
    seconds = time.time() - start
    maps = {
        "ours": found.transform,
        "plain recipe, 20 pieces": plain(a[left], b[rest], np.random.default_rng(0), 20),
    }
    told = [i for i in left if i not in set(tested)]
    maps |= {f"paired Procrustes, {p} pairs": procrustes(a[told[:p]], b[told[:p]]) for p in (10, 20, 50, 200)}
    if with_peers:
        some = a[left[:PEER_ROWS]], b[rest[:PEER_ROWS]]
        for name, call in (
            ("Wasserstein-Procrustes", peers.wasserstein_procrustes),
            ("SCOT's recipe", peers.scot),
            ("mini-vec2vec's recipe", peers.quadratic),
        ):
            maps[name] = procrustes(some[0], call(*some, np.random.default_rng(0))[0])
    for name, map in maps.items():
        apart = cdist(map(a[tested]), b[tested])
        rank = (apart < np.diag(apart)[:, None]).sum(1)
        print(
            f"draw {draw}, {rows} rows, {name:28} top-1 {(rank == 0).mean():.3f}, mean rank {rank.mean():.0f} of 1000, "
            f"FOSCTTM {foscttm(map(a[tested]), b[tested]):.3f}"
            + (f"; {said(found)}; {seconds:.0f} s" if name == "ours" else ""),
            flush=True,
        )


def snare(given):
    data = real("snareseq")
    a, b, types = data["rna"], data["atac"], data["types"]
    for seed in range(5):
        start, rng = time.time(), np.random.default_rng(seed)
        p, q = rng.permutation(len(a)), rng.permutation(len(b))
        found = Aligner(seed=seed).fit(a[p], b[q])
        moved = found.transform(a)
        print(
            f"SNARE-seq, seed {seed}: FOSCTTM {foscttm(moved, b):.3f} (paired {foscttm(procrustes(a, b)(a), b):.3f}), cell types "
            f"{label_transfer(moved, types, b, types):.3f}; {said(found)}; {time.time() - start:.0f} s",
            flush=True,
        )


def missing(given):
    """Two digits nets; a lacks two classes of ten."""
    sides = []
    for seed in (0, 1):
        rows = training.trained_subject("digits", seed, half=seed).activations()
        some = np.random.default_rng(seed).permutation(len(rows.x))[:1500]
        sides.append((rows.x.numpy()[some].astype(float), rows.labels.numpy()[some]))
    (a, of_a), (b, of_b) = sides
    for gone in ((3, 8), (0, 1), (4, 9)):
        start = time.time()
        kept, there = ~np.isin(of_a, gone), ~np.isin(of_b, gone)
        found = Aligner().fit(a[kept], b)
        hits = right(found, of_a[kept], of_b)
        carried = label_transfer(found.transform(a[kept]), of_a[kept], b[there], of_b[there])
        lonely = [int(np.bincount(of_b[found.b_.pieces == i]).argmax()) for i in found.unmatched_["b"]]
        print(
            f"digits, a without {gone}: pieces right {hits[0]} of {hits[1]}, labels of the other eight {carried:.3f}, classes of "
            f"b's pieces without a partner {lonely}, differ {found.differs_}; {said(found)}; {time.time() - start:.0f} s",
            flush=True,
        )


def same(given):
    """Two disjoint halves of one layer's rows."""
    sets = {}
    for seed in (0, 1, 2):
        rows = training.subject("digits", seed)
        sets[f"digits, seed {seed}"] = rows.x.numpy()[:3000].astype(float), rows.labels.numpy()[:3000]
        rows = training.trained_subject("modular-addition", seed).activations()
        sets[f"modular addition, seed {seed}"] = rows.x.numpy()[:3000].astype(float), rows.labels.numpy()[:3000]
    if (REAL / "cifar_resnets.npz").exists():
        data = real("cifar_resnets")
        sets |= {f"ResNet {n}": (data[f"resnet{n}"].astype(float), data["labels"]) for n in (20, 56)}
    for name, (x, labels) in sets.items():
        start, order = time.time(), np.random.default_rng(0).permutation(len(x))
        one, other = order[::2], order[1::2]
        turn = polar(np.random.default_rng(1).normal(size=(x.shape[1],) * 2))
        found = Aligner().fit(x[one], x[other] @ turn)
        print(
            f"{name}, two halves of one layer: FOSCTTM {foscttm(found.transform(x), x @ turn):.4f}, labels "
            f"{label_transfer(found.transform(x[one]), labels[one], x[other] @ turn, labels[other]):.3f}; {said(found)}; "
            f"{time.time() - start:.0f} s",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("digits", "resnets", "calendars", "sentences", "snare", "missing", "same"))
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--pairs", type=int, nargs="+", default=range(10), help="of digits nets, by number")
    parser.add_argument("--draws", type=int, nargs="+", default=range(5), help="of sentences: which of them, by seed")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 2250, 3250], help="of sentences, a side")
    given = parser.parse_args()
    torch.set_num_threads(1)
    globals()[given.data](given)


if __name__ == "__main__":
    main()
