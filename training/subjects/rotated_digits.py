"""Rotated digits: a net that tells by how much a handwritten three is turned; its layer carries a circle."""

from __future__ import annotations

import math

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from training.data.activations import Activations
from training.subjects.common import Bottleneck, Subject, angle_errors, train_bottleneck, weights_from

DIGIT = 3
SIZE = 12  # pixels; the 8 x 8 image turns inside without losing its corners
WIDTH = 12
RADIUS = 8.0  # of the layer's mean, in units of the noise


class OnSphere(nn.Module):
    """Rows scaled to length RADIUS: an image that the net is unsure of is not drawn in towards the middle of the circle."""

    def forward(self, x: Tensor) -> Tensor:
        return RADIUS * nn.functional.normalize(x)


def train(seed: int = 0, rows: int = 12_000, step: int | None = None) -> Subject:
    """Trains a net (144 -> 64 -> 12, noise, -> 2) to answer (cos, sin) of the angle of scikit-learn's threes.

    Every showing is turned by an angle of its own, uniform over the circle; sources are images. The noisy bottleneck
    (`Bottleneck`) is what makes the layer circle x noise: without it every direction of the layer is a bent function
    of angle and handwriting, and kappa = 1 calls all of that structure (a linear layer without noise: k = 11 of 12). About
    3 seconds on one core.

    Raises:
        ValueError: fewer rows than images (183).
    """
    data = load_digits()
    images = torch.tensor(data.images[data.target == DIGIT] / 16, dtype=torch.float32)
    if rows < len(images):
        raise ValueError(f"rows must be at least {len(images)}, one for each image, got {rows}; try rows=12000")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    sources = order.repeat(math.ceil(rows / len(order)))[:rows]
    angle = torch.rand(rows, generator=generator) * 2 * math.pi
    shown = _turned(images[sources], angle).flatten(1)
    inputs = torch.cat([shown, torch.randn(rows, WIDTH, generator=generator)], dim=1)
    targets = torch.stack([angle.cos(), angle.sin()], dim=1)
    train_rows, held = Activations(inputs, sources=sources).split(seed=seed)
    with weights_from(seed):
        encoder = nn.Sequential(nn.Linear(SIZE**2, 64), nn.SiLU(), nn.Linear(64, WIDTH), OnSphere())
        model = Bottleneck(encoder, WIDTH, 2)
    train_bottleneck(
        model, shown[train_rows], targets[train_rows], _one_less_cosine, generator, steps=1200, step=step, beta=0.0
    )
    with torch.no_grad():
        error = angle_errors(model(inputs[held]), angle[held]).median().item()
    scores = {"median_error_degrees": error}
    return Subject(
        "rotated-digits", model, "summary", inputs, sources, targets=angle[:, None], scores=scores, answer="cosine"
    )


def _one_less_cosine(answer: Tensor, target: Tensor) -> Tensor:
    return (1 - nn.functional.cosine_similarity(answer, target)).mean()


def _turned(images: Tensor, angle: Tensor) -> Tensor:
    """Each of (N, H, W) images turned about its centre on a canvas of SIZE x SIZE."""
    count, _, width = images.shape
    cos, sin, zero = angle.cos() * SIZE / width, angle.sin() * SIZE / width, torch.zeros(count)
    turn = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = nn.functional.affine_grid(turn, [count, 1, SIZE, SIZE], align_corners=False)
    return nn.functional.grid_sample(images[:, None], grid, "bicubic", "zeros", align_corners=False)[:, 0]
