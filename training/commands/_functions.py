"""What the verbs about functions share: a subject's net, or a user's function, and what to show it."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.commands._parser import Parser

if TYPE_CHECKING:
    from torch import Tensor


def reader(verb: str, about: str, example: str) -> Parser:
    """The flags that all of them have."""
    parser = Parser(verb, about, f"Example: unknot {verb} {example}")
    parser.add_argument(
        "function",
        help="a subject (digits, ...), or module:name of a function of rows or a torch module (give --inputs), of a pair "
        "(function, inputs), or of a function without arguments that returns such a pair",
    )
    parser.add_argument(
        "--inputs", metavar="FILE", help="rows to show the function, in any format that unknot fit reads"
    )
    parser.add_argument("--key", metavar="NAME", help="name of the array within FILE, where it holds several")
    parser.add_argument("--figure", metavar="FILE", help="draw the answer into FILE.png")
    parser.add_common("draws rows; trains a subject", json=True)
    return parser


def function_and_inputs(given: Namespace, most: int) -> tuple[Any, Tensor]:
    """The function and at most ``most`` of its inputs, drawn by the seed.

    Raises:
        ValueError: no such subject or object, or no inputs.
        TypeError: the object is no function.
    """
    import torch

    from flows.io.inputs import as_tensor

    if given.threads > 0:
        torch.set_num_threads(given.threads)
    if ":" in given.function:
        function, inputs = _of_user(given)
    else:
        from training.subjects import trained_subject

        if given.inputs:
            raise ValueError(f"a subject brings its own inputs, got --inputs {given.inputs}; leave it out")
        subject = trained_subject(given.function, given.seed)
        function, inputs = subject.model, subject.inputs
    if not callable(function):
        raise TypeError(
            f"{given.function} gave {type(function).__name__}, expected a function of rows or a torch module"
        )
    rows = as_tensor(inputs, "inputs")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(given.seed))
    return function, rows[order[:most]]


def _of_user(given: Namespace) -> tuple[Any, Any]:
    from training.data.activations import read_activations
    from training.data.loading import called, load_object

    found = load_object(given.function)
    if given.inputs:
        return found, read_activations(given.inputs, given.key, None, None).x
    if callable(found) and not hasattr(found, "modules"):
        found = called(found, given.function)
    if not (isinstance(found, tuple) and len(found) == 2):
        raise ValueError(
            f"{given.function} gave {type(found).__name__} without inputs; say what to show it with --inputs x.npy, "
            "or name a pair (function, inputs)"
        )
    return found


def show(given: Namespace, *answers: Any) -> int:
    """Print answers, as lines or as one JSON object by class, and draw the first where a figure is wanted."""
    if given.json:
        print(json.dumps({type(a).__name__.lower(): a.to_dict() for a in answers}, allow_nan=False))
    else:
        print("\n".join(repr(answer) for answer in answers))
    if given.figure:
        path = Path(given.figure).with_suffix(".png")
        answers[0].plot().figure.savefig(path, dpi=120)
        if not given.json:
            print(f"wrote {path}")
    return 0
