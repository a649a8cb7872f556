"""``unknot fit``: train a flow on activations and say what structure is left."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from training.commands._fits import each_run, one_run, set_up
from training.runtime.presets import resolve_argv

if TYPE_CHECKING:
    from training.runtime.options import FitOptions


def main(argv: list[str]) -> int:
    """``unknot fit -c PRESET_OR_YAML [-c more] [--model.kappa 2 ...] [--seeds 5]``."""
    from training.runtime.options import fit_options

    argv = resolve_argv(argv)
    options = fit_options(argv)
    set_up(options)
    if options.seeds == 1:
        one_run(options)
    else:
        _several_seeds(options, argv)
    return 0


def _several_seeds(options: "FitOptions", argv: list[str]) -> None:
    """Run seed, seed + 1, ... into OUT/seed-<seed>; those that are finished there already are read, not run again."""
    from training.figures.panels import save_panel
    from training.runtime.run_folder import RunFolder
    from training.seeds import SeedRow, Seeds

    out = Path(options.out) if options.out else RunFolder.create(None, options.name).path
    known: dict[int, float | None] = {}
    if (out / "seeds.json").is_file():
        rows = json.loads((out / "seeds.json").read_text(encoding="utf8"))["rows"]
        known = {row["seed"]: row["seconds"] for row in rows}
    numbers = range(options.seed, options.seed + options.seeds)
    runs = each_run(out, argv, {f"seed-{seed}": [f"--seed={seed}"] for seed in numbers})
    seeds = Seeds([])
    for seed, (run, seconds) in zip(numbers, runs, strict=True):
        seeds.rows.append(SeedRow.read(run, known.get(seed) if seconds is None else seconds))
        seeds.write(out)
    save_panel(seeds.plot(), out / "seeds.png")
    print(f"\nseeds: {out}\n{seeds}")
