"""The tree of pieces on the digits net's activations, beside k-means, HDBSCAN, a Gaussian mixture and find_pieces.

    python tests/benchmarks/digits_tree.py                  # whitened activations stand in for the block; 3 minutes
    python tests/benchmarks/digits_tree.py --run FOLDER     # the structure block of a trained run
    python tests/benchmarks/digits_tree.py --subject-seed 1 # another net

Classes are used to score alone. k-means and the mixture are told that there are ten; HDBSCAN and the mixture are shown in
the setting that is best of several *for the classes*; the tree and find_pieces get their defaults, the tree once with the
image of each row, as the analyzer gives it (rows of one image never judge one another), and once without.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.mixture import GaussianMixture

import flows
import training
from analysis import agreement, find_pieces
from analysis.density.bag import likeliest
from analysis.pieces.tree import tree

Rows = NDArray[np.float64]
Ints = NDArray[np.int64]
CLASSES = 10


def peers(x: Rows, labels: Ints, seed: int) -> Iterator[tuple[str, float, int]]:
    """Name, adjusted Rand index and number of pieces of every peer on rows x (n, d)."""
    found = KMeans(CLASSES, n_init=10, random_state=seed).fit_predict(x)
    yield "k-means, told 10", agreement(labels, found), CLASSES
    mixtures = [GaussianMixture(CLASSES, random_state=seed + i).fit(x).predict(x) for i in range(3)]
    yield "Gaussian mixture, told 10, best of 3", max(agreement(labels, m) for m in mixtures), CLASSES
    trials = [HDBSCAN(min_cluster_size=size, copy=True).fit_predict(x) for size in (5, 25, 100)]
    best = max(trials, key=lambda trial: agreement(labels, trial))
    yield "HDBSCAN, best of 3 sizes", agreement(labels, best), int(best.max()) + 1
    pieces = find_pieces(x)
    yield "find_pieces", agreement(labels, pieces.labels_), pieces.count


def block(x: torch.Tensor, run: str | None) -> tuple[str, Rows]:
    """The structure block of the run, or whitened rows."""
    if run is None:
        return "whitened", flows.FunnelFlow.from_rows(x).front.whiten(x).double().numpy()
    flow = flows.load(run)
    with torch.no_grad():
        s = torch.cat([flow.encode(part) for part in x.split(2000)])
    return f"block of {run}, k = {s.shape[1]}", s.double().numpy()


def against_flat(s: Rows, sources: Ints | None, seed: int) -> str:
    """Held-out nats of the tree's density and of the flat mixture: a fifth tests; of the rest a fifth chooses."""
    groups = np.arange(len(s)) if sources is None else sources
    draw = np.random.default_rng(seed).random(groups.max() + 1)[groups]
    test, choose = draw < 0.2, (draw >= 0.2) & (draw < 0.36)
    start = time.process_time()
    flat, kind, _ = likeliest(s[~test & ~choose], s[choose], seed)
    flat_time, start = time.process_time() - start, time.process_time()
    model = tree(s[~test], seed, groups=groups[~test])
    components = sum(len(m.weights) for m in model.mixtures)
    gain = model.log_prob(s[test]) - flat.log_prob(s[test])
    error = gain.std() / np.sqrt(len(gain))
    return (
        f"hierarchical {model.log_prob(s[test]).mean():.2f} ({model.count} pieces, {components} Gaussians, "
        f"{time.process_time() - start:.0f} s), flat {flat.log_prob(s[test]).mean():.2f} "
        f"({len(flat.weights)} Gaussians, {kind}, {flat_time:.0f} s): gain {gain.mean():.2f} ± {error:.2f} nats a row"
    )


def main() -> None:
    """Print the table and the comparison of densities."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="run folder of a trained flow")
    parser.add_argument("--subject-seed", type=int, default=0, help="seed of the digits net; a run has its own net's")
    parser.add_argument("--seed", type=int, default=0, help="of everything else")
    parser.add_argument("--tree-seeds", type=int, default=3, help="runs of the tree")
    options = parser.parse_args()
    activations = training.subject("digits", seed=options.subject_seed)
    labels, sources = activations.labels.numpy(), activations.sources.numpy()
    name, s = block(activations.x, options.run)
    spaces = {"raw": activations.x.double().numpy(), name: s}
    print(f"digits, net of seed {options.subject_seed}, {len(s)} rows; adjusted Rand index against the ten classes")
    for space, rows in spaces.items():
        for seed in range(options.seed, options.seed + options.tree_seeds):
            for known, groups in (("images known", sources), ("not known", None)):
                start = time.process_time()
                found = tree(rows, seed, groups=groups)
                score, spent = agreement(labels, found.labels_), time.process_time() - start
                print(
                    f"{space:<30} tree, seed {seed}, {known:<22} {score:.3f} {found.count:>4}, {spent:.0f} s",
                    flush=True,
                )
        for peer, score, count in peers(rows, labels, options.seed):
            print(f"{space:<30} {peer:<36} {score:.3f} {count:>4}", flush=True)
    print("held-out nats a row,", name)
    print("  images apart:", against_flat(s, sources, options.seed), flush=True)
    print("  rows apart:  ", against_flat(s, None, options.seed), flush=True)


if __name__ == "__main__":
    main()
