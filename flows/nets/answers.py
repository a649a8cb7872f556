"""What a net answers, as a distribution: how far two answers are apart, and which gradients make up its Fisher information."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from flows.io.inputs import nearest

EXACT = 32  # up to so many answers all are summed over; beyond, answers are drawn
AT_ONCE = 256  # rows whose answers are float64 at a time
SHARE = 0.1  # sd of a regression's noise where none is given, as a share of the answers' spread


@dataclass(frozen=True)
class Softmax:
    """One of C answers y with probabilities p(y | x).

    Attributes:
        log_probs: from the head's output to log-probabilities (n, C) in nats; log-softmax of logits by default.
    """

    log_probs: Callable[[Tensor], Tensor] = lambda logits: logits.log_softmax(-1)

    def information(self, output: Tensor) -> float:
        """I(y; x) = H(mean p) - mean H(p) in nats, of the head's outputs (n, C)."""
        mean, entropy = torch.tensor(-math.inf), 0.0
        for part in output.split(AT_ONCE):  # in float64 they would be many
            logs = self._checked(part)
            mean = torch.logaddexp(mean, logs.logsumexp(0))
            entropy += float(_entropy(logs).sum())
        return float(_entropy(mean - math.log(len(output)))) - entropy / len(output)

    def divergence(self, output: Tensor, other: Tensor) -> Tensor:
        """KL(p || p') (n,) in nats."""
        logs, others = self._checked(output), self._checked(other)
        return (logs.exp() * (logs - others).nan_to_num(0.0)).sum(1)

    def agreement(self, output: Tensor, other: Tensor) -> Tensor:
        """1 where the likeliest answer is the same, (n,)."""
        return (output.argmax(1) == other.argmax(1)).double()

    def losses(self, output: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Numbers (n,) to take gradients of and their weights (n,): log p(y | x) and p(y | x), or one drawn y and 1."""
        logs = self.log_probs(output)
        probs = logs.detach().exp()
        if logs.shape[1] <= EXACT:
            yield from ((logs[:, y], probs[:, y]) for y in range(logs.shape[1]))
            return
        drawn = torch.multinomial(probs.cpu().float(), 1, generator=generator).to(logs.device)
        yield logs.gather(1, drawn)[:, 0], torch.ones_like(logs[:, 0])

    def _checked(self, output: Tensor) -> Tensor:
        logs = self.log_probs(output.double())
        if logs.ndim != 2 or logs.shape[1] < 2:
            raise ValueError(
                f"an answer of several classes must be (rows, classes >= 2), got shape {tuple(logs.shape)}; "
                "for a regression pass answer='gaussian'"
            )
        return logs


@dataclass(frozen=True)
class Normal:
    """A number or vector y ~ N(f(x), S): a regression with its noise, or an embedding that is compared by cosine.

    Attributes:
        root: (q, q), S^(-1/2): differences times it are in units of the noise.
        on_sphere: whether outputs are brought to length 1 first.
        centre: (q,) mean of the outputs, which agreement is measured from; on a sphere 0.
    """

    root: Tensor
    on_sphere: bool = False
    centre: Tensor | None = None

    @classmethod
    def of(cls, outputs: Tensor, noise: object = None, on_sphere: bool = False) -> Normal:
        """With ``noise`` as sd, sds (q,) or covariance (q, q); by default a tenth of the outputs' spread (n, q), the same on
        every axis.

        Raises:
            ValueError: noise of another shape, or not positive.
        """
        values = cls(torch.eye(outputs.shape[1]).double(), on_sphere).means(outputs.double())
        width, centre = values.shape[1], None if on_sphere else values.mean(0)
        if noise is None:
            spread = values.var(0, correction=0).sum().div(width).sqrt()
            return cls(torch.eye(width).double() / (SHARE * spread).clamp_min(1e-30), on_sphere, centre)
        given = torch.as_tensor(noise, dtype=torch.float64)
        covariance = given.square().expand(width).diag() if given.ndim < 2 and given.numel() in (1, width) else given
        if covariance.shape != (width, width):
            raise ValueError(
                f"noise must be a standard deviation, {width} of them or a covariance ({width}, {width}), "
                f"got shape {tuple(given.shape)}"
            )
        values, vectors = torch.linalg.eigh(covariance)
        if not bool((values > 0).all()):
            raise ValueError(
                f"noise must be positive, got a covariance with least eigenvalue {float(values.min()):.3g}"
            )
        return cls(vectors / values.sqrt() @ vectors.T, on_sphere, centre)

    def means(self, output: Tensor) -> Tensor:
        """f(x) (n, q)."""
        if output.ndim != 2:
            raise ValueError(f"an answer in numbers must be (rows, numbers), got shape {tuple(output.shape)}")
        return torch.nn.functional.normalize(output, dim=1) if self.on_sphere else output

    def information(self, output: Tensor) -> float:
        """I(y; x) in nats as if f(x) were Gaussian: 1/2 log det(I + S^(-1/2) Cov f S^(-1/2))."""
        scaled = self.means(output.double()) @ self.root.to(output.device)
        covariance = torch.cov(scaled.T, correction=0).reshape(scaled.shape[1], scaled.shape[1])
        return 0.5 * float(torch.logdet(torch.eye(len(covariance)).to(covariance) + covariance))

    def divergence(self, output: Tensor, other: Tensor) -> Tensor:
        """KL = 1/2 |S^(-1/2) (f - f')|^2 (n,) in nats."""
        moved = self.means(output.double()) - self.means(other.double())
        return 0.5 * (moved @ self.root.to(moved.device)).square().sum(1)

    def agreement(self, output: Tensor, other: Tensor) -> Tensor:
        """Cosine of the two answers (n,), taken from the outputs' mean where they are not on a sphere."""
        one, two = self.means(output.double()), self.means(other.double())
        if not self.on_sphere:
            centre = one.mean(0) if self.centre is None else self.centre.to(one)
            one, two = one - centre, two - centre
        return torch.nn.functional.cosine_similarity(one, two, dim=1)

    def losses(self, output: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Columns of S^(-1/2) f(x) with weight 1, or of many one random combination a row: E_v (v^T J)^T v^T J = J^T J."""
        scaled = self.means(output) @ self.root.to(output)
        ones = torch.ones_like(scaled[:, 0])
        if scaled.shape[1] <= EXACT:
            yield from ((scaled[:, j], ones) for j in range(scaled.shape[1]))
            return
        drawn = torch.randn(scaled.shape, generator=generator).to(scaled)
        yield (scaled * drawn).sum(1), ones


def answer_of(kind: str | Callable[[Tensor], Tensor], outputs: Tensor, noise: object = None) -> Softmax | Normal:
    """The distribution behind a head's outputs (n, ...): "softmax", "gaussian", "cosine", or a function to log-probabilities.

    Raises:
        ValueError: an unknown name, or outputs that are no such answer.
    """
    if callable(kind):
        return Softmax(kind)
    kinds: dict[str, Callable[[], Softmax | Normal]] = {
        "softmax": lambda: Softmax(),
        "gaussian": lambda: Normal.of(outputs, noise),
        "cosine": lambda: Normal.of(outputs, noise, on_sphere=True),
    }
    if kind not in kinds:
        raise ValueError(f"unknown answer {kind!r}; {nearest(str(kind), kinds)}, or a function to log-probabilities")
    return kinds[kind]()


def _entropy(logs: Tensor) -> Tensor:
    return -(logs.exp() * logs.nan_to_num(neginf=0.0)).sum(-1)
