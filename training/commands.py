"""The verbs: the one place that puts training and analysis together."""

import logging
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.presets import preset_names, resolve_argv

if TYPE_CHECKING:
    from analysis.analyzer import Analyzer


def fit(argv: list[str]) -> int:
    """``unknot fit -c PRESET_OR_YAML [-c more] [--model.kappa 2 ...]``."""
    from training.options import fit_options

    options = fit_options(resolve_argv(argv))

    import torch

    from training.checkpoints import Checkpoint
    from training.console import Console
    from training.data import read_data
    from training.fitting import prepare, run
    from training.memory import keep_freed_memory
    from training.nulls import check
    from training.run_folder import RunFolder

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("training").setLevel(logging.INFO)
    keep_freed_memory()
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    check(options.null_worth)
    folder = RunFolder.open(options.resume) if options.resume else RunFolder.create(options.out, options.name)
    with folder.discarded_on_error():
        activations = read_data(options.data, options.seed)
        print(f"data: {activations.name}, {len(activations.x)} rows x {activations.x.shape[1]} columns", flush=True)
        prepared = prepare(activations, options.model, options.path, options.seed)
        folder.config.write_text(options.text, encoding="utf8")
        console = Console(prepared.offset, sys.stdout)
        result = run(
            prepared,
            options.model,
            options.path,
            options.seed,
            options.null_worth,
            callbacks=[console, Checkpoint(folder.checkpoint)],
            resume=folder.checkpoint if options.resume else None,
            accelerator=options.accelerator,
        )
    folder.write(result, activations, console.history, options.seed)
    lines = [result.verdict(), *(f"note: {note}" for note in result.notes)]
    print(f"run: {folder.path}")
    print("\n".join(lines), flush=True)
    for line in _classes(result, activations):
        print(line)
        lines.append(line)
    (folder.path / "verdict.txt").write_text("\n".join(lines) + "\n", encoding="utf8")
    return 0


def _classes(result, activations) -> list[str]:  # type: ignore[no-untyped-def]
    """Where rows have labels: how well the block's pieces tell the classes, beside k-means on the raw activations."""
    if activations.labels is None:
        return []
    from sklearn.cluster import KMeans

    from analysis.clusters import agreement, find_pieces

    labels, raw = activations.labels.numpy(), activations.x.numpy()
    block = result.flow.encode(activations.x).numpy()
    pieces = find_pieces(block)
    classes = len(set(labels.tolist()))

    def by_k_means(points):  # type: ignore[no-untyped-def]
        return KMeans(classes, n_init=4, random_state=0).fit_predict(points)

    lines = [
        f"classes: the block's {pieces.count} pieces agree with the {classes} labels at adjusted Rand index "
        f"{agreement(pieces.labels_, labels):.2f}, pieces of the raw activations at "
        f"{agreement(find_pieces(raw).labels_, labels):.2f};"
    ]
    if result.structure_dim:
        lines.append(
            f"         told how many there are, {classes}-means in the block {agreement(by_k_means(block), labels):.2f}, "
            f"on the raw activations {agreement(by_k_means(raw), labels):.2f}."
        )
    return lines


def analyze(argv: list[str]) -> int:
    """``unknot analyze RUN [--data x.npy] [--json]``: everything that the analyzer says, in plain lines."""
    import json

    given = _reader("analyze", "Say what structure a finished run found.", argv, json=True)
    analyzer = _analyzer(given.run, given)
    verbs = ("dimensions", "levels", "tree", "hierarchy", "certificate", "tear", "intrinsic_dimension")
    answers = {verb: getattr(analyzer, verb)() for verb in _progress(verbs)}
    if given.json:
        print(json.dumps({verb: answer.to_dict() for verb, answer in answers.items()}, allow_nan=False))
        return 0
    print(f"run: {given.run}, {analyzer!r}")
    for verb, answer in answers.items():
        print(f"\n{verb.replace('_', ' ')}\n{answer!r}")
    return 0


def report(argv: list[str]) -> int:
    """``unknot report RUN [--out FILE]``: one offline HTML file."""
    given = _reader("report", "Write the report of a finished run as one offline HTML file.", argv, out=True)
    print(f"report: {_analyzer(given.run, given).report(given.out or Path(given.run) / 'report.html')}")
    return 0


def compare(argv: list[str]) -> int:
    """``unknot compare RUN RUN``: a table; rows that differ are starred."""
    from analysis.compare import compare

    given = _reader("compare", "Two finished runs side by side; what differs is starred.", argv, other=True)
    print(compare(_analyzer(given.run, given), _analyzer(given.other, given)))
    return 0


def _reader(verb: str, about: str, argv: list[str], **extras: bool) -> Namespace:
    """What the verbs that read runs are told."""
    parser = ArgumentParser(prog=f"unknot {verb}", description=about)
    parser.add_argument("run", help="folder of a finished run")
    if extras.get("other"):
        parser.add_argument("other", help="folder of another")
    else:
        parser.add_argument("--data", metavar="FILE", help="rows to look at instead of those the run kept")
        parser.add_argument("--key", help="name of the array within the file")
        parser.add_argument("--labels", metavar="FILE", help="one integer class per row of --data")
    if extras.get("out"):
        parser.add_argument("--out", metavar="FILE", help="where to write it (default RUN/report.html)")
    if extras.get("json"):
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--seed", type=int, default=0, help="draws subsamples and resamples")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's choice")
    return parser.parse_args(argv)


def _analyzer(run: str, given: Namespace) -> "Analyzer":
    import torch

    from analysis.analyzer import Analyzer

    if given.threads > 0:
        torch.set_num_threads(given.threads)
    if getattr(given, "data", None) is None:
        return Analyzer.load(run, seed=given.seed)
    from training.activations import read_activations

    rows = read_activations(given.data, given.key, given.labels, None)
    return Analyzer.load(run, rows.x, None if rows.labels is None else rows.labels.numpy(), seed=given.seed)


def _progress(verbs: Sequence[str]) -> Iterable[str]:
    """A bar on a terminal, once it has taken two seconds."""
    from tqdm import tqdm

    return tqdm(verbs, unit="question", delay=2, disable=None, leave=False, file=sys.stderr)


def doctor(argv: list[str]) -> int:
    """``unknot doctor``: 0 if all is well, 1 if a package is shadowed."""
    if argv:
        print("usage: unknot doctor\nPrints versions, devices and which folders were imported.")
        return 0 if argv[0] in ("-h", "--help") else 2
    from training.doctor import report

    lines, healthy = report(Path.cwd(), preset_names())
    print("\n".join(lines))
    return 0 if healthy else 1
