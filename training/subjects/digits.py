"""Digits: a classifier of handwritten digits; its layer carries the classes."""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import islice

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from training.data.activations import Activations
from training.subjects.common import Subject, weights_from

TURN = math.radians(10)  # largest turn of a shown image
SHIFT = 0.5  # largest shift, pixels


def train(seed: int = 0, rows: int = 12_000, step: int | None = None, half: int | None = None) -> Subject:
    """Trains a classifier (64 -> 64 -> 32 -> 10) on scikit-learn's 8 x 8 digits, each shown several times.

    Every showing is turned by up to 10 degrees and shifted by up to half a pixel. The net is trained on the sources
    that `Activations.split(seed=seed)` puts on the training side. About 2 seconds on one core.

    Args:
        seed: of everything random: showings, split, initial weights, batches.
        rows: how many showings, at least one for each of the 1797 images.
        half: 0 for the images of even number alone, 1 for the others: two nets that share no image.

    Raises:
        ValueError: too few rows.
    """
    data = load_digits()
    images = torch.arange(len(data.images))[half or 0 :: 1 if half is None else 2]
    if rows < len(images):
        raise ValueError(f"rows must be at least {len(images)}, one for each image, got {rows}; try rows=12000")
    generator = torch.Generator().manual_seed(seed)
    order = images[torch.randperm(len(images), generator=generator)]
    sources = order.repeat(math.ceil(rows / len(order)))[:rows]
    inputs = _shown(torch.tensor(data.images / 16, dtype=torch.float32)[sources], generator).flatten(1)
    labels = torch.tensor(data.target)[sources]
    train_rows, held = Activations(inputs, labels, sources).split(seed=seed)
    model = _classifier(seed)
    _train(model, inputs[train_rows], labels[train_rows], generator, step)
    with torch.no_grad():
        accuracy = (model(inputs[held]).argmax(1) == labels[held]).float().mean().item()
    return Subject("digits", model, "summary", inputs, sources, labels, scores={"accuracy": accuracy})


def _shown(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turns and shifts (N, H, W) images, each in its own way."""
    count, _, width = images.shape
    turn, right, down = torch.rand(3, count, generator=generator) * 2 - 1
    cos, sin, unit = (turn * TURN).cos(), (turn * TURN).sin(), 2 * SHIFT / width  # the grid runs from -1 to 1
    rows = [torch.stack([cos, -sin, right * unit], 1), torch.stack([sin, cos, down * unit], 1)]
    grid = nn.functional.affine_grid(torch.stack(rows, 1), [count, 1, *images.shape[1:]], align_corners=False)
    # The digits touch the upper and lower edge: zero padding would fade them, and bilinear would blur them.
    return nn.functional.grid_sample(images[:, None], grid, "bicubic", "border", align_corners=False)[:, 0]


def _classifier(seed: int) -> nn.Module:
    # SiLU: smooth, and no flat part where float32 values would tie and so have no density.
    with weights_from(seed):
        return nn.Sequential(
            OrderedDict(
                hidden=nn.Sequential(nn.Linear(64, 64), nn.SiLU()),
                summary=nn.Sequential(nn.Linear(64, 32), nn.SiLU()),
                classes=nn.Linear(32, 10),
            )
        )


def _train(
    model: nn.Module, inputs: Tensor, labels: Tensor, generator: torch.Generator, step: int | None, epochs: int = 15
) -> None:
    optimizer = torch.optim.AdamW(model.parameters())
    steps = epochs * math.ceil(len(inputs) / 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.024, total_steps=steps)
    batches = (b for _ in range(epochs) for b in torch.randperm(len(inputs), generator=generator).split(256))
    for batch in islice(batches, step):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()
        schedule.step()
    model.eval()
