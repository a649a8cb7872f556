"""What an alignment carries over: labels to b's rows, and a's rows through b's head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.alignment.rigid import Floats
from analysis.alignment.scores import label_transfer

Head = Callable[[Any], Any]


@dataclass(frozen=True)
class Stitched:
    """Rows of a, mapped into b's layer, through b's head.

    Attributes:
        answers: (n_a,) what b's head says of a's rows.
        accuracy: share of them that are a's labels; None without labels.
        own: the same share for b's own rows, the ceiling; None without labels.
    """

    answers: NDArray[Any]
    accuracy: float | None
    own: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the answers."""
        return {"accuracy": self.accuracy, "own": self.own}


@dataclass(frozen=True)
class Transfer:
    """Labels of a on b's rows.

    Attributes:
        accuracy: share of b's rows whose label a vote of the 5 nearest mapped rows of a gets right.
        own: the same by a vote of b's own rows, one half for the other: what b's geometry allows.
    """

    accuracy: float
    own: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def stitched(
    rows: tuple[Any, Any], head: Head | tuple[ArrayLike, ArrayLike], labels: tuple[ArrayLike | None, ArrayLike | None]
) -> Stitched:
    """Answers of b's head to rows in b's layer.

    Args:
        rows: a's rows mapped, and b's own, (n_a, D_b) and (n_b, D_b).
        head: a callable from rows to answers (n,) or scores (n, classes), or the weight (classes, D_b) and bias (classes,).
        labels: of a's rows and of b's; None where there are none.
    """
    answers = [_answers(head, x) for x in rows]
    shares = [
        None if of is None else float((said == np.asarray(of)).mean()) for said, of in zip(answers, labels, strict=True)
    ]
    return Stitched(answers[0], *shares)


def transferred(mapped: Floats, of_a: ArrayLike, target: Floats, of_b: ArrayLike, seed: int) -> Transfer:
    """Labels of mapped rows of a on b's rows (n_b, D_b), and what b's own give."""
    order = np.random.default_rng([seed, 15]).permutation(len(target))
    one, other = order[::2], order[1::2]
    truth = np.asarray(of_b)
    own = label_transfer(target[one], truth[one], target[other], truth[other])
    return Transfer(label_transfer(mapped, of_a, target, of_b), own)


def _answers(head: Head | tuple[ArrayLike, ArrayLike], rows: Any) -> NDArray[Any]:
    if callable(head):
        said = np.asarray(head(rows))
    else:
        weight, bias = (np.asarray(part, dtype=np.float64) for part in head)
        if weight.ndim != 2 or weight.shape[1] != np.shape(rows)[1]:
            raise ValueError(
                f"the head's weight must have shape (classes, {np.shape(rows)[1]}), got {weight.shape}; pass (weight, bias) "
                "of b's last layer, or a callable"
            )
        said = np.asarray(rows, dtype=np.float64) @ weight.T + bias
    if said.ndim not in (1, 2) or len(said) != len(rows):
        raise ValueError(f"the head must give one answer a row, {len(rows)} of them, got shape {said.shape}")
    return said if said.ndim == 1 else said.argmax(1)
