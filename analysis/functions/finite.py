"""Functions between finite sets, up to relabelling: level sets decide, and the relabelling is given and verified."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.functions.relabelling import Relabelling

Codes = NDArray[np.intp]
_SHOWN = 12  # level sets listed in print
_BATCH = 65_536  # inputs shown to a net at once


@dataclass(frozen=True, eq=False, repr=False)
class FiniteFunction:
    """A function from a finite set, or a product of several, to a finite set. Made by :func:`finite_function`.

    Attributes:
        codes: an axis for each argument; which output, counted from 0 in the order of ``outputs``.
        outputs: the outputs that occur.
        inputs: the inputs' names, argument by argument; None where they are 0, 1, ...
        codomain: number of possible outputs, those that never occur included.
    """

    codes: Codes
    outputs: list[Any]
    inputs: tuple[list[Any], ...] | None
    codomain: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of inputs, argument by argument."""
        return self.codes.shape

    @cached_property
    def counts(self) -> Codes:
        """Number of inputs that go to each of ``outputs``."""
        return np.bincount(self.codes.ravel(), minlength=len(self.outputs))

    @cached_property
    def level_set_sizes(self) -> tuple[int, ...]:
        """Sizes of the sets of inputs with the same output, largest first: with the two sets' sizes, all there is to know
        of a function of one argument up to relabelling."""
        return tuple(np.sort(self.counts)[::-1].tolist())

    @property
    def intermediate(self) -> int:
        """Size of the smallest set that the function factors through: the number of level sets."""
        return len(self.outputs)

    @cached_property
    def argument_classes(self) -> tuple[Codes, ...]:
        """For each argument, the class of each of its values: same class, same outputs whatever the other arguments."""
        return tuple(self._classes(axis) for axis in range(self.codes.ndim))

    @property
    def argument_intermediate(self) -> tuple[int, ...]:
        """For each argument, the size of the smallest set that the function needs of it."""
        return tuple(int(classes.max()) + 1 for classes in self.argument_classes)

    def _classes(self, axis: int) -> Codes:
        rows = np.ascontiguousarray(np.moveaxis(self.codes, axis, 0).reshape(self.codes.shape[axis], -1))
        whole = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
        return np.unique(whole, return_inverse=True)[1]

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what is invariant under relabelling."""
        return {
            "shape": list(self.shape),
            "codomain": self.codomain,
            "level_set_sizes": list(self.level_set_sizes),
            "intermediate": self.intermediate,
            "argument_intermediate": list(self.argument_intermediate),
        }

    def __repr__(self) -> str:
        sizes = ", ".join(map(str, self.level_set_sizes[:_SHOWN])) + (", ..." if self.intermediate > _SHOWN else "")
        text = (
            f"FiniteFunction: {' x '.join(map(str, self.shape))} inputs -> {self.codomain} outputs, "
            f"through a set of {self.intermediate}; level sets of {sizes}"
        )
        if self.codes.ndim > 1:
            text += f"; of its arguments it needs {', '.join(map(str, self.argument_intermediate))} values"
        return text

    def plot(self, ax: Axes | None = None) -> Axes:
        """Sizes of the level sets, largest first."""
        from analysis import drawing

        ax = drawing.axes(ax)
        ax.bar(range(self.intermediate), self.level_set_sizes, color=drawing.COLOURS[0])
        ax.set(xlabel="level set, largest first", ylabel="inputs")
        drawing.corner(ax, f"{self.codes.size} inputs, {self.codomain} outputs")
        return ax


def finite_function(
    table: ArrayLike | Mapping[Hashable, Hashable] | Callable[[Any], Any],
    *,
    inputs: int | Sequence[int] | ArrayLike | None = None,
    codomain: int | None = None,
) -> FiniteFunction:
    """A function between finite sets, from a table, a mapping, or a net shown every input.

    Args:
        table: an array of outputs (numbers or words) with an axis for each argument, ``table[i, j] = f(i, j)``; a mapping from
            inputs to outputs, a tuple as key standing for several arguments; or a callable.
        inputs: for a callable, what to show it: the sizes of its arguments, ``113`` or ``(113, 113)``, of which it is
            then shown all combinations as integers (B,) or (B, arguments); or an array or tensor of inputs along axis 0.
            It answers with integers (B,), or scores (B, C) of which the largest counts. Torch modules are run in eval mode,
            without gradients, and left in the mode they were in.
        codomain: number of possible outputs; default those that occur. It matters: relabellings map all of it.

    Raises:
        ValueError: no inputs, combinations missing from a mapping, a codomain smaller than the outputs, NaN.
        TypeError: outputs or scores of a kind that has no labels.

    Example:
        >>> finite_function({1: 1, 2: 1, 3: 1, 4: 5, 5: 5}, codomain=5)
        FiniteFunction: 5 inputs -> 5 outputs, through a set of 2; level sets of 3, 2
    """
    names = None
    if isinstance(table, Mapping):
        values, names = _of_mapping(table)
    elif callable(table) and not hasattr(table, "__array__"):
        values = _of_callable(table, inputs)
    else:
        values = _array(table)
    if callable(table) != (inputs is not None) and not hasattr(table, "__array__"):
        raise ValueError("inputs belong to a callable: pass them with one, and not with a table")
    if not values.size or not values.ndim:
        raise ValueError(f"a function needs at least 1 input, got a table of shape {values.shape}")
    outputs, codes = _coded(values)
    if codomain is not None and codomain < len(outputs):
        raise ValueError(f"codomain={codomain} is smaller than the {len(outputs)} outputs that occur; leave it out")
    return FiniteFunction(codes, outputs, names, len(outputs) if codomain is None else codomain)


def equivalent(f: Any, g: Any, joint: bool = False) -> Relabelling:
    """Whether two functions between finite sets are the same up to relabelling; the relabelling, or why there is none.

    With one argument level-set sizes decide (and the sizes of both sets): exact, in the time of a sort. With several
    arguments each is relabelled by itself; that is a search, see :mod:`analysis.functions.relabelling`, which answers
    "undecided" rather than search on past its budget. With ``joint`` the tuple of arguments counts as one input.

    Args:
        f, g: what :func:`finite_function` returns or takes.

    Returns:
        a `Relabelling`: ``f(x) = outputs^-1 g(inputs x)``, verified on every input; it is truthy if there is one.

    Example:
        >>> f = finite_function({1: 1, 2: 1, 3: 1, 4: 5, 5: 5}, codomain=5)
        >>> g = finite_function({1: 1, 2: 1, 3: 1, 4: 1, 5: 5}, codomain=5)
        >>> equivalent(f, g)
        Relabelling: none. Level sets have sizes 3, 2 in one and 4, 1 in the other
    """
    from analysis.functions.relabelling import relabelling

    f, g = (h if isinstance(h, FiniteFunction) else finite_function(h) for h in (f, g))
    return relabelling(f, g, joint)


def _of_mapping(table: Mapping[Any, Any]) -> tuple[NDArray[Any], tuple[list[Any], ...]]:
    """A table of outputs and the names of the inputs, argument by argument, in the mapping's order."""
    keys = list(table)
    if not keys or not all(isinstance(key, tuple) for key in keys):
        return _words(list(table.values())), (keys,)
    lengths = {len(key) for key in keys}
    if len(lengths) > 1:
        raise ValueError(f"keys have {sorted(lengths)} arguments, expected the same number in each")
    names = tuple(list(dict.fromkeys(column)) for column in zip(*keys, strict=True))
    shape = tuple(len(column) for column in names)
    if math.prod(shape) != len(keys):
        raise ValueError(
            f"{len(keys)} keys for {' x '.join(map(str, shape))} combinations of arguments; give an output for every one"
        )
    place = [{name: i for i, name in enumerate(column)} for column in names]
    values: NDArray[Any] = np.empty(shape, dtype=object)
    for key, value in table.items():
        values[tuple(where[part] for where, part in zip(place, key, strict=True))] = value
    return values, names


