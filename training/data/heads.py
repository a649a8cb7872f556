"""What a net uses of a layer, measured from rows and from what comes after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from flows.nets.questions import Head, Question, RelevanceError
from flows.nets.relevance import LARGEST_LOSS, LEAST_AGREEMENT, MOST_ROWS, Relevance, measure
from training.data.activations import Activations

FEWEST_ROWS = 50


def relevance(
    head: Head,
    x: object,
    answer: str | Callable[[Tensor], Tensor] = "softmax",
    *,
    noise: object = None,
    groups: Any = None,
    largest_loss: float = LARGEST_LOSS,
    least_agreement: float = LEAST_AGREEMENT,
    held_out: float = 0.15,
    seed: int = 0,
    most_rows: tuple[int, int] = (MOST_ROWS, MOST_ROWS),
) -> Relevance:
    """How many directions of a layer the net's answer uses, and which.

    Args:
        head: from rows (n, D) of the layer to the net's answer; any differentiable torch callable, or a :class:`flows.Tail`.
        x: rows (N, D), or :class:`~training.Activations`.
        answer: "softmax" over logits, "gaussian" (a regression, with its ``noise``), "cosine" (an embedding), or a function
            from the head's output to log-probabilities (n, C).
        noise: sd, sds (q,) or covariance (q, q) of a regression's answers; by default a tenth of their spread.
        groups: (N,) source of each row; no source is on both sides of the split.
        largest_loss, least_agreement: what the kept directions may lose of the information, and must keep of the answers.
        held_out: share of the sources on which the loss is measured.
        seed: draws the split, and rows that exchange coordinates.
        most_rows: how many training rows gradients are taken at, and how many held-out rows exchange coordinates.

    Raises:
        ValueError: unusable rows, a head whose answer is not one finite differentiable row for each, or that does not depend
            on the layer.
    """
    activations = x if isinstance(x, Activations) else Activations(x, sources=groups)  # type: ignore[arg-type]
    if len(activations) < FEWEST_ROWS:
        raise RelevanceError(f"too few rows: got {len(activations)}, expected at least {FEWEST_ROWS}; add rows")
    train, held = activations.split(held_out, seed)
    question = Question(head, answer, noise)
    rows = activations.x[:]
    limits = (largest_loss, least_agreement)
    return measure(question, rows, train, held, *limits, seed, sources=activations.sources, most_rows=most_rows)
