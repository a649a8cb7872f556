"""Relabellings between two functions of finite sets: by level sets for one argument, by refinement and search for several.

Several arguments, each relabelled by itself, make an isotopy of tables: colour refinement (Weisfeiler and Leman 1968) of the
values of every argument and of the outputs, in both functions at once; where that leaves labels that look alike, one is
singled out and every partner tried. A colour that differs proves that there is no relabelling, and what is found is
verified entry by entry, so hash collisions cost time but never truth. Highly symmetric tables that are *not* equivalent
can take more refinements than the budget: then the answer is "undecided".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

if TYPE_CHECKING:
    from analysis.functions.finite import FiniteFunction

Codes = NDArray[np.intp]
Colours = list[tuple[Codes, Codes]]  # by axis, outputs last: those of f and of g
BUDGET = 10_000  # refinements before the search gives up; fewer for large tables
_ENTRIES = 400_000_000  # table entries that all refinements together may read
_SHOWN = 6


@dataclass(frozen=True, eq=False, repr=False)
class Relabelling:
    """The answer of :func:`equivalent`; truthy if there is a relabelling.

    Attributes:
        exists: True, False, or None where the search gave up.
        reason: why, in words.
        inputs: for each argument (for all of them together where ``joint``), which input of g stands for input i of f, as an
            index; empty unless it exists.
        outputs: which output of g stands for each output of f that occurs; empty unless it exists.
        joint: whether the arguments were relabelled together.
    """

    exists: bool | None
    reason: str
    inputs: tuple[Codes, ...] = ()
    outputs: dict[Any, Any] | None = None
    joint: bool = False

    def __bool__(self) -> bool:
        return self.exists is True

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        outputs = None if self.outputs is None else [[str(a), str(b)] for a, b in self.outputs.items()]
        return {
            "exists": self.exists, "reason": self.reason, "joint": self.joint,
            "inputs": [index.tolist() for index in self.inputs], "outputs": outputs,
        }  # fmt: skip

    def __repr__(self) -> str:
        if not self.exists:
            return f"Relabelling: {'undecided' if self.exists is None else 'none'}. {self.reason}"
        shown = ", ".join(f"{a!r} -> {b!r}" for a, b in itertools.islice((self.outputs or {}).items(), _SHOWN))
        more = ", ..." if len(self.outputs or {}) > _SHOWN else ""
        return f"Relabelling: found. {self.reason}; outputs {shown}{more}"


def relabelling(f: FiniteFunction, g: FiniteFunction, joint: bool = False, budget: int = BUDGET) -> Relabelling:
    """The relabelling that takes f to g, or why there is none."""
    why = _obstacle(f, g, joint)
    if why:
        return Relabelling(False, why, joint=joint)
    if joint or f.codes.ndim == 1:
        inputs: tuple[Codes, ...] = (_by_level_sets(f, g),)
        joint = f.codes.ndim > 1
    else:
        limit = max(20, min(budget, _ENTRIES // (2 * f.codes.size)))
        found, why = _search(f, g, limit)
        if found is None:
            return Relabelling(None if why is None else False, why or f"The search gave up after {limit} refinements")
        inputs = found
    outputs = _verified(f, g, inputs, joint)
    renamed = {f.outputs[a]: g.outputs[int(b)] for a, b in enumerate(outputs)}
    return Relabelling(True, f"Verified on all {f.codes.size} inputs", inputs, renamed, joint)


def _obstacle(f: FiniteFunction, g: FiniteFunction, joint: bool) -> str | None:
    """What differs already without a search."""
    if joint and f.codes.size != g.codes.size:
        return f"There are {f.codes.size} inputs in one and {g.codes.size} in the other"
    if not joint and f.shape != g.shape:
        return f"The arguments have {_times(f.shape)} values in one and {_times(g.shape)} in the other"
    if f.codomain != g.codomain:
        return f"There are {f.codomain} possible outputs in one and {g.codomain} in the other"
    if f.level_set_sizes != g.level_set_sizes:
        a, b = _difference(f.level_set_sizes, g.level_set_sizes)
        return f"Level sets have sizes {a} in one and {b} in the other"
    return None


def _by_level_sets(f: FiniteFunction, g: FiniteFunction) -> Codes:
    """Which input of g (flat) stands for each of f: level sets of one size matched, inputs within them in order."""
    orders = []
    for h in (f, g):
        place = np.empty(h.intermediate, dtype=np.intp)
        place[np.argsort(-h.counts, kind="stable")] = np.arange(h.intermediate)
        columns = np.arange(h.codes.size)
        by_place = coo_array((np.ones(h.codes.size, dtype=np.int8), (place[h.codes.ravel()], columns)))
        orders.append(by_place.tocsr().indices)  # a counting sort: linear, where np.argsort takes most of the time
    inputs = np.empty(f.codes.size, dtype=np.intp)
    inputs[orders[0]] = orders[1]
    return inputs


def _verified(f: FiniteFunction, g: FiniteFunction, inputs: tuple[Codes, ...], joint: bool) -> Codes:
    """Which output of g stands for each of f; proven entry by entry."""
    moved = g.codes.ravel()[inputs[0]] if joint or f.codes.ndim == 1 else g.codes[np.ix_(*inputs)].ravel()
    outputs = np.empty(f.intermediate, dtype=np.intp)
    outputs[f.codes.ravel()] = moved
    is_one_to_one = len(np.unique(outputs)) == len(outputs)
    if not (is_one_to_one and np.array_equal(outputs[f.codes.ravel()], moved)):
        raise AssertionError("a relabelling failed its verification; please report the two tables")
    return outputs


def _search(f: FiniteFunction, g: FiniteFunction, limit: int) -> tuple[tuple[Codes, ...] | None, str | None]:
    """Relabelled arguments, or None and why there are none; no reason where the limit was reached."""
    start: Colours = [(np.zeros(n, dtype=np.intp), np.zeros(n, dtype=np.intp)) for n in f.shape]
    start.append((np.unique(f.counts, return_inverse=True)[1], np.unique(g.counts, return_inverse=True)[1]))
    refined, difference = _refine(f.codes, g.codes, start)
    if difference:
        return None, difference
    stack, refinements = [iter([refined])], 1
    while stack:
        colours = next(stack[-1], None)
        if colours is None:
            stack.pop()
            continue
        if len(stack) > 1:  # the root is refined already
            if refinements >= limit:
                return None, None
            colours, difference = _refine(f.codes, g.codes, colours)
            refinements += 1
            if difference:
                continue
        cell = _smallest_cell(colours)
        if cell:
            stack.append(_children(colours, *cell))
            continue
        inputs = tuple(_matched(a, b) for a, b in colours[:-1])
        if np.array_equal(_matched(*colours[-1])[f.codes], g.codes[np.ix_(*inputs)]):
            return inputs, None
    return None, "Every way to match labels that look alike was tried, and each led to a contradiction"


def _refine(f: Codes, g: Codes, colours: Colours) -> tuple[Colours, str | None]:
    """Colours of the arguments' values and of the outputs, split until stable, and the first difference between f and g."""
    for depth in itertools.count(1):
        hashes = [_entry_hashes(table, [pair[side] for pair in colours]) for side, table in enumerate((f, g))]
        split: Colours = []
        for axis, (of_f, of_g) in enumerate(colours):
            keys = np.concatenate([
                np.column_stack([own, *_sums(hashed, table, axis, len(own))])
                for own, hashed, table in zip((of_f, of_g), hashes, (f, g), strict=True)
            ])  # fmt: skip
            both = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
            a, b = both[: len(of_f)], both[len(of_f) :]
            counts = [np.bincount(side, minlength=both.max() + 1) for side in (a, b)]
            if (counts[0] != counts[1]).any():
                what = "outputs" if axis == f.ndim else f"values of argument {axis + 1}"
                sizes = _difference(*(tuple(sorted(c[c > 0].tolist(), reverse=True)) for c in counts))
                told = (
                    f"in groups of {sizes[0]} and of {sizes[1]}"
                    if sizes[0] != sizes[1]
                    else "in groups unlike one another"
                )
                return split, f"The {what} fall {told} when compared {depth} {'step' if depth == 1 else 'steps'} deep"
            split.append((a, b))
        if all(new[0].max() == old[0].max() for new, old in zip(split, colours, strict=True)):
            return split, None
        colours = split
    raise AssertionError


