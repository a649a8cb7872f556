"""What ``unknot fit`` takes: one YAML schema, one set of flags, told apart from torch so that errors come fast."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from training.runtime.spelling import SHORT, as_settings
from training.settings import ModelSettings, PathSettings


@dataclass(frozen=True)
class DataSettings:
    """Where activations come from: exactly one of subject, planted and file.

    Attributes:
        subject: a small net trained here ("digits", "rotated-digits", "modular-addition", "ring"), or a language model that is
            read ("smollm2", "smollm2-months").
        step: of a subject, train it for so many steps only.
        half: of digits, 0 or 1: train on this half of the images alone and show no other.
        planted: a structure with known answer ("torus").
        file: .npy, .npz, .pt, .safetensors or .parquet of activations (N, D), or a pattern of shards ("acts/*.npy").
        key: name of the array within the file.
        labels: name of an array in the file, or .npy files, with one integer class per row.
        groups: the same for the source of each row; no source is on both sides of the split.
        nuisance: the same for what is known and not asked about: class numbers or covariates, (rows,) or (rows, columns); their
            linear share is taken off first. Several names are joined by commas.
        order: "time" where the rows of a file follow one another in a recording: blocks of time become the sources.
        rows: rows to make (subject, planted).
        noise_dims: noise dimensions added to a planted structure.
        diffeo: whether a planted structure goes through a random diffeomorphism.
    """

    subject: str | None = None
    planted: str | None = None
    file: str | None = None
    key: str | None = None
    labels: str | None = None
    groups: str | None = None
    nuisance: str | None = None
    order: Literal["time"] | None = None
    step: int | None = None
    half: int | None = None
    rows: int = 12_000
    noise_dims: int = 3
    diffeo: bool = True


@dataclass(frozen=True)
class FitOptions:
    """Everything that ``unknot fit`` was told; ``text`` is the same as YAML, ``changes`` what differs from the run resumed."""

    name: str
    out: str | None
    resume: str | None
    seed: int
    seeds: int
    null_worth: float | str
    threads: int
    accelerator: str
    devices: int
    num_nodes: int
    data: DataSettings
    model: ModelSettings
    path: PathSettings
    text: str
    changes: tuple[str, ...] = ()


_FIXED = ("seed", "data", "model", "path.held_out")


def fit_options(argv: list[str]) -> FitOptions:
    """Parse flags and YAML (later ones win).

    Raises:
        ValueError: unknown or ill-typed setting; the nearest valid names are offered.
    """
    from jsonargparse import ArgumentError

    from training.runtime.parser import fit_parser

    parser, argv = fit_parser(), as_settings(argv)
    changes: tuple[str, ...] = ()
    try:
        parsed = parser.parse_args(argv)
        if parsed.resume:  # the run's own settings first, so that what was said now wins
            own = Path(parsed.resume) / "config.yaml"
            if not own.is_file():
                raise ValueError(f"cannot resume {parsed.resume}: no config.yaml there; name the folder of a run")
            first = parser.parse_args(["--config", str(own)])
            parsed = parser.parse_args(["--config", str(own), *argv])
            changes = _changes(vars(first.as_flat()), vars(parsed.as_flat()))
        settings = parser.instantiate(parsed)
        if parsed.seeds < 1 or (parsed.seeds > 1 and parsed.resume):
            raise ValueError(
                f"--seeds must be at least 1, and 1 with --resume, got {parsed.seeds}; the command that began several seeds, "
                "with its --out, goes on where it stopped"
            )
        if min(parsed.devices, parsed.num_nodes) < 1 or (parsed.devices * parsed.num_nodes > 1 and parsed.seeds > 1):
            raise ValueError(
                f"--devices and --num-nodes must be at least 1, and 1 with several seeds, got {parsed.devices} and "
                f"{parsed.num_nodes}; run one seed at a time on several processes"
            )
        for place in ("config", "out", "resume"):  # where a run lies is no part of what it is
            parsed[place] = None
        parsed["seeds"] = 1  # each of several runs is one by itself
        text = parser.dump(parsed, skip_unset=True)
    except (ArgumentError, TypeError, ValueError) as error:
        names = [key for key, _ in parser.get_defaults().items()]
        raise ValueError(_clearer(str(error), [*(n for n in names if n != "config"), *SHORT])) from None
    return FitOptions(
        text=text,
        changes=changes,
        **{
            key: settings[key]
            for key in (
                "name",
                "out",
                "resume",
                "seed",
                "seeds",
                "null_worth",
                "threads",
                "accelerator",
                "devices",
                "num_nodes",
                "data",
                "model",
                "path",
            )
        },
    )


def _changes(before: dict[str, object], now: dict[str, object]) -> tuple[str, ...]:
    """Settings that differ from those of the run to resume, as "path.lr: 0.003 -> 0.001".

    Raises:
        ValueError: one of them shaped what the checkpoint holds.
    """
    places = ("config", "out", "resume")
    changed = {n: f"{n}: {before.get(n)} -> {now[n]}" for n in now if n not in places and before.get(n) != now[n]}
    fixed = [text for n, text in changed.items() if n in _FIXED or n.partition(".")[0] in _FIXED]
    if fixed:
        raise ValueError(
            f"a resumed run keeps its {', '.join(_FIXED)}; {' and '.join(fixed)} cannot be: "
            "start a new run with unknot fit -c RUN/config.yaml and the new flags"
        )
    return tuple(changed.values())


_FLAG = r"[Uu]nrecognized arguments: --([\w.]+)"
_KEY = r"(?:does not accept (?:nested )?key '?|[Kk]ey )'?([\w.]+)"


def _clearer(message: str, names: list[str]) -> str:
    """The parser's message on one line, with the nearest valid names where a flag or a key of YAML was unknown."""
    message = " ".join(message.split())
    flag, key = re.search(_FLAG, message), re.search(_KEY, message)
    unknown = flag or key
    if unknown is None:
        return message
    near = _nearest(unknown[1], names)
    if flag:  # as it was typed, not as the parser was told
        message = f"unknown flag --{flag[1].replace('_', '-')}"
        near = [f"--{name.replace('_', '-')}" for name in near]
    hint = f"did you mean {', '.join(near)}? " if near else ""
    return f"{message}; {hint}'unknot fit --help' lists all"


def _nearest(unknown: str, names: list[str]) -> list[str]:
    """Names like it as a whole, else names whose last part is like its last part."""
    near = get_close_matches(unknown, names, 3, 0.5)
    leaves = get_close_matches(unknown.rpartition(".")[2], [name.rpartition(".")[2] for name in names])
    return near or [name for name in names if name.rpartition(".")[2] in leaves]
