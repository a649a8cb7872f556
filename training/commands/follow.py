"""``unknot follow``: the same fit along a net's training; when does structure appear?"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from training.commands._fits import each_run, set_up
from training.commands._parser import Parser
from training.runtime.presets import resolve_argv

if TYPE_CHECKING:
    from training.following import Moment
    from training.runtime.options import FitOptions


def main(argv: list[str]) -> int:
    """``unknot follow -c SUBJECT --steps 0 100 1200`` or ``unknot follow --data a-100.npy a-200.npy [flags of unknot fit]``."""
    parser = Parser(
        "follow",
        "Fit a layer at several moments of its net's training, each from the start, into OUT/step-<step>. The same command "
        "goes on where it stopped.",
        "All other flags are those of unknot fit. Example: unknot follow -c rotated-digits --steps 0 60 1200 --out moments",
    )
    parser.add_argument(
        "--steps",
        nargs="+",
        type=int,
        metavar="N",
        help="training steps of a subject, which is trained up to each of them",
    )
    parser.add_argument(
        "--data", nargs="+", metavar="FILE", help="activations at each moment; the last number in a name is its step"
    )
    given, rest = parser.parse_known_args(argv)

    from training.figures.panels import save_panel
    from training.following import Following
    from training.runtime.options import fit_options
    from training.runtime.run_folder import RunFolder

    rest = resolve_argv(rest)
    options = fit_options(rest)
    flags = _moments(given.steps, given.data, options)
    set_up(options)
    out = Path(options.out) if options.out else RunFolder.create(None, f"{options.name}-follow").path
    found = Following([])
    for step, (run, _) in zip(flags, each_run(out, rest, {f"step-{s}": [f] for s, f in flags.items()}), strict=True):
        found.moments.append(_moment(run, step, options))
        found.write(out)
    save_panel(found.plot(), out / "follow.png")
    print(f"\nfollow: {out}\n{found}")
    return 0


def _moments(steps: list[int] | None, files: list[str] | None, options: "FitOptions") -> dict[int, str]:
    """For each step the flag that makes a fit one of that moment.

    Raises:
        ValueError: not exactly one of steps and files, steps without a subject, or two moments of one step.
    """
    if options.resume:
        raise ValueError("unknot follow goes on by itself: say --out with the folder it wrote, not --resume")
    if bool(steps) == bool(files):
        raise ValueError(
            "say when to look: --steps with a subject (-c rotated-digits), or --data with files of activations, not both"
        )
    if steps:
        if options.data.subject is None:
            raise ValueError(
                "--steps are of a subject's training, for instance -c rotated-digits; of your own net give --data FILE FILE"
            )
        if min(steps) < 0:
            raise ValueError(f"--steps must be 0 or more, got {min(steps)}")
        return {step: f"--data.step={step}" for step in sorted(set(steps))}
    assert files is not None
    numbers = [re.findall(r"\d+", Path(file).stem) for file in files]
    named = [int(found[-1]) if found else place for place, found in enumerate(numbers)]
    if len(set(named)) < len(named):
        raise ValueError(
            f"each file must be of another step, got steps {named}; put the step last in the name, as in acts-100.npy"
        )
    return {step: f"--data.file={file}" for step, file in sorted(zip(named, files, strict=True))}


def _moment(run: Path, step: int, options: "FitOptions") -> "Moment":
    from analysis.analyzer import Analyzer, Nothing
    from training.following import Moment
    from training.subjects import trained_subject

    analyzer = Analyzer.load(run)
    levels, shape = analyzer.levels((0.9,)), analyzer.describe()
    data, scores = options.data, {}
    if data.subject is not None:
        scores = dict(trained_subject(data.subject, options.seed, data.rows, step).scores or {})
    if isinstance(levels, Nothing) or isinstance(shape, Nothing):
        return Moment.read(run, step, "nothing but noise", (), scores)
    return Moment.read(run, step, shape.kind, levels.betti(0.9) or (), scores)
