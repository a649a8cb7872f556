"""``unknot capture``: run a model and write what its layers put out."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.commands._parser import Parser

if TYPE_CHECKING:
    import torch
    from torch import nn

_ABOUT = """Run a model and write what its layers put out. OBJECT names a torch module (give --inputs), a pair
(model, batches), or a function without arguments that returns either."""
_THEN = "Example: unknot capture nets:model --layer mix --inputs x.npy --out acts.safetensors"


def main(argv: list[str]) -> int:
    """``unknot capture module:object --layer NAME [--layer NAME] --out acts.safetensors``."""
    given = _options(argv)

    import torch

    from training.data.capturing import capture
    from training.runtime.saving import save_activations, suffix_for

    if suffix_for(given.out, len(given.layer)) == ".npy" and given.relevance:
        raise ValueError(f"{given.out} cannot hold what the net uses of the layer; name it .safetensors")
    if given.threads > 0:
        torch.set_num_threads(given.threads)
    model, batches = _model_and_batches(given)
    mask = {} if given.mask is None else {"mask": given.mask}
    asked = {name: getattr(given, name) for name in ("relevance", "relevance_rows", "answer", "answers", "seed")}
    found = capture(
        model,
        given.layer,
        batches,
        given.rows,
        given.device,
        channel_axis=given.channel_axis,
        positions=given.position,
        answer_at=given.answer_at,
        **mask,
        **asked,
    )
    save_activations(found, given.out)
    for layer, cloud in found.items():
        print(f"{layer or 'the model'}: {cloud!r}")
        if cloud.relevance is not None:
            print(repr(cloud.relevance))
    print(f"wrote {given.out}")
    print("\n".join(_next(found, given.out)))
    return 0


def _options(argv: list[str]) -> Namespace:
    parser = Parser("capture", _ABOUT, _THEN)
    parser.add_argument("object", help="module:name, looked for in the working directory too")
    parser.add_argument(
        "--layer",
        action="append",
        required=True,
        metavar="NAME",
        help="name of a layer as model.named_modules() gives it; repeat the flag for several layers",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=".safetensors, or .npy, which keeps no labels and sources",
    )
    _add_inputs(parser)
    _add_rows(parser)
    _add_relevance(parser)
    parser.add_argument("--device", metavar="NAME", help="where to run the model: cpu, cuda, mps (default where it is)")
    parser.add_common()
    given = parser.read(argv)
    if given.batch < 1:
        parser.error(f"--batch must be at least 1, got {given.batch}")
    return given


def _add_inputs(parser: Parser) -> None:
    group = parser.add_argument_group("what to show the model")
    group.add_argument(
        "--inputs", metavar="FILE", help="its inputs; of several arrays each is the argument of its name"
    )
    group.add_argument("--key", metavar="NAME", help="name of the array within FILE that is shown alone")
    group.add_argument("--labels", metavar="NAME|FILE", help="one integer per input: an array in FILE, or a .npy file")
    group.add_argument("--mask", metavar="NAME", help="array in FILE that is 0 at padding (default attention_mask)")
    group.add_argument("--batch", type=int, default=256, metavar="N", help="inputs in one forward pass (default 256)")


def _add_rows(parser: Parser) -> None:
    group = parser.add_argument_group("which rows to keep, where a layer has positions (tokens, pixels)")
    group.add_argument(
        "--rows-from",
        dest="rows",
        choices=["token", "mean", "last"],
        default="token",
        help="each token is a row (the default), or the mean over tokens, or the last token",
    )
    group.add_argument(
        "--position",
        type=_number_or_name,
        metavar="NUMBER|NAME",
        help="one row an example: that position, or the one that the array NAME in FILE holds",
    )
    group.add_argument(
        "--channel-axis", type=int, metavar="N", help="axis of the channels (default the last; of four axes the second)"
    )


def _add_relevance(parser: Parser) -> None:
    group = parser.add_argument_group("what the model uses of a layer")
    group.add_argument("--relevance", action="store_true", help="measure it, and keep it in FILE for unknot fit")
    group.add_argument(
        "--relevance-rows", type=int, default=1024, metavar="N", help="rows to measure at (default 1024)"
    )
    group.add_argument(
        "--answer",
        choices=["softmax", "gaussian", "cosine"],
        default="softmax",
        help="how its output is read: classes (the default), numbers, or a direction",
    )
    group.add_argument(
        "--answer-at",
        type=_number_or_name,
        metavar="NUMBER|same",
        help="position of the answer to a row (default the last; with --rows-from token the row's own)",
    )
    group.add_argument("--answers", type=int, nargs="+", metavar="N", help="classes that count (default all)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="draws the rows that are measured (default 0)")


def _number_or_name(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdecimal() else text


def _model_and_batches(given: Namespace) -> tuple[nn.Module, Iterable[Any]]:
    import torch
    from torch import nn

    from training.data.loading import called, load_object

    found = load_object(given.object)
    if callable(found) and not isinstance(found, nn.Module):
        found = called(found, given.object)
    model, batches = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{given.object} gave {type(model).__name__}, expected a torch module or (model, batches); "
            "name a module, or a function without arguments that returns one"
        )
    if (batches is None) == (given.inputs is None):
        what = (
            "a model alone; say what to show it with --inputs x.npy"
            if batches is None
            else "batches too; leave --inputs out"
        )
        raise ValueError(f"{given.object} gives {what}")
    if batches is None:
        precisions = [p.dtype for p in model.parameters() if p.is_floating_point()]
        batches = _batches(given, precisions[0] if precisions else torch.float32)
    elif given.labels or given.key:
        raise ValueError(
            f"{given.object} gives batches; --labels and --key go with --inputs: give labels in the batches"
        )
    return model, batches


def _batches(given: Namespace, dtype: torch.dtype) -> Iterator[Any]:
    """The inputs' file, ``--batch`` examples at a time, with their labels; numbers in the model's precision."""
    from flows.io.files import arrays_in, load, matching
    from flows.io.inputs import as_tensor
    from training.data.activations import one_integer_each

    path = Path(given.inputs)
    for file in matching(path)[1:]:
        raise ValueError(f"--inputs {path} matches several files, {file} among them; name one")
    arrays = arrays_in(path)
    names = [given.key] if given.key else [name for name in arrays if name != given.labels]
    inputs = {name: load(arrays, name, path) for name in names}
    count = len(inputs[names[0]]) if names else 0
    uneven = {name: len(x) for name, x in inputs.items() if len(x) != count}
    if not count or uneven:
        raise ValueError(
            f"{path} holds inputs of {count} examples and of {uneven}; expected at least 1 and as many of each"
        )
    labels = None
    if given.labels:
        own = given.labels not in arrays and Path(given.labels).suffix
        file = Path(given.labels) if own else path
        labels = load(arrays_in(file) if own else arrays, file.stem if own else given.labels, file)
    labels = one_integer_each(labels, count, "labels")

    def parts() -> Iterator[Any]:
        for first in range(0, count, given.batch):
            part = slice(first, first + given.batch)
            shown = {name: as_tensor(x[part], name) for name, x in inputs.items()}
            shown = {name: x.to(dtype) if x.is_floating_point() else x for name, x in shown.items()}
            yield shown if len(names) > 1 else shown[names[0]], None if labels is None else labels[part]

    return parts()


def _next(found: dict[str, Any], out: Path) -> list[str]:
    """How to go on with the file, and what it leaves out."""
    fit = f"fit it with: unknot fit --data {out}"
    cloud = next(iter(found.values()))
    shares = len(cloud.sources.unique()) < len(cloud)
    if out.suffix == ".npy":
        lost = [what for what, there in (("labels", cloud.labels is not None), ("sources", shares)) if there]
        return (
            [f"note: .npy leaves out {' and '.join(lost)}; name it .safetensors to keep them", fit] if lost else [fit]
        )
    before = "" if len(found) == 1 else f"{next(iter(found))}."
    key = "x" if len(found) == 1 else next(iter(found))
    labels = f" --labels {before}labels" if cloud.labels is not None else ""
    return [f"{fit} --key {key}{labels} --groups {before}sources"]
