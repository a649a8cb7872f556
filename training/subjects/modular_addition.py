"""Modular addition: a net that adds two numbers mod 59 and gets pairs right that it never saw."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.data.activations import Activations
from training.subjects.common import Bottleneck, Subject, train_bottleneck, weights_from

PRIME = 59
WIDTH = 12


class Square(nn.Module):
    """x -> x^2: with it two layers can add angles exactly, so the net groks soon (Gromov 2023, arXiv:2301.02679)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square()


def train(seed: int = 0, rows: int = 12_000, step: int | None = None) -> Subject:
    """Trains a net (one-hot a and b -> 128, squared, -> 12, noise, -> 59) to answer a + b mod 59.

    Sources are pairs; 15 in 100 are never trained on. Every pair is shown `rows` / 3481 times, each with other noise.
    About 10 seconds on one core.

    Raises:
        ValueError: fewer rows than pairs.
    """
    pairs = PRIME**2
    if rows < pairs:
        raise ValueError(f"rows must be at least {pairs}, one for each pair, got {rows}; try rows=12000")
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randperm(pairs, generator=generator).repeat(math.ceil(rows / pairs))[:rows]
    a, b = sources // PRIME, sources % PRIME
    shown = torch.cat([nn.functional.one_hot(part, PRIME) for part in (a, b)], dim=1).float()
    inputs = torch.cat([shown, torch.randn(rows, WIDTH, generator=generator)], dim=1)
    labels = (a + b) % PRIME
    train_rows, held = Activations(inputs, labels, sources).split(seed=seed)
    with weights_from(seed):
        model = Bottleneck(nn.Sequential(nn.Linear(2 * PRIME, 128), Square(), nn.Linear(128, WIDTH)), WIDTH, PRIME)
    train_bottleneck(
        model, shown[train_rows], labels[train_rows], nn.functional.cross_entropy, generator,
        steps=1500, step=step, weight_decay=1.0, batch=512,
    )  # fmt: skip
    with torch.no_grad():
        accuracy = (model(inputs[held]).argmax(1) == labels[held]).float().mean().item()
    return Subject("modular-addition", model, "summary", inputs, sources, labels, scores={"accuracy": accuracy})
