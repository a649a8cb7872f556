"""A bar on a terminal for loops that take longer than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def tracked(steps: Iterable[T], what: str, unit: str = "step", total: int | None = None) -> Iterable[T]:
    """The same steps; on a terminal a bar on standard error, named ``what``, appears once they take two seconds."""
    from tqdm import tqdm

    return tqdm(steps, what, total, delay=2, unit=unit, disable=None, leave=False, file=sys.stderr)