def _entry_hashes(table: Codes, colours: list[Codes]) -> NDArray[np.uint64]:
    """A hash of every entry's place and output, by colour."""
    hashed = _mixed(colours[-1].astype(np.uint64) * _ODD + np.uint64(table.ndim))[table]
    for axis, own in enumerate(colours[:-1]):
        hashed = hashed + np.expand_dims(
            _mixed(own.astype(np.uint64) * _ODD + np.uint64(axis)), tuple(i for i in range(table.ndim) if i != axis)
        )
    return _mixed(hashed)


_ODD = np.uint64(0x9E3779B97F4A7C15)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finalizer."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _sums(hashed: NDArray[np.uint64], table: Codes, axis: int, count: int) -> tuple[NDArray[np.int64], ...]:
    """Sums of hashes over the entries of each label, as exact integers: a multiset's fingerprint."""
    if axis < table.ndim:
        others = tuple(i for i in range(table.ndim) if i != axis)
        return (hashed.sum(axis=others, dtype=np.uint64).view(np.int64),)
    pieces = (
        hashed & np.uint64(2**26 - 1),
        hashed >> np.uint64(38),
    )  # each sum of up to 2^27 of them is exact in float64
    flat = table.ravel()
    return tuple(np.bincount(flat, piece.ravel().astype(float), count).astype(np.int64) for piece in pieces)


