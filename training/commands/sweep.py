"""``unknot sweep``: the same fit at several kappas; which structure survives over the widest range."""

from pathlib import Path

from training.commands._fits import each_run, set_up
from training.commands._parser import Parser
from training.runtime.presets import resolve_argv


def main(argv: list[str]) -> int:
    """``unknot sweep -c PRESET_OR_YAML [--kappas 0.5 1 2 4 8] [flags of unknot fit]``."""
    from training.kappa_map import KAPPAS, KappaMap, KappaRow

    parser = Parser(
        "sweep",
        "Fit at several kappas, the price of movement, into OUT/kappa-<kappa>, and map the best k over (lambda, kappa). "
        "The same command goes on where it stopped.",
        "All other flags are those of unknot fit. Example: unknot sweep -c digits --kappas 0.5 1 2 4 8 --out maps",
    )
    parser.add_argument(
        "--kappas",
        nargs="+",
        type=float,
        default=list(KAPPAS),
        metavar="KAPPA",
        help=f"default {' '.join(f'{kappa:g}' for kappa in KAPPAS)}",
    )
    given, rest = parser.parse_known_args(argv)

    from training.figures.panels import save_panel
    from training.runtime.options import fit_options
    from training.runtime.run_folder import RunFolder

    kappas, rest = _checked(given.kappas), resolve_argv(rest)
    options = fit_options(rest)
    if options.resume:
        raise ValueError("unknot sweep goes on by itself: say --out with the folder it wrote, not --resume")
    set_up(options)
    out = Path(options.out) if options.out else RunFolder.create(None, f"{options.name}-sweep").path
    runs = each_run(out, rest, {f"kappa-{kappa:g}": [f"--model.kappa={kappa!r}"] for kappa in kappas})
    found = KappaMap([])
    for kappa, (run, _) in zip(kappas, runs, strict=True):
        found.rows.append(KappaRow.read(run, kappa))
        found.write(out)
    save_panel(found.plot(), out / "kappas.png")
    print(f"\nsweep: {out}\n{found}")
    return 0


def _checked(kappas: list[float]) -> list[float]:
    """The kappas by size, each once.

    Raises:
        ValueError: one is not positive, or two would share a folder.
    """
    rising = sorted(set(kappas))
    if not all(0 < kappa < float("inf") for kappa in rising):
        raise ValueError(f"--kappas must be positive and finite, got {', '.join(f'{k:g}' for k in rising)}")
    if len({f"{kappa:g}" for kappa in rising}) < len(rising):
        raise ValueError(f"--kappas must differ in their first six digits, got {rising}")
    return rising
