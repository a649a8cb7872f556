"""``unknot fit``: train a flow on activations and say what structure is left."""

import json
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from training.presets import resolve_argv

if TYPE_CHECKING:
    from training.options import FitOptions

_MOST_ROWS = 20_000


def main(argv: list[str]) -> int:
    """``unknot fit -c PRESET_OR_YAML [-c more] [--model.kappa 2 ...] [--seeds 5]``."""
    from training.options import fit_options

    argv = resolve_argv(argv)
    options = fit_options(argv)

    import torch

    from training.memory import keep_freed_memory
    from training.nulls import check

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("training").setLevel(logging.INFO)
    keep_freed_memory()
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    check(options.null_worth)
    if options.seeds == 1:
        _one_run(options)
    else:
        _several_seeds(options, argv)
    return 0


def _several_seeds(options: "FitOptions", argv: list[str]) -> None:
    """Run seed, seed + 1, ... into OUT/seed-<seed>; those that are finished there already are read, not run again."""
    from training.options import fit_options
    from training.run_folder import RunFolder
    from training.seeds import SeedRow, Seeds

    out = Path(options.out) if options.out else RunFolder.create(None, options.name).path
    seconds: dict[str, float | None] = {}
    if (out / "seeds.json").is_file():
        rows = json.loads((out / "seeds.json").read_text(encoding="utf8"))["rows"]
        seconds = {f"seed-{row['seed']}": row["seconds"] for row in rows}
    seeds = Seeds([])
    for seed in range(options.seed, options.seed + options.seeds):
        run = out / f"seed-{seed}"
        one = fit_options([*argv, "--seeds=1", f"--seed={seed}", f"--out={run}"])
        if (run / "result.json").is_file():
            if (run / "config.yaml").read_text(encoding="utf8") != one.text:
                raise ValueError(f"{run} is finished, with other settings (see its config.yaml); name another --out")
        else:
            begun = time.monotonic()
            if (run / "checkpoints" / "last.ckpt").is_file():
                one = fit_options([*argv, "--seeds=1", f"--seed={seed}", f"--resume={run}"])
            _one_run(one)
            seconds[run.name] = time.monotonic() - begun
        seeds.rows.append(SeedRow.read(run, seconds.get(run.name)))
        seeds.write(out)
    figure = seeds.plot().get_figure(root=True)
    assert figure is not None
    figure.savefig(out / "seeds.png", dpi=130)
    print(f"\nseeds: {out}\n{seeds}")


def _one_run(options: "FitOptions") -> None:
    """Fit once, write the run folder and say what was found."""
    from flows.writing import write_whole
    from training.checkpoints import Checkpoint
    from training.console import Console
    from training.data import read_data
    from training.fitting import prepare, run
    from training.run_folder import RunFolder
    from training.stopping import signals_raise

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
        lines = [result.verdict(), *(f"note: {note}" for note in result.notes), *_classes(result, activations)]
        folder.write(result, activations, console.history, options.seed, lines)
    print("\n".join([f"run: {folder.path}", *lines]), flush=True)


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