def _smallest_cell(colours: Colours) -> tuple[int, int] | None:
    """(axis, colour) of labels that still look alike, on the axis least told apart: that pins a Latin square fastest."""
    cells = []
    for axis, (own, _) in enumerate(colours):
        counts = np.bincount(own)
        if len(counts) < len(own):
            size = int(counts[counts > 1].min())
            cells.append((len(counts), axis, int(np.flatnonzero(counts == size)[0])))
    return min(cells)[1:] if cells else None


def _children(colours: Colours, axis: int, colour: int) -> Iterator[Colours]:
    """One label of f singled out, with each partner in g in turn."""
    of_f, of_g = colours[axis]
    single = np.flatnonzero(of_f == colour)[0]
    for partner in np.flatnonzero(of_g == colour):
        a, b = of_f.copy(), of_g.copy()
        a[single] = b[partner] = of_f.max() + 1
        yield [*colours[:axis], (a, b), *colours[axis + 1 :]]


def _matched(of_f: Codes, of_g: Codes) -> Codes:
    """The label of g with the colour of each label of f; every colour once."""
    index = np.empty(len(of_g), dtype=np.intp)
    index[of_g] = np.arange(len(of_g))
    return index[of_f]


def _difference(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[str, str]:
    """Both lists of sizes in words: whole if short, else from the first difference on."""
    if max(len(a), len(b)) <= _SHOWN:
        return ", ".join(map(str, a)), ", ".join(map(str, b))
    if len(a) != len(b):
        return f"{len(a)} sets ({a[0]}, {a[1]}, ...)" if len(a) > 1 else str(a[0]), f"{len(b)} sets" + f" ({b[0]}, ...)"
    first = next((i for i, (p, q) in enumerate(zip(a, b, strict=True)) if p != q), 0)
    return tuple(f"..., {', '.join(map(str, c[first : first + 3]))}, ..." for c in (a, b))  # type: ignore[return-value]


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
