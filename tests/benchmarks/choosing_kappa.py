"""How to choose lambda and kappa: one planted set at several kappa, in one picture.

    python tests/benchmarks/choosing_kappa.py --jobs 2                    # circle x 3, default settings, 5 minutes on two cores
    python tests/benchmarks/choosing_kappa.py --rows 4000 --short         # a third of the path, one minute

Left: which k is best at which lambda (intervals of the hull), a row for each kappa, the verdict in orange. Right: what a
dimension is worth and what the map moves. Writes tests/benchmarks/figures/choosing-kappa.png and prints the table.
"""

import argparse
import multiprocessing
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

SHORT = {
    "settle": 150,
    "screen": 80,
    "steps_per_point": 5,
    "debias": 100,
    "debias_rounds": 2,
    "narrow": 40,
    "rounds": 1,
}
PICTURE = Path(__file__).parent / "figures" / "choosing-kappa.png"
_INK, _CHOSEN, _GREY = "#0072B2", "#D55E00", "#9A9A9A"


def one_run(job: tuple) -> dict:
    """Fit the planted set at one kappa."""
    name, noise_dims, rows, seed, kappa, settings = job
    import torch

    import training

    torch.set_num_threads(1)
    x = training.planted(name, rows, noise_dims, seed).x
    result = training.fit(x, kappa=kappa, seed=seed, null_worth=0.03, **settings)
    hull = [(v.k, v.low, v.high, v.worth) for v in result.hull]
    best = max((v.worth for v in result.hull[1:]), default=0.0)
    found = {"kappa": kappa, "k": result.structure_dim, "confidence": result.confidence, "hull": hull, "worth": best}
    return found | {"kinetic": result.kinetic, "nll": result.nll}


def draw(found: list[dict], title: str, note: str) -> None:
    """The picture, as a PNG."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    intervals, worth = figure.subplots(1, 2, width_ratios=[3, 2])
    left, right = 0.005, 3.0
    for row, run in enumerate(found):
        for k, low, high, _ in run["hull"]:
            low, high = max(low, left), min(high, right)
            if high > low:
                colour = _CHOSEN if k == run["k"] else _INK
                intervals.barh(row, high - low, left=low, height=0.7, color=colour, edgecolor="white")
                if np.log(high / low) > 0.4:
                    intervals.text(
                        np.sqrt(low * high), row, f"k = {k}", ha="center", va="center", color="white", fontsize=8
                    )
    intervals.axvspan(left, 0.03, color=_GREY, alpha=0.4, lw=0)
    intervals.set(xscale="log", xlim=(left, right), xlabel="lambda (nats)", ylabel="kappa", title=title)
    intervals.set_yticks(range(len(found)), [f"{run['kappa']:g}" for run in found])
    kappas = [run["kappa"] for run in found]
    worth.plot(kappas, [run["worth"] for run in found], "o-", color=_CHOSEN, label="worth of a dimension (nats)")
    worth.plot(kappas, [run["kinetic"] for run in found], "^--", color=_INK, label="kinetic energy of the map")
    worth.axhline(0.03, color="black", ls=":", lw=1.5, label="null threshold (nats)")
    worth.set(xscale="log", xlabel="kappa", ylim=(0, None))
    worth.set_xticks(kappas, [f"{kappa:g}" for kappa in kappas])
    worth.minorticks_off()
    worth.legend(fontsize=8, frameon=False)
    figure.text(0.005, 0.005, note, ha="left", va="bottom", fontsize=7, color="#555555")
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="circle")
    parser.add_argument("--noise-dims", type=int, default=3)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kappas", nargs="+", type=float, default=[0.5, 1, 2, 4, 8])
    parser.add_argument("--short", action="store_true", help="a third of the default path")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    settings = SHORT if given.short else {}
    jobs = [(given.name, given.noise_dims, given.rows, given.seed, kappa, settings) for kappa in given.kappas]
    with multiprocessing.get_context("spawn").Pool(given.jobs, maxtasksperchild=1) as pool:
        found = list(pool.imap(one_run, jobs))
    print(
        f"{'kappa':>6} {'k':>3} {'confidence':>11} {'worth':>7} {'kinetic':>8} {'nll':>8}  k: interval of lambda (nats)"
    )
    for run in found:
        intervals = ", ".join(f"{k}: {low:.3f} to {high:.3f}" for k, low, high, _ in run["hull"])
        print(
            f"{run['kappa']:6g} {run['k']:3d} {run['confidence']:11.2f} {run['worth']:7.3f} {run['kinetic']:8.3f} "
            f"{run['nll']:8.3f}  {intervals}"
        )
    length = "short path" if given.short else "default path"
    draw(found, f"{given.name} x {given.noise_dims}: best k", f"n = {given.rows}, seed {given.seed}, {length}")


if __name__ == "__main__":
    main()
