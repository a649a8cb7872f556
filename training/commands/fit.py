"""``unknot fit``: train a flow on activations and say what structure is left."""

import logging
import sys

from training.presets import resolve_argv

_MOST_ROWS = 20_000


def main(argv: list[str]) -> int:
    """``unknot fit -c PRESET_OR_YAML [-c more] [--model.kappa 2 ...]``."""
    from training.options import fit_options

    options = fit_options(resolve_argv(argv))

    import torch

    from flows.writing import write_whole
    from training.checkpoints import Checkpoint
    from training.console import Console
    from training.data import read_data
    from training.fitting import prepare, run
    from training.memory import keep_freed_memory
    from training.nulls import check
    from training.run_folder import RunFolder
    from training.stopping import signals_raise

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("training").setLevel(logging.INFO)
    keep_freed_memory()
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    check(options.null_worth)
    folder = RunFolder.open(options.resume) if options.resume else RunFolder.create(options.out, options.name)
    with signals_raise(), folder.discarded_on_error():
        for change in options.changes:
            print(f"changed on resuming: {change}")
        activations = read_data(options.data, options.seed)
        print(f"data: {activations.name}, {len(activations.x)} rows x {activations.x.shape[1]} columns", flush=True)
        prepared = prepare(activations, options.model, options.path, options.seed)
        write_whole({folder.config: options.text.encode()})
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
    """Where rows have labels: how well the block's pieces tell the classes, beside k-means on the raw activations.

    Of more than 20 000 rows that many are looked at, evenly spread.
    """
    if activations.labels is None:
        return []
    import torch
    from sklearn.cluster import KMeans

    from analysis.clusters import agreement, find_pieces

    rows = torch.arange(len(activations))[:: -(-len(activations) // _MOST_ROWS)]
    x, labels = activations.x[rows], activations.labels[rows].numpy()
    raw, block = x.numpy(), result.flow.encode(x).numpy()
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
