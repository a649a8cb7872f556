"""The parser of a verb's flags, and the flags that several verbs share."""

from argparse import ArgumentParser, Namespace
from difflib import get_close_matches
from typing import NoReturn


class Parser(ArgumentParser):
    """Flags of one verb. What is wrong with them is one line on stderr, with the nearest valid flag."""

    def __init__(self, verb: str, about: str, then: str | None = None):
        super().__init__(prog=f"unknot {verb}", description=about, epilog=then, allow_abbrev=False)

    def read(self, argv: list[str]) -> Namespace:
        """The flags; ends the process with status 2 where one is unknown, ill-typed or missing."""
        given, rest = self.parse_known_args(argv)
        if rest:
            flags = [flag for action in self._actions for flag in action.option_strings]
            near = get_close_matches(rest[0].partition("=")[0], flags, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            what = "unknown flag" if rest[0].startswith("-") else "one argument too many:"
            self.error(f"{what} {rest[0]}; {hint}'{self.prog} --help' lists all")
        return given

    def error(self, message: str) -> NoReturn:
        """One line on stderr; argparse would print all flags above it."""
        more = "" if "--help" in message else f"; see '{self.prog} --help'"
        self.exit(2, f"{self.prog}: {message}{more}\n")

    def add_rows(self) -> None:
        """--data, --key: rows of activations from a file."""
        self.add_argument(
            "--data", metavar="FILE", help=".npy, .npz, .pt, .safetensors or .parquet, or a quoted pattern of shards"
        )
        self.add_argument("--key", metavar="NAME", help="name of the array within FILE, where it holds several")

    def add_common(self, seed: str = "", threads: int = 0, json: bool = False) -> None:
        """--json, --seed, --threads."""
        if json:
            self.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
        if seed:
            self.add_argument("--seed", type=int, default=0, metavar="N", help=f"{seed} (default 0)")
        self.add_argument(
            "--threads",
            type=int,
            default=threads,
            metavar="N",
            help=f"CPU threads; 0 leaves it to torch (default {threads})",
        )
