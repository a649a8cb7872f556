"""What the verbs that train share: one run into its folder, and several that differ in a few flags."""

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from training.commands._found import found
from training.runtime.processes import rank, trainer_settings

if TYPE_CHECKING:
    from training.runtime.options import FitOptions


def set_up(options: "FitOptions") -> None:
    """Logging, memory and threads as the options say, and a null that can be found out about."""
    if (
        options.devices * options.num_nodes > 1
    ):  # DDP warns where every parameter has a gradient, as now and then it must
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch

    from training.runtime.memory import keep_freed_memory
    from training.stages.nulls import check

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("training").setLevel(logging.INFO)
    keep_freed_memory()
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    check(options.null_worth)


def each_run(out: Path, argv: list[str], varied: Mapping[str, list[str]]) -> Iterator[tuple[Path, float | None]]:
    """Run ``argv`` with more flags into OUT/NAME for every NAME of ``varied``; give each folder and its seconds.

    Those that are finished there already are not run again (their seconds are None), unfinished ones go on.

    Raises:
        ValueError: one is finished with other settings.
    """
    from training.runtime.options import fit_options

    for name, flags in varied.items():
        run, begun = out / name, time.monotonic()
        own = [*argv, "--seeds=1", *flags]
        options = fit_options([*own, f"--out={run}"])
        if options.devices * options.num_nodes > 1:
            raise ValueError("several runs go one after another on one process; leave out --devices and --num-nodes")
        if (run / "result.json").is_file():
            if (run / "config.yaml").read_text(encoding="utf8") != options.text:
                raise ValueError(f"{run} is finished, with other settings (see its config.yaml); name another --out")
            yield run, None
            continue
        if (run / "checkpoints" / "last.ckpt").is_file():
            options = fit_options([*own, f"--resume={run}"])
        one_run(options)
        yield run, time.monotonic() - begun


def one_run(options: "FitOptions") -> None:
    """Fit once, write the run folder and say what was found; of several processes the first alone does the latter two."""
    if rank(options.devices) > 0:
        return _help_the_first(options)
    from flows.io.writing import write_whole
    from training.data.preparing import prepare
    from training.data.source import read_data
    from training.fitting import run
    from training.runtime.checkpoints import Checkpoint
    from training.runtime.console import Console
    from training.runtime.run_folder import RunFolder
    from training.runtime.stopping import signals_raise

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
            **trainer_settings(options.accelerator, options.devices, options.num_nodes),
        )
        lines = [result.verdict(), *found(result), *(f"note: {note}" for note in result.notes)]
        folder.write(result, console.history, options.seed, lines)
    print("\n".join([f"run: {folder.path}", *lines]), flush=True)


def _help_the_first(options: "FitOptions") -> None:
    """Train as the first process does, so that what they agree on is the same; write and say nothing."""
    from training.data.preparing import prepare
    from training.data.source import read_data
    from training.fitting import run
    from training.runtime.checkpoints import Checkpoint
    from training.runtime.run_folder import RunFolder
    from training.runtime.stopping import StoppedError

    try:
        run(
            prepare(read_data(options.data, options.seed), options.model, options.path, options.seed),
            options.model,
            options.path,
            options.seed,
            options.null_worth,
            callbacks=[Checkpoint(Path(os.devnull))],
            resume=RunFolder.open(options.resume).checkpoint if options.resume else None,
            **trainer_settings(options.accelerator, options.devices, options.num_nodes),
        )
    except StoppedError as error:
        raise SystemExit(error.exit_status) from None