def _words(values: list[Any]) -> NDArray[Any]:
    array: NDArray[Any] = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _of_callable(function: Callable[[Any], Any], inputs: Any) -> NDArray[Any]:
    """The function's outputs on all its inputs, an axis for each argument."""
    import torch

    from analysis.functions.layers import evaluating
    from flows.io.inputs import as_tensor

    if inputs is None:
        raise ValueError(
            "a callable needs inputs: the sizes of its arguments, such as (113, 113), or the inputs themselves"
        )
    sizes = (inputs,) if isinstance(inputs, int) else inputs
    shape: tuple[int, ...]
    if isinstance(sizes, (tuple, list)) and all(isinstance(size, int) for size in sizes):
        shape = tuple(sizes)
        if min(shape, default=0) < 1:
            raise ValueError(f"inputs must be sizes of at least 1, got {sizes}; pass one size for each argument")
        grids = torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij")
        shown = grids[0].flatten() if len(shape) == 1 else torch.stack([grid.flatten() for grid in grids], 1)
    else:
        shown = as_tensor(inputs, "inputs")
        shape = (len(shown),)
    with evaluating(function):
        answers = [_labels(function(batch), len(batch)) for batch in shown.split(_BATCH)]
    return np.concatenate(answers).reshape(shape) if answers else np.empty(0)


