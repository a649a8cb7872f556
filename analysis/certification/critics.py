"""Critics: functions that learn to tell rows (s, n) from (s, n'), n' ~ N(0, I) drawn afresh."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement, pairwise

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from analysis.certification.bounds import cut, fit_scale

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Critic = Callable[[Index, Array], Array]  # (row numbers, their noise block) -> log-ratios up to a constant

LAST_CHEAP = "moments, shrunk"
MOST_COLUMNS = 1000  # products of noise dimensions among the moments


@dataclass(frozen=True)
class Block:
    """The structure block: columns s (rows, k) of unit variance, an orthonormal basis phi (rows, b) of functions of them.

    Orthonormal: phiᵀ phi = rows I. The first ``simple`` functions span (1, s, s²), the others smooth cosines.
    """

    s: Array
    phi: Array
    simple: int

    @classmethod
    def of(cls, s: Array, rng: Generator, kept: int = 48) -> "Block":
        """Cosines' phases have a standard deviation of 2 and 5 radians; their ``kept`` leading components stay."""
        s = s[:, np.ptp(s, axis=0) > 0]
        s = np.clip((s - s.mean(0)) / s.std(0), -5, 5)
        rows, k = s.shape
        q, r = np.linalg.qr(np.c_[np.ones(rows), s, s**2])
        q = q[:, np.abs(np.diag(r)) > 1e-3 * math.sqrt(rows)] * math.sqrt(rows)
        if not k:
            return cls(s, q, 1)
        waves = np.concatenate([cosines(s, 64, 2, rng), cosines(s, 64, 5, rng)], axis=1)
        waves -= q @ (q.T @ waves) / rows
        variances, axes = np.linalg.eigh(waves.T @ waves / rows)
        lead = np.flatnonzero(variances > 0.01)[-kept:]
        return cls(s, np.c_[q, waves @ (axes[:, lead] / np.sqrt(variances[lead]))], q.shape[1])


def cosines(s: Array, count: int, radians: float, rng: Generator) -> Array:
    """Random Fourier features (rows, count) of columns s of unit variance."""
    slopes = rng.normal(size=(s.shape[1], count)) * radians / math.sqrt(s.shape[1])
    return np.cos(s @ slopes + rng.uniform(0, 2 * math.pi, count))


def critics(
    block: Block, n: Array, train: Index, choose: Index, fresh: Array, rng: Generator
) -> Iterator[tuple[str, Critic]]:
    """Critics trained on rows ``train``, cheap ones first; the network stops early by its bound on rows ``choose``."""
    yield "logistic", logistic(block, n, train, rng)
    yield from moments(block, n, train)
    yield "network", network(block, n, train, choose, fresh, int(rng.integers(2**62)))


def logistic(block: Block, n: Array, train: Index, rng: Generator, ridge: float = 1e-3) -> Critic:
    """Logistic regression on phi, phi ⊗ n and n², phi an orthonormal basis of (1, s, s²); the log-ratio is its logit."""
    phi = block.phi[:, : block.simple]
    b, m = block.simple, n.shape[1]
    basis, noise = np.r_[phi[train], phi[train]], np.r_[n[train], rng.normal(size=(len(train), m))]
    squares, sign = (noise**2 - 1) / math.sqrt(2), np.repeat([1.0, -1.0], len(train))

    def loss(weights: Array) -> tuple[float, Array]:
        c, w, v = np.split(weights, [b, b + b * m])
        margin = sign * (basis @ c + ((basis @ w.reshape(b, m)) * noise).sum(1) + squares @ v)
        pull = -sign * expit(-margin) / len(sign)
        gradient = np.concatenate([basis.T @ pull, (basis.T @ (pull[:, None] * noise)).ravel(), squares.T @ pull])
        return np.logaddexp(0, -margin).mean() + ridge / 2 * weights @ weights, gradient + ridge * weights

    fitted = minimize(loss, np.zeros(b + b * m + m), jac=True, method="L-BFGS-B", options={"maxiter": 60, "ftol": 1e-7})
    c, w, v = np.split(fitted.x, [b, b + b * m])
    w = w.reshape(b, m)
    return lambda rows, noise: phi[rows] @ c + ((phi[rows] @ w) * noise).sum(1) + (noise**2 - 1) @ v / math.sqrt(2)


