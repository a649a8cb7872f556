"""Two suites of planted runs side by side: k, worth, certificate, seconds. For the adversarial objective beside the likelihood:

    python tests/benchmarks/planted.py --noise-dims 3 10 --null 0.03 --save likelihood
    python tests/benchmarks/planted.py --noise-dims 3 10 --null 0.03 --save adversarial --set objective=adversarial
    python tests/benchmarks/objectives.py likelihood adversarial

The certificate is that of 20 000 fresh rows of the same cloud through the trained flow, as in tests/benchmarks/analyzer.py:
"bound" is the dependence between s and n that it proves, in nats, "delta" the least that it would have seen. Runs that only one
suite has are left out.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


def one_run(folder: Path, rows: int) -> dict:
    """What a saved run found, and its certificate."""
    import flows
    import training
    from analysis import Analyzer

    row = json.loads((folder / "row.json").read_text(encoding="utf8"))
    x = training.planted(row["name"], rows, row["noise_dims"], row["seed"]).x
    certificate = Analyzer(flows.load(folder), x, is_held_out=True).certificate()
    return row | {"verdict": certificate.verdict, "bound": certificate.lower_bound, "delta": certificate.delta}


def show(row: dict) -> str:
    worth = "/".join(f"{w:.3f}" for w in row["worth"]) or "-"
    right = "right" if row["found"] == row["true"] else "WRONG"
    return (
        f"k {row['found']} {right} ({row['confidence']:.2f})  worth {worth:17}  "
        f"bound {row['bound']:.3f} delta {row['delta']:.3f} {row['verdict']:18} {row['seconds']:4d} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs=2, type=Path, help="folders that planted.py --save wrote")
    parser.add_argument("--rows", type=int, default=20_000, help="fresh rows of a certificate")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    first, second = given.suites
    runs = sorted({path.name for path in first.iterdir()} & {path.name for path in second.iterdir()})
    rows = {suite: [] for suite in given.suites}
    for run in runs:
        for suite in given.suites:
            rows[suite].append(one_run(suite / run, given.rows))
            print(f"{run:20} {suite.name:12} {show(rows[suite][-1])}", flush=True)
    print()
    for suite, found in rows.items():
        right = sum(row["found"] == row["true"] for row in found)
        bounds = sorted(row["bound"] for row in found)
        print(
            f"{suite.name}: k right in {right} of {len(found)}, median bound {bounds[len(bounds) // 2]:.3f} nats, "
            f"{sum(row['seconds'] for row in found)} s"
        )


if __name__ == "__main__":
    main()