def _labels(output: Any, count: int) -> NDArray[Any]:
    """Labels (count,) of a batch: integers as they are, or the largest of the scores."""
    import torch

    if not isinstance(output, torch.Tensor):
        output = torch.as_tensor(np.asarray(output))
    if output.is_floating_point() and output.ndim == 2 and len(output) == count:
        if output.isnan().any():
            raise ValueError(
                f"scores contain NaN in {int(output.isnan().any(1).sum())} of {count} inputs; fix the net first"
            )
        return output.argmax(1).cpu().numpy()
    if output.is_floating_point() or output.is_complex() or tuple(output.shape) != (count,):
        raise TypeError(
            f"the function gave {output.dtype} of shape {tuple(output.shape)} for {count} inputs, expected integers "
            f"({count},) or scores ({count}, C); round or take the argmax"
        )
    return output.cpu().numpy()


def _array(table: Any) -> NDArray[Any]:
    if hasattr(table, "detach"):
        table = table.detach().cpu().numpy()
    try:
        array = np.asarray(table)
    except ValueError:
        raise ValueError(
            "a table must be a rectangular array, got rows of different lengths; pad or split it"
        ) from None
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"the table contains NaN or inf in {int((~np.isfinite(array)).sum())} entries; drop those first"
        )
    return array


def _coded(values: NDArray[Any]) -> tuple[list[Any], Codes]:
    """The outputs that occur and, for every input, which; integers in a short range without a sort."""
    if values.dtype.kind in "iub":
        low, high = int(values.min()), int(values.max())
        if high - low < max(4 * values.size, 1024):
            shifted = np.subtract(values, low, dtype=np.intp, casting="unsafe") if low else values.astype(np.intp)
            occurs = np.bincount(shifted.ravel(), minlength=high - low + 1) > 0
            kind = bool if values.dtype.kind == "b" else int
            return [kind(v + low) for v in np.flatnonzero(occurs)], (np.cumsum(occurs) - 1)[shifted]
    if values.dtype.kind == "O":
        place: dict[Any, int] = {}
        try:
            codes = np.array([place.setdefault(value, len(place)) for value in values.ravel()], dtype=np.intp)
        except TypeError as error:
            raise TypeError(f"outputs must be hashable: {error}; turn them into tuples or words") from None
        return list(place), codes.reshape(values.shape)
    distinct, flat = np.unique(values, return_inverse=True)
    return distinct.tolist(), flat.reshape(values.shape).astype(np.intp)
