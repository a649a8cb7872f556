"""Are the aligner's own claims to be trusted? Matches, p-value, score and time on planted arrays whose truth is known.

    python tests/benchmarks/alignment_claims.py partial --seeds 0 1 2 3 4 5 6 7 8 9
    python tests/benchmarks/alignment_claims.py alarms --runs 50
    python tests/benchmarks/alignment_claims.py score --seeds 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19
    python tests/benchmarks/alignment_claims.py correction --seeds 0 1 2 3 4 5 6 7 8 9
    python tests/benchmarks/alignment_claims.py residues --seeds 0 1 2 3 4
    python tests/benchmarks/alignment_claims.py time --rows 2000

*partial*: three pieces on either side, two of them shared; precision and recall of `matches_`.
*alarms*: unrelated random structures; how often `p_value_` <= .05. Beside it, how often on related ones.
*score*: b is a's structure, bent by a random smooth map of random strength (0 to 2); rank correlation of `score_` with the true
FOSCTTM (least over the shape's group), beside that of Gromov-Wasserstein's cost with its own FOSCTTM.
*correction*: b is a's structure as it is, stretched (1.3 along one axis), or bent (parabola of height .5); the true rigid part is
given, and the steps after it are tried ("flow": affine, then a small flow). How often each is kept, and the root mean square
distance of a's rows to where they should go, in block spreads: rigid map, corrected.
*residues*: codes of residues mod 59, (cos, sin)(2 pi f c / 59) for two or three frequencies f; b's frequencies are a's times a
unit, or no unit takes two of a's to two of b's. Share of rows whose residue is that of the nearest row of b, best over c -> unit
c + shift (1/59 by chance, the best of 3422 about .05); is the group D59, is it called unique, do the models differ, p_value_.
*time*: seconds and MiB of one fit of ROWS rows a side.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from alignment import THICK, d2, d3, none, o2, white, z2
from alignment_noise import least
from alignment_pairs import partners, planar, torus, upright
from alignment_peers import gromov
from scipy.spatial import cKDTree
from scipy.stats import spearmanr

from analysis import Aligner
from analysis.alignment.clouds import Cloud
from analysis.alignment.correction import correct
from analysis.alignment.nulls import bent, p_value
from analysis.alignment.rigid import Rigid, random_map

ALL = {
    "circle": (o2, planar(5)),
    "S": (z2, [np.eye(2), -np.eye(2)]),
    "eight": (d2, [np.diag([x, y]) for x in (1.0, -1.0) for y in (1.0, -1.0)]),
    "three": (d3, planar(120)),
    "F": (none, [np.eye(2)]),
    "torus": (lambda rng, n: torus(None, *rng.uniform(0, 2 * np.pi, (2, n))), upright(5)),
}
PIECES = {
    "circle": lambda rng, n: np.c_[o2(rng, n), np.zeros(n)],
    "eight": lambda rng, n: np.c_[1.5 * d2(rng, n), np.zeros(n)],
    "blob": lambda rng, n: 0.4 * rng.standard_normal((n, 3)),
    "arc": lambda rng, n: np.c_[z2(rng, n), np.zeros(n)],
}


def partial(given):
    """Pieces at random places, each turned at random; a has the first three of four, b the first two and the fourth."""
    found, true, right, seen = 0, 0, 0, 0
    for seed in given.seeds:
        rng = np.random.default_rng([seed, 11])
        names = rng.permutation(list(PIECES))
        places = _apart(rng)
        counts = [4 * given.rows // 10, *[3 * given.rows // 10] * 3]
        turns = [random_map(3, 3, rng) for _ in names]
        sides = []
        for which in ((0, 1, 2), (0, 1, 3)):
            parts = [PIECES[names[i]](rng, counts[i]) @ turns[i] + places[i] for i in which]
            rows = np.vstack(parts)
            labels = np.repeat(which, [len(p) for p in parts])
            sides.append((rows + THICK * rng.standard_normal(rows.shape), labels))
        turn = random_map(3, 3, rng)
        fitted = Aligner(seed=seed).fit(sides[0][0], sides[1][0] @ turn)
        owners = [_owner(s.pieces, labels) for s, (_, labels) in zip((fitted.a_, fitted.b_), sides, strict=True)]
        matched = [(owners[0][m.a], owners[1][m.b]) for m in fitted.matches_]
        good = sum(a == b and a < 2 for a, b in matched)
        found, true, right = found + len(matched), true + 2, right + good
        seen += len({a for a, b in matched if a == b and a < 2})  # a planted piece may be found in parts
        lonely = {side: [owners[i][p] for p in fitted.unmatched_[side]] for i, side in enumerate("ab")}
        off = _degrees(fitted, turn)
        row = {"seed": seed, "matched": matched, "unmatched": lonely, "off": off, "differs": fitted.differs_}
        print(json.dumps(row, default=int), flush=True)
    print(f"precision {right}/{found}, recall {seen}/{true}")


def _apart(rng):
    """Four places at least 4 apart."""
    while True:
        places = rng.uniform(-4, 4, (4, 3))
        if min(np.linalg.norm(places[i] - places[j]) for i in range(4) for j in range(i)) > 4:
            return places


def _owner(pieces, labels):
    """The planted piece that most rows of each found piece are of."""
    return {p: np.bincount(labels[pieces == p]).argmax() for p in np.unique(pieces)}


def _degrees(fitted, truth):
    from analysis.alignment.rigid import angle

    return round(min(angle(m.matrix, truth) for m in fitted.alternatives_))


def unrelated(rng, n):
    """A random closed curve, clusters, or both, in two or three dimensions."""
    dims, kind = int(rng.integers(2, 4)), int(rng.integers(3))
    waves = rng.standard_normal((2, 4, dims)) / np.arange(1, 5)[None, :, None]
    centres = 2 * rng.standard_normal((int(rng.integers(3, 7)), dims))

    def draw(count):
        t = rng.uniform(0, 2 * np.pi, count)
        angles = t[:, None] * np.arange(1, 5)
        curve = np.cos(angles) @ waves[0] + np.sin(angles) @ waves[1]
        dots = centres[rng.integers(len(centres), size=count)] + 0.25 * rng.standard_normal((count, dims))
        rows = (curve, dots, np.where(rng.random(count)[:, None] < 0.5, curve, dots + 3))[kind]
        return rows + THICK * rng.standard_normal(rows.shape)

    many = white(draw(2 * n))
    return many[:n], many[n:] @ random_map(dims, dims, rng)


def alarms(given):
    false, true = [], []
    for run in range(given.runs):
        rng = np.random.default_rng([run, 12])
        (a, again), (b, _) = unrelated(rng, given.rows), unrelated(rng, given.rows)
        a, again, b = (Cloud(s, np.zeros((len(s), 0))) for s in (a, again, b))
        one = [np.zeros(given.rows, dtype=np.intp)] * 2
        false.append(p_value((a, b), one, 39, 15.0, run))
        true.append(p_value((a, again), one, 39, 15.0, run))
        print(json.dumps({"run": run, "unrelated": false[-1], "related": true[-1]}), flush=True)
    print(
        f"p <= .05: {np.mean(np.array(false) <= 0.05):.2f} of {len(false)} unrelated pairs, "
        f"{np.mean(np.array(true) <= 0.05):.2f} of {len(true)} related ones"
    )


def score(given):
    rows = []
    for seed in given.seeds:
        for name, (shape, group) in ALL.items():
            rng = np.random.default_rng([seed, 13, list(ALL).index(name)])
            bare = shape(rng, given.rows)
            bare = (bare - bare.mean(0)) @ np.diag(1 / bare.std(0))
            a, b = (bare + THICK * rng.standard_normal(bare.shape) for _ in range(2))
            strength = rng.uniform(0, 2)
            b = bent(b, rng, strength)
            shuffle = rng.permutation(len(b))
            pairs = partners(bare, group)
            fitted = Aligner(seed=seed).fit(a, b[shuffle])
            cost, plan = gromov(a, b, rng)
            row = {
                "name": name,
                "seed": seed,
                "strength": round(strength, 2),
                "score": fitted.score_,
                "foscttm": least(fitted.transform_structure(a), b, pairs),
                "gw_cost": cost,
                "gw_foscttm": least(len(a) * plan @ b, b, pairs),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    if given.out:
        with open(given.out, "a", encoding="utf8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        rows = [json.loads(line) for line in Path(given.out).read_text(encoding="utf8").splitlines()]
    for names in [[name] for name in ALL] + [list(ALL)]:
        some = [r for r in rows if r["name"] in names]
        columns = {key: [r[key] for r in some] for key in ("score", "foscttm", "gw_cost", "gw_foscttm")}
        ours = -spearmanr(columns["score"], columns["foscttm"]).statistic
        theirs = spearmanr(columns["gw_cost"], columns["gw_foscttm"]).statistic
        print(
            f"{names[0] if len(names) == 1 else 'all':8} {len(some):4} runs  Spearman: score_ {ours:.2f}, Gromov-Wasserstein's "
            f"cost {theirs:.2f}; mean FOSCTTM {np.mean(columns['foscttm']):.3f}, {np.mean(columns['gw_foscttm']):.3f}"
        )


TRUTHS = {
    "rigid": lambda s: s,
    "stretched": lambda s: s * np.r_[1.3, np.ones(s.shape[1] - 1)],
    "bent": lambda s: (
        s + 0.5 * np.c_[np.zeros(len(s)), s[:, 0] ** 2 - (s[:, 0] ** 2).mean(), np.zeros((len(s), s.shape[1] - 2))]
    ),
}


def corrected(given):
    for truth, moved in TRUTHS.items():
        for name in given.names:
            kept, errors = [], []
            for seed in given.seeds:
                rng = np.random.default_rng([seed, 15])
                a, b = (white(ALL[name][0](rng, given.rows)) for _ in range(2))
                a, b = (s + THICK * rng.standard_normal(s.shape) for s in (a, b))
                clouds = [Cloud(s, np.zeros((len(s), 0))) for s in (a, moved(b))]
                shift = clouds[1].s.mean(0) - a.mean(0)
                found = correct(clouds, Rigid(np.eye(a.shape[1]), shift), "flow", seed)
                ends = [
                    np.sqrt(((x - moved(a)) ** 2).sum(1).mean() / a.var(0).sum()) for x in (a + shift, found(a + shift))
                ]
                kept.append(found.kept)
                errors.append(ends)
                print(
                    json.dumps(
                        {
                            "truth": truth,
                            "name": name,
                            "seed": seed,
                            "kept": kept[-1],
                            "error": np.round(ends, 3).tolist(),
                        }
                    )
                )
            counts = [sum(step in k for k in kept) for step in ("affine", "small flow")]
            means = " -> ".join(f"{m:.3f}" for m in np.mean(errors, axis=0))
            print(
                f"{truth:9} {name:8} affine kept {counts[0]} of {len(kept)}, small flow {counts[1]}; error {means}",
                flush=True,
            )


PRIME = 59


def _times(unit, frequencies):
    return sorted(min(unit * f % PRIME, -unit * f % PRIME) for f in frequencies)


def _frequencies(rng, count, shared):
    one, other = (sorted(rng.choice(np.arange(1, 30), count, replace=False).tolist()) for _ in range(2))
    if shared:
        return one, _times(int(rng.integers(2, PRIME)), one)
    common = max(len({*_times(unit, one)} & {*other}) for unit in range(1, PRIME))
    return (one, other) if common < 2 else _frequencies(rng, count, shared)


def coded(given):
    for count, shared in ((2, True), (3, True), (3, False)):
        rows = []
        for seed in given.seeds:
            rng = np.random.default_rng([seed, count, 16])
            frequencies = _frequencies(rng, count, shared)
            residues = rng.integers(0, PRIME, (2, given.rows))
            turns = [2 * np.pi / PRIME * np.outer(c, f) for c, f in zip(residues, frequencies, strict=True)]
            a, b = (
                np.hstack([np.cos(t), np.sin(t)]) + THICK * rng.standard_normal((given.rows, 2 * count)) for t in turns
            )
            b = b @ random_map(2 * count, 2 * count, rng)
            found = Aligner(seed=seed).fit(a, b)
            read = residues[1][cKDTree(b).query(found.transform_structure(a))[1]]
            units, shifts = range(1, PRIME), np.arange(PRIME)[:, None]
            right = max(((u * residues[0] + shifts - read) % PRIME == 0).mean(1).max() for u in units)
            row = {"seed": seed, "frequencies": frequencies, "right": round(float(right), 3)}
            row |= {"found": found.symmetry_.name, "maps": len(found.alternatives_), "unique": found.is_unique_}
            row |= {"differs": found.differs_, "p": found.p_value_}
            rows.append(row)
            print(json.dumps(row), flush=True)
        kind = "the same up to a unit" if shared else "no two the same"
        named, unique, differs = (sum(r[key] == what for r in rows) for key, what in _COUNTED)
        print(
            f"{count} frequencies, {kind}: residues right {np.mean([r['right'] for r in rows]):.3f}; of {len(rows)}: D59 "
            f"{named}, unique {unique}, differs {differs}, p <= .05 {sum(r['p'] <= 0.05 for r in rows)}",
            flush=True,
        )


_COUNTED = (("found", "D59"), ("unique", True), ("differs", True))


def timed(given):
    for name, (shape, _) in ((name, ALL[name]) for name in given.names):
        rng = np.random.default_rng(14)
        a, b = (
            white(shape(rng, n) + THICK * rng.standard_normal((n, shape(rng, 1).shape[1]))) for n in [given.rows] * 2
        )
        began, wall = time.process_time(), time.perf_counter()
        Aligner().fit(a, b)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"{name:8} {given.rows} rows a side: {time.process_time() - began:.1f} CPU s, {time.perf_counter() - wall:.1f} s by "
            f"the clock, peak of the process so far {peak} MiB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    calls = {
        "partial": partial,
        "alarms": alarms,
        "score": score,
        "correction": corrected,
        "residues": coded,
        "time": timed,
    }
    for name, rows in (
        ("partial", 400),
        ("alarms", 300),
        ("score", 300),
        ("correction", 800),
        ("residues", 600),
        ("time", 2000),
    ):
        verb = verbs.add_parser(name)
        verb.add_argument("--rows", type=int, default=rows)
        verb.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
        verb.add_argument("--runs", type=int, default=50)
        verb.add_argument("--names", nargs="+", default=list(ALL), help="correction, time: some of the shapes")
        verb.add_argument("--out", help="score: keep the runs there, and count all that are there")
    given = parser.parse_args()
    calls[given.verb](given)


if __name__ == "__main__":
    main()
