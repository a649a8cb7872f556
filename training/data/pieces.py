"""Relevance without a net: which directions tell the rows' own pieces apart, in the layer's metric.

The pieces are those of k-means at the number, 2 to 20, whose mean silhouette (Rousseeuw 1987) is largest. A logistic regression
tells them apart; it takes the place of a net's head. Linear discriminants of clusters are used in the same way by Ding and Li
(Adaptive dimension reduction using discriminant analysis and k-means clustering, ICML 2007).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from flows.io.rows import Rows
from flows.nets.questions import Question
from flows.nets.relevance import Relevance, measure

UNCLEAR = 0.15  # a silhouette below it is no cut: analysis.alignment.retrieval goes by the same number
_MOST_PIECES = 20
_FITTED, _JUDGED = 4000, 1500  # rows that k-means and silhouettes are of
_FEWEST_A_PIECE = 10


def pieces_apart(
    x: Tensor | Rows, train: Tensor, held_out: Tensor, sources: Tensor | None, limits: tuple[float, float], seed: int
) -> tuple[Relevance | None, str]:
    """Relevance of the layer (N, D) for the question which piece a row is of, and a note; None where no cut is clear.

    Args:
        x: rows of the layer.
        train, held_out: row numbers; pieces, G and covariance are of the first, what is lost of the second.
        sources: (N,); rows exchange coordinates with rows of other sources.
        limits: largest loss of information and least agreement of answers, as :func:`flows.nets.relevance.measure`.
        seed: draws the rows that are cut, and starts k-means.
    """
    rows = x[train].double()
    mean, scale = rows.mean(0), rows.var(0).mean().sqrt()
    rows = (rows - mean) / scale
    labels, clearness = clearest_cut(rows, seed)
    if clearness < UNCLEAR:
        return None, (
            f"front: no clear pieces (largest silhouette {clearness:.2f}, it takes {UNCLEAR}), "
            "so directions are those of model.front=auto"
        )
    tell = told_apart(rows, labels)
    head = Question(lambda row: tell((row.double() - mean) / scale).to(row))
    found = measure(head, x, train, held_out, *limits, seed, sources=sources)  # type: ignore[arg-type]
    note = (
        f"front: {found.kept} of {x.shape[1]} directions tell {int(labels.max()) + 1} pieces apart (k-means in the layer's "
        f"metric, silhouette {clearness:.2f}); what is bent within pieces, in other directions, counts as Gaussian"
    )
    return replace(found, answer="pieces"), note


def clearest_cut(rows: Tensor, seed: int) -> tuple[Tensor, float]:
    """Labels (n,) of rows (n, D) by k-means at the number of the largest mean silhouette, and that silhouette."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    generator = torch.Generator().manual_seed(seed)
    fitted, judged = (
        rows[torch.randperm(len(rows), generator=generator)[:most]].numpy() for most in (_FITTED, _JUDGED)
    )
    best, clearness = None, -1.0
    for count in range(2, min(_MOST_PIECES, len(fitted) // _FEWEST_A_PIECE) + 1):
        means = KMeans(count, n_init=2, random_state=seed).fit(fitted)
        labels = means.predict(judged)
        clear = float(silhouette_score(judged, labels)) if 1 < len(set(labels.tolist())) < len(labels) else -1.0
        if clear > clearness:
            best, clearness = means, clear
    if best is None:
        return torch.zeros(len(rows), dtype=torch.long), clearness
    return torch.from_numpy(best.predict(rows.numpy())).long().unique(return_inverse=True)[1], clearness


def told_apart(rows: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Logits (n, C) of a multinomial logistic regression of labels (n,) on rows (n, D), its weights a priori N(0, 1)."""
    weight = torch.zeros(rows.shape[1], int(labels.max()) + 1, dtype=rows.dtype, requires_grad=True)
    bias = torch.zeros(weight.shape[1], dtype=rows.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(rows @ weight + bias, labels)
        value = value + 0.5 * weight.square().sum() / len(rows)
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    weight, bias = weight.detach(), bias.detach()
    return lambda row: row @ weight + bias
