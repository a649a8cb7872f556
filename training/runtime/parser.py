"""The parser behind ``unknot fit``: flags and YAML in one schema, help in a stranger's words."""

import re
from argparse import SUPPRESS, Action
from typing import Any, Literal

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from training.runtime.presets import preset_names
from training.settings import ModelSettings, PathSettings

_USAGE = "unknot fit [-c PRESET|FILE] [--data FILE] [--out FOLDER] [--SETTING VALUE ...]"
_THEN = """--data, --key, --labels, --groups, --nuisance and --order are short for --data.file, --data.key and so on. In YAML
settings have underscores (model: exit_width: 0.25), as flags hyphens (--model.exit-width 0.25).

examples: unknot fit -c digits
          unknot fit --data acts.safetensors --key mix --labels mix.labels --out RUN
          unknot fit -c RUN/config.yaml --seed 1"""


class _Help(DefaultHelpFormatter):
    """What a flag is for and its default; no types of Python."""

    def _get_help_string(self, action: Action) -> str:
        text = (action.help or "").replace("``", "").rstrip(".")
        has_default = action.default not in (None, SUPPRESS) and action.option_strings
        return f"{text} (default %(default)s)" if has_default and "default" not in text else text


class _FitParser(ArgumentParser):
    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """As flags are spelt here, without the flags that take a group of settings from a file of their own."""
        text = re.sub(r"(?m)^  --(data|model|path) CONFIG .*\n", "", super().format_help(*args, **kwargs))
        text = re.sub(r"--[\w.]+", lambda flag: flag[0].replace("_", "-"), text)
        return f"{text}\n{_THEN}\n"


def fit_parser() -> ArgumentParser:
    """Everything that ``unknot fit`` can be told."""
    parser: Any = _FitParser(
        prog="unknot fit",
        usage=_USAGE,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=_Help,
        description="Train a flow on activations and say what structure is left. Data is one of --data.file, --data.subject "
        "and --data.planted; a preset brings its own.",
    )
    presets = ", ".join(preset_names())
    parser.add_argument(
        "-c",
        "--config",
        action="config",
        metavar="PRESET|FILE",
        help=f"{presets}, or a YAML file; of several the last wins",
    )
    parser.add_argument("--name", type=str, default="run", help="the run folder is runs/NAME-<time>")
    parser.add_argument("--out", type=str | None, metavar="FOLDER", help="the run folder instead; must not exist")
    parser.add_argument(
        "--resume", type=str | None, metavar="RUN", help="run folder to go on with; other flags change it"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draws split, start, batches and gates")
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="runs to make, at seed, seed + 1, ...: how sure is k?"
    )
    parser.add_argument(
        "--null_worth",
        type=float | str,
        default="auto",
        metavar="NATS",
        help="a dimension counts as structure if it is worth more; auto: from a table, run: from fits of pure noise",
    )
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads; 0 leaves it to torch")
    parser.add_argument(
        "--accelerator", type=Literal["cpu", "cuda", "mps", "auto"], default="cpu", help="where to train"
    )
    parser.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="processes on each machine, one a device; they share a batch",
    )
    parser.add_argument(
        "--num_nodes", type=int, default=1, metavar="N", help="machines, started by Slurm, torchrun or by hand"
    )
    from training.runtime.options import DataSettings

    parser.add_argument("--data", type=DataSettings, default=DataSettings(), help="data")
    parser.add_argument("--model", type=ModelSettings, default=ModelSettings(), help="the flow and its loss")
    parser.add_argument("--path", type=PathSettings, default=PathSettings(), help="the stages of a fit; seldom needed")
    return parser