def moments(block: Block, n: Array, train: Index) -> Iterator[tuple[str, Critic]]:
    """First-order log-ratios: C_bj = E[phi_b(s) H_j(n)], whose sampling error under the null is 1/sqrt(rows) each.

    "moments" keeps the entries above the universal threshold sqrt(2 log(count) / rows) (Donoho and Johnstone 1994), at
    least one. "moments, shrunk" multiplies column j by max(0, 1 - limit / (rows |C_j|²)), limit the most that a null
    column's chi-squared energy reaches over all columns (Laurent and Massart 2000).
    """
    factors = hermite_factors(n.shape[1], 2 if block.s.shape[1] else 3)
    c = block.phi[train].T @ hermite(n[train], factors) / len(train)
    kept = np.where(np.abs(c) > math.sqrt(2 * math.log(c.size) / len(train)), c, 0)
    largest = np.unravel_index(np.abs(c).argmax(), c.shape)
    kept[largest] = c[largest]
    energy, log = len(train) * (c**2).sum(0), math.log(c.shape[1])
    limit = len(c) + 2 * math.sqrt(len(c) * log) + 2 * log
    shrunk = c * np.maximum(0, 1 - limit / np.maximum(energy, 1e-12))
    for name, weights in (("moments", kept), (LAST_CHEAP, shrunk)):
        used = weights.any(0)
        yield name, _moment_critic(block.phi, weights[:, used], factors[:, used])


def _moment_critic(phi: Array, weights: Array, factors: Index) -> Critic:
    return lambda rows, noise: ((phi[rows] @ weights) * hermite(noise, factors)).sum(1)


def hermite_factors(m: int, degree: int) -> Index:
    """For every product of Hermite polynomials up to ``degree`` its three factors, as columns of :func:`hermite`'s table.

    Where these would be more than ``MOST_COLUMNS`` the degree is lowered, and in the end n and its squares are left.
    """
    while degree > 1 and math.comb(m + degree, degree) > MOST_COLUMNS:
        degree -= 1
    powers = [Counter(chosen) for d in range(1, degree + 1) for chosen in combinations_with_replacement(range(m), d)]
    if degree == 1:
        powers += [Counter({i: 2}) for i in range(m)]
    columns = [[1 + (power - 1) * m + i for i, power in product.items()] for product in powers]
    return np.array([column + [0] * (3 - len(column)) for column in columns]).T


def hermite(n: Array, factors: Index) -> Array:
    """Products (rows, count) of three columns of (1, n, (n² - 1)/sqrt(2), (n³ - 3n)/sqrt(6)): orthonormal under N(0, I)."""
    table = np.c_[np.ones(len(n)), n, (n**2 - 1) / math.sqrt(2), (n**3 - 3 * n) / math.sqrt(6)]
    return table[:, factors[0]] * table[:, factors[1]] * table[:, factors[2]]


@torch.inference_mode(False)
@torch.enable_grad()
def network(block: Block, n: Array, train: Index, choose: Index, fresh: Array, seed: int) -> Critic:
    """A network (s, n) -> 64 -> 64 -> logit, fresh negatives in every batch; the epoch of the best bound on ``choose``."""
    generator = torch.Generator().manual_seed(seed)
    s = torch.as_tensor(block.s, dtype=torch.float32)

    def join(rows: Index, noise: Array | Tensor) -> Tensor:
        return torch.cat([s[torch.as_tensor(rows)], torch.as_tensor(noise, dtype=torch.float32)], dim=1)

    def bound() -> float:
        values = cut(_logits(parameters, held_out).detach().double().numpy().reshape(-1, len(choose)))
        return fit_scale(values[0], values[1:])[0]

    parameters = _initial((s.shape[1] + n.shape[1], 64, 64, 1), generator)
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=1e-2)
    held_out = torch.cat([join(choose, noise) for noise in (n[choose], *fresh)])
    best, kept, bad, epochs, patience = 0.0, [p.detach().clone() for p in parameters], 0, 40, 8
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 + math.cos(math.pi * epoch / epochs)) / 2
        order = torch.randperm(len(train), generator=generator).numpy()
        for here in np.array_split(train[order], min(20, math.ceil(len(train) / 64))):
            noise = torch.randn(len(here), n.shape[1], generator=generator)
            data, product = _logits(parameters, torch.cat([join(here, n[here]), join(here, noise)])).chunk(2)
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.softplus(torch.cat([-data, product])).mean().backward()
            optimizer.step()
        score, bad = bound(), bad + 1
        if score > best:
            best, kept, bad = score, [p.detach().clone() for p in parameters], 0
        if bad == patience:
            break
    return lambda rows, noise: _logits(kept, join(rows, noise)).double().numpy()


def _initial(sizes: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
    """Weights (out, in) and biases, layer by layer; the last layer's are zero."""
    weights = [torch.randn(b, a, generator=generator) / math.sqrt(a) * (b > 1) for a, b in pairwise(sizes)]
    return [p.requires_grad_() for w in weights for p in (w, torch.zeros(len(w)))]


def _logits(parameters: list[Tensor], x: Tensor) -> Tensor:
    w1, b1, w2, b2, w3, b3 = parameters
    hidden = torch.nn.functional.silu(torch.addmm(b1, x, w1.T))
    return torch.addmm(b3, torch.nn.functional.silu(torch.addmm(b2, hidden, w2.T)), w3.T)[:, 0]
