"""What the net uses, on real layers: how many directions, and whether classes are told apart in them; PCA and k-means beside.

    python tests/benchmarks/relevance.py digits --seeds 0 1 2 3 4     # seconds; with --fit three minutes a row on one core
    python tests/benchmarks/relevance.py digits --fit --set front=whiten energy=layer    # no head: five minutes a row
    python tests/benchmarks/relevance.py digits --set front=pieces    # no head: directions that tell the rows' own pieces apart
    python tests/benchmarks/relevance.py resnets                      # 20 s; with --fit three minutes a row
    python tests/benchmarks/relevance.py calendars                    # 60 s; with --fit a minute a row
    python tests/benchmarks/relevance.py subjects                     # rotated digits, ring, modular addition: 20 s
    python tests/benchmarks/relevance.py speed                        # time and memory of relevance at three sizes
    python tests/benchmarks/relevance.py fits                         # time and memory of fits of wide rows that are few

ARI: adjusted Rand index with the classes. "tree" is analysis.pieces.tree, which is not told how many pieces there are; "means" is
k-means, which is. Without --fit, the rows' kept coordinates stand for the block. Data of ../shared/real; what is not there is
left out, and said.

"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from torch import nn

import training
from analysis import Analyzer
from analysis.pieces.clusters import agreement
from analysis.pieces.groups import groups
from analysis.pieces.tree import tree
from flows.front import Front
from flows.nets.questions import Question
from flows.nets.relevance import LARGEST_LOSS, LEAST_AGREEMENT, measure
from training.data.activations import Activations
from training.data.pieces import pieces_apart
from training.data.preparing import without_nuisance
from training.subjects import trained_subject

SETTINGS: dict[str, str] = {}
REAL = Path(__file__).parents[3] / "shared" / "real"


def means(points, labels):
    return agreement(KMeans(len(set(labels.tolist())), n_init=4, random_state=0).fit_predict(points), labels)


def pieces(points, labels, sources):
    """Number of pieces of the tree, and their agreement."""
    found = tree(points, groups=sources)
    return found.count, agreement(found.labels_, labels)


def told_apart(block, rows, labels, sources):
    """The line of a table: tree and k-means in the block, and in as many principal components of the rows."""
    if not block.shape[1]:
        return "nothing: k = 0"
    linear = PCA(min(block.shape[1], *rows.shape), random_state=0).fit_transform(rows)
    (ours, ari), (theirs, linear_ari) = pieces(block, labels, sources), pieces(linear, labels, sources)
    line = f"tree {ours:3d} {ari:.3f}, means {means(block, labels):.3f} | PCA: tree {theirs:3d} {linear_ari:.3f}, "
    line += f"means {means(linear, labels):.3f}"
    if ours < len(set(labels.tolist())):
        found = groups(block, sources=sources)
        line += f" | groups {found.count} {agreement(found.labels_, labels):.3f}"
    return line


def shown(name, activations, seed, fit):
    """Relevance, and what kept coordinates (or the block of a fit) say of the classes."""
    begun = time.monotonic()
    if fit:
        result = training.fit(activations, seed=seed, **SETTINGS)
        found, analyzer = result.relevance, Analyzer(result)
        block, rows, labels, sources = analyzer.s, analyzer.x.numpy(), analyzer.labels, analyzer.sources
        seconds = time.monotonic() - begun
        k = f"k {result.structure_dim} of {result.flow.front.kept} at {result.confidence:.2f}, "
        k += " ".join(f"{v.k}: {v.worth:.2f}" for v in result.hull[1:])
    else:
        train, held = activations.split(0.15, seed)
        activations, _, _ = without_nuisance(activations, train)
        x, k, found = activations.x, "", None
        if SETTINGS.get("front") == "pieces":
            found, said = pieces_apart(x, train, held, activations.sources, (LARGEST_LOSS, LEAST_AGREEMENT), seed)
            print(said)
        elif activations.question is not None:
            found = measure(activations.question, x, train, held, seed=seed, sources=activations.sources)
        if found is not None:
            front = Front.from_rows(x[train].double(), kind="relevance", metric=found.metric, keep=found.kept)
        else:
            front = Front.from_rows(x[train].double(), kind="principal")
        seconds = time.monotonic() - begun
        block, rows = front.whiten(x.double()).numpy(), x.numpy()
        labels = None if activations.labels is None else activations.labels.numpy()
        sources = None if activations.sources is None else activations.sources.numpy()
    if found is not None:
        needs = "more" if found.principal_kept is None else found.principal_kept
        name += f": r {found.kept} of {len(found.metric)} (PCA {needs}), lost {found.lost:.4f} of {found.information:.2f} nats, "
        name += f"answers kept {found.agreement:.4f}"
    print(f"{name}; {k}; {seconds:.0f} s", flush=True)
    if labels is not None:
        print(f"    {told_apart(block, rows, labels, sources)}", flush=True)


def digits(given):
    """The layer before and after its activation function, and two nets of one half of the images each."""
    for seed in given.seeds:
        for layer in given.layers:
            shown(f"digits {seed} {layer}", of_digits(seed, layer), seed, given.fit)
    for half in (0, 1) if given.halves else ():
        shown(f"digits half {half}", of_digits(half, "summary", half), half, given.fit)


def of_digits(seed, layer, half=None):
    net = trained_subject("digits", seed, half=half)
    rest = net.model.classes if layer == "summary" else nn.Sequential(net.model.summary[1], net.model.classes)
    x = training.capture(net.model, layer, net.inputs.split(4096)).x
    return Activations(x, net.labels, net.sources, question=Question(rest))


def resnets(given):
    data = real("cifar_resnets.npz")
    for name in ("resnet20", "resnet32", "resnet44", "resnet56") if data else ():
        weight, bias = torch.from_numpy(data[f"{name}_weight"]).float(), torch.from_numpy(data[f"{name}_bias"]).float()

        def head(x, weight=weight, bias=bias):
            return x @ weight.T.to(x) + bias.to(x)

        x = torch.from_numpy(data[name]).float()
        answers = agreement(head(x).argmax(1).numpy(), data["labels"])
        shown(f"{name} (the net's own answers: ARI {answers:.3f})",
              Activations(x, data["labels"], question=Question(head)), given.seeds[0], given.fit)  # fmt: skip


def calendars(given):
    data = real("calendars.npz")
    keys = [key for key in data if "layer" in key and any(name in key for name in given.names)] if data else []
    for key in keys:
        stem = key.partition("_layer")[0]
        classes, template = data[f"{stem}_label"].astype(np.int64), data[f"{stem}_template"].astype(np.int64)
        x = torch.from_numpy(data[key]).float()
        for off in (True, False)[: 1 + given.raw]:
            said = "template off" if off else "raw"
            rows = Activations(x, classes, None, nuisance=template if off else None)
            shown(f"{key} {said}", rows, given.seeds[0], given.fit)


def subjects(given):
    for name in ("rotated-digits", "ring", "modular-addition"):
        shown(name, trained_subject(name).activations(), given.seeds[0], given.fit)


def speed(given):
    generator = torch.Generator().manual_seed(0)
    for rows, dims in ((12_000, 32), (1728, 576), (4000, 4096)):
        x = torch.randn(rows, dims, generator=generator)
        weight = torch.randn(dims, 10, generator=generator) / dims**0.5
        begun, cpu = time.monotonic(), time.process_time()
        found = training.relevance(lambda x, weight=weight: x @ weight.to(x), x)
        spent, busy = time.monotonic() - begun, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"relevance {rows} x {dims}: r {found.kept}, {spent:.1f} s ({busy:.1f} s of CPU), peak {peak:.0f} MiB",
            flush=True,
        )


def fits(given):
    """Time and memory of a fit of wide rows that are few: twelve clusters, seven wide directions of noise, the rest narrow."""
    generator = torch.Generator().manual_seed(0)
    for rows, dims in ((1728, 576), (2000, 4096)):
        classes = torch.randint(12, (rows,), generator=generator)
        x = torch.randn(rows, dims, generator=generator) + 2 * torch.randn(12, dims, generator=generator)[classes]
        x += 5 * torch.randn(rows, 7, generator=generator) @ torch.randn(7, dims, generator=generator)
        begun, cpu = time.monotonic(), time.process_time()
        result = training.fit(Activations(x, classes))
        spent, busy = time.monotonic() - begun, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = Analyzer(result).tree()
        said = f"k {result.structure_dim} of {result.flow.front.kept}, {spent:.0f} s ({busy:.0f} s of CPU), peak {peak:.0f} MiB"
        print(f"fit {rows} x {dims}: {said}; tree {found.count}", flush=True)


def real(name):
    """A file of ../shared/real, None where it is not there."""
    if not (REAL / name).is_file():
        print(f"{name} is not in ../shared/real: left out")
        return None
    return np.load(REAL / name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["digits", "resnets", "calendars", "subjects", "speed", "fits"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--layers", nargs="+", default=["summary", "summary.0"], help="of digits, after and before the activation"
    )
    parser.add_argument(
        "--halves", action=argparse.BooleanOptionalAction, default=True, help="digits: two nets of half the images"
    )
    parser.add_argument("--names", nargs="+", default=[""], help="calendars: only those whose name holds one of these")
    parser.add_argument(
        "--raw", action=argparse.BooleanOptionalAction, default=True, help="calendars: with the template's means too"
    )
    parser.add_argument("--fit", action="store_true", help="train flows, and look at their blocks")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the fits, such as energy=layer"
    )
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    SETTINGS.update(setting.split("=", 1) for setting in given.set)
    torch.set_num_threads(given.threads)
    globals()[given.table](given)
