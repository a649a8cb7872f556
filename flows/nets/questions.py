"""A question to what comes after a layer: a head is asked at rows of the layer, and what it answers is checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flows.nets.answers import AT_ONCE, Normal, Softmax

_BATCH = 1024  # rows a head is asked about at once; a head with an attribute ``batch`` says for itself

Head = Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class Question:
    """What comes after a layer, and what its answer is.

    Attributes:
        head: from rows (n, D) of the layer to the net's answer (n, ...), differentiable. One with an attribute ``at`` is first
            asked for the head of certain rows, ``head.at(numbers)``: what comes after the layer may depend on the row.
        answer: "softmax" (logits), "gaussian" (numbers with their ``noise``), "cosine" (an embedding), or a function from the
            head's output to log-probabilities (n, C).
        noise: of "gaussian" and "cosine": sd, sds (q,) or covariance (q, q); by default a tenth of the answers' spread.
    """

    head: Head
    answer: str | Callable[[Tensor], Tensor] = "softmax"
    noise: object = None


class RelevanceError(ValueError):
    """A head or an answer that nothing can be measured with; the message says why."""


def batch_of(head: Head) -> int:
    """How many rows ``head`` is asked about at once."""
    return int(getattr(head, "batch", None) or _BATCH)


def at_rows(head: Head, numbers: Tensor) -> Head:
    return head.at(numbers) if hasattr(head, "at") else head


class Displaced:
    """A head of rows that something was taken off: it is asked at ``x + offset``, as the net would be.

    Args:
        head: from rows (n, D) of the layer to the net's answer.
        offset: (N, D), what was taken off each row.
    """

    def __init__(self, head: Head, offset: Tensor):
        self.head, self.offset, self.batch = head, offset, batch_of(head)

    def __call__(self, x: Tensor) -> Tensor:
        """Answers of all N rows ``x`` (N, D)."""
        return self.head(x + self.offset)

    def at(self, numbers: Tensor) -> Head:
        """The head of the rows ``numbers`` (n,)."""
        head, offset = at_rows(self.head, numbers), self.offset[numbers]
        return lambda x: head(x + offset.to(x))


@torch.no_grad()
def answers_at(head: Head, x: Tensor, rows: Tensor, own: bool = True) -> Tensor:
    """The head's output (n, q) at rows numbered ``rows`` of ``x``, or at ``x`` in their places, on the CPU.

    Raises:
        RelevanceError: an answer that is not one row of finite numbers for each row.
    """
    parts = []
    for places in torch.arange(len(rows)).split(batch_of(head)):
        numbers = rows[places]
        output = at_rows(head, numbers)(x[numbers if own else places])
        if not isinstance(output, Tensor) or not output.is_floating_point():
            got = output.dtype if isinstance(output, Tensor) else type(output).__name__
            raise RelevanceError(
                f"the head must return a tensor of floating-point numbers, got {got}; return logits or numbers"
            )
        if output.ndim < 2:
            output = output[:, None] if output.ndim else output[None, None]
        if len(output) != len(places):
            raise RelevanceError(
                f"the head returned {len(output)} answers for {len(places)} rows, expected one a row; "
                "it must take rows (n, D) and return (n, ...)"
            )
        parts.append(output.flatten(1).cpu())
    found = torch.cat(parts)
    bad = int((~found.isfinite().all(1) & ~(found == -torch.inf).any(1)).sum())
    if bad:
        raise RelevanceError(f"the head's answer is NaN or inf at {bad} of {len(found)} rows; check the head there")
    return found


def steadiness(head: Head, x: Tensor, rows: Tensor, outputs: Tensor, kind: Softmax | Normal) -> list[str]:
    """A note where the same rows get other answers the second time."""
    again = answers_at(head, x, rows[: min(batch_of(head), AT_ONCE)])
    moved = float(kind.divergence(outputs[: len(again)], again).mean())
    if moved > 1e-6:
        return [
            f"the head is not deterministic: the same rows get answers {moved:.3g} nats apart the second time; "
            "put the model in eval mode (dropout off), or that much counts as lost"
        ]
    return []
