"""Is the structure aligned with the neurons? How few of them each structure coordinate reads, against random rotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class NeuronBasis:
    """How closely structure follows the neurons.

    Attributes:
        shares: (k, D) share of each neuron in each structure coordinate's mean squared gradient, rows sum to 1.
        block: (D,) share of each neuron in the space that the gradients of all coordinates span, whatever coordinates
            the block is given; it sums to 1.
        random: (rotations, k) and (rotations,): the number of axes read where random rotations take the neurons' place.
        p_values: (k,) share of the rotations (the neurons included) whose axes are followed as closely, coordinate by
            coordinate, uncorrected; uniform where the layer has no preferred basis.
        block_p_value: that of the block; 1 where k = D, since all of the layer is then structure.
    """

    shares: Floats
    block: Floats
    random: Floats
    random_block: Floats
    p_values: Floats
    block_p_value: float

    @property
    def neurons_read(self) -> Floats:
        """(k,) effective number of neurons, 1 / sum of squared shares: 1 is one neuron, D all alike."""
        return _effective(self.shares)

    @property
    def neurons_of_block(self) -> float:
        """That of the block: k if k neurons carry it."""
        return float(_effective(self.block))

    def columns(self) -> dict[str, list[str]]:
        """For print: heads, and a cell for each coordinate."""
        top = self.shares.argmax(1)
        return {
            "neurons read": [f"{n:.1f}" for n in self.neurons_read],
            "random": [f"{n:.1f}" for n in np.median(self.random, 0)],
            "p": [f"{p:.3f}" for p in self.p_values],
            "most of": [f"{i} ({self.shares[j, i]:.0%})" for j, i in enumerate(top.tolist())],
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "shares": self.shares.tolist(), "neurons_read": self.neurons_read.tolist(),
            "random_median": np.median(self.random, 0).tolist(), "p_values": self.p_values.tolist(),
            "block": self.block.tolist(), "neurons_of_block": self.neurons_of_block,
            "block_random_median": float(np.median(self.random_block)), "block_p_value": self.block_p_value,
            "rotations": len(self.random),
        }  # fmt: skip


def neuron_basis(gradients: Tensor, x: Tensor, rotations: int, seed: int) -> NeuronBasis:
    """Compare the neurons with random rotations of them.

    Everything is measured in whitened activations w, x = mean + C^(1/2) w with the symmetric root of their covariance C: of all
    whitenings the one whose axes stay nearest to the neurons (Kessy, Lewin and Strimmer 2018). So neither the neurons' scales nor
    their correlations count as a preferred basis, and the p-values are exact: where the layer, or its whitened
    structure, is a random rotation of another, they are uniform.

    Args:
        gradients: (n, k, D) of each structure coordinate by the neurons.
        x: (m, D) activations that say what C is.
        rotations: number of random rotations, uniform on O(D).
        seed: draws these; global random state is not touched.
    """
    values, axes = torch.linalg.eigh(torch.cov(x.double().T).reshape(x.shape[1], -1))
    root = (axes * values.clamp_min(0).sqrt()) @ axes.T
    white = gradients.double() @ root
    each = torch.nn.functional.normalize(white, dim=2)
    block = _spans(white)
    generator = torch.Generator().manual_seed(seed)
    counts, blocks = [], []
    for _ in range(rotations):
        turn = _rotation(x.shape[1], generator).to(white)
        counts.append(_effective(_shares(each @ turn)))
        blocks.append(_effective(_shares_of_spans(block @ turn)))
    shares, of_block = _shares(each), _shares_of_spans(block)
    random, random_block = np.array(counts), np.array(blocks)
    return NeuronBasis(
        shares, of_block, random, random_block,
        _p_values(random, _effective(shares)), float(_p_values(random_block, _effective(of_block))),
    )  # fmt: skip


def _p_values(random: Floats, seen: Floats) -> Floats:
    close = random <= seen * (1 + 1e-9)  # ties count: where all of the layer is structure every rotation is one
    return (1 + close.sum(0)) / (1 + len(random))


def _effective(shares: Floats) -> Floats:
    return 1 / np.square(shares).sum(-1)


def _shares(each: Tensor) -> Floats:
    """(k, D) of gradients (n, k, D) of length 1 (or 0, where a coordinate is flat)."""
    squared = each.square().mean(0)
    return (squared / squared.sum(1, keepdim=True).clamp_min(1e-300)).cpu().numpy()


def _spans(white: Tensor) -> Tensor:
    """Orthonormal rows (n, k, D) that span the gradients at every row; zero beyond their rank."""
    _, s, vt = torch.linalg.svd(white, full_matrices=False)
    return vt * (s > 1e-6 * s[:, :1])[:, :, None]


def _shares_of_spans(spans: Tensor) -> Floats:
    leverage = spans.square().sum(1).mean(0)
    return (leverage / leverage.sum().clamp_min(1e-300)).cpu().numpy()


def _rotation(dims: int, generator: torch.Generator) -> Tensor:
    """Uniform on O(dims)."""
    q, r = torch.linalg.qr(torch.randn(dims, dims, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()
