"""FunnelFlow: front, funnel and gated base put together; tensors in original units in and out."""

import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from flows.augment import log_normal, row_noise
from flows.base import GatedMixture
from flows.exits import Exits
from flows.field import Field
from flows.front import Front
from flows.geometry.nuisance import Nuisance
from flows.io.inputs import as_rows
from flows.io.rows import Rows
from flows.solver import Solution, dopri5, invert_rk4, rk4, rk4_states

DRAWS = 16
ENERGIES = ("whitened", "layer")
_CHUNK = 8192


class FunnelFlow(nn.Module):
    r"""A continuous normalizing flow that narrows with depth.

       Data at t = 0, latent at t = 1: x -> front -> z(0) -> dz/dt = m(t) * f(t, m(t) * z) -> z(1) -> gated mixture.
       Dimensions whose gate is above 0 are the structure block s, the rest is noise N(0, I) independent of s.

       All methods take and return tensors in original units, in the dtype and on the device of the parameters;
       densities are in nats per row. Where a flow was fitted with a ``nuisance``, rows may come with theirs,
       which is taken off first (``inverse`` and ``decode`` put it back), or without. One pass costs
    ``4 * steps`` field evaluations.

       Args:
           features: D, columns of the data.
           used: columns that the front keeps (default all).
           dims: M, dimensions of the state, augmented ones included (default ``used + augment``).
           hidden: H, hidden width of the field.
           components: K, components of the base mixture.
           exit_width: w, the stretch of depth over which a dimension leaves.
           law: gate law of the base, ``"bernoulli"`` or ``"channel"``.
           steps: fixed RK4 steps from data to latent.
           seed: draws the field's initial weights.
           augment: A, dimensions of N(0, I) appended to the data: room to untangle in. Each row has draws of its own, a
               function of the row alone (:func:`flows.augment.row_noise`).
           front: which directions enter, ``"whiten"``, ``"principal"`` or ``"relevance"`` (:class:`flows.Front`).
           stored: S, directions of the front with an sd of their own (default all ``used``).
           energy: in what the kinetic energy measures movement: ``"whitened"`` units, or the ``"layer"``'s own, in which a
            direction of twice the sd costs four times as much (mean 1 over the kept directions).
        nuisance: what is taken off rows before anything else, or the arguments ``levels`` and ``numbers`` that make it.

       Example:
           >>> import torch, flows
           >>> flow = flows.FunnelFlow.from_rows(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)))
           >>> flow.transform(torch.zeros(2, 3)).shape
           torch.Size([2, 3])
    """

    order: Tensor

    def __init__(
        self,
        features: int,
        used: int | None = None,
        dims: int | None = None,
        hidden: int = 64,
        components: int = 32,
        exit_width: float = 0.25,
        law: str = "bernoulli",
        steps: int = 4,
        seed: int = 0,
        augment: int = 0,
        front: str = "whiten",
        stored: int | None = None,
        energy: str = "whitened",
        nuisance: Nuisance | dict[str, Any] | None = None,
    ):
        super().__init__()
        self.nuisance = Nuisance(features, **nuisance) if isinstance(nuisance, dict) else nuisance
        if energy not in ENERGIES:
            raise ValueError(f"energy must be one of {', '.join(ENERGIES)}, got {energy!r}")
        self.energy = energy
        self.front = Front(features, used, dims, augment, front, stored)
        dims = self.front.dims
        self.field = Field(dims, hidden, torch.Generator().manual_seed(seed))
        self.exits = Exits(dims, exit_width)
        self.base = GatedMixture(dims, components, law)
        self.steps = steps
        self.seed = seed
        self.register_buffer("order", torch.arange(dims))

    @classmethod
    def from_rows(
        cls,
        x: object,
        noise_floor: float = 1e-3,
        columns: str = "set-aside",
        augment: int = 0,
        front: str = "whiten",
        metric: Tensor | None = None,
        keep: int | None = None,
        **settings,
    ) -> "FunnelFlow":
        """A flow, identity beyond its front, whose front is fitted to ``x`` (N, D); ``settings`` as the constructor.

        ``x`` may be :class:`~flows.io.rows.Rows` that are not in memory: it is read once, in chunks. The other arguments are
        those of :meth:`flows.Front.from_rows`.
        """
        rows = x if isinstance(x, Rows) else as_rows(x, min_rows=2).detach()
        return cls.behind(Front.from_rows(rows, noise_floor, columns, augment, front, metric, keep), **settings)

    @classmethod
    def behind(cls, front: Front, **settings) -> "FunnelFlow":
        """A flow, identity beyond a front that is fitted already, in its dtype."""
        flow = cls(
            front.features,
            front.used,
            front.dims,
            augment=front.augment,
            front=front.kind,
            stored=front.stored,
            **settings,
        )
        flow.front = front
        return flow.to(front.scales.dtype)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments, plain data; what the store writes."""
        front, field, nuisance = self.front, self.field, self.nuisance
        return {
            "features": front.features,
            "used": front.used,
            "dims": front.dims,
            "hidden": field.hidden,
            "components": self.base.components,
            "exit_width": self.exits.width,
            "law": self.base.law,
            "steps": self.steps,
            "seed": self.seed,
            "augment": front.augment,
            "front": front.kind,
            "stored": front.stored,
            "energy": self.energy,
            "nuisance": nuisance and {"levels": nuisance.levels, "numbers": nuisance.numbers},
        }

    def twin(self) -> "FunnelFlow":
        """A flow of the same config and dtype with values of its own, not yet these."""
        return FunnelFlow(**self.config).to(self.exits.tau.dtype)

    @property
    def features(self) -> int:
        """D, columns of the data."""
        return self.front.features

    @property
    def gates(self) -> Tensor:
        """g (M,): 1 structure, 0 noise."""
        return self.exits.gates

    @property
    def structure(self) -> Tensor:
        """Indices (k,) of the dimensions with g > 0, in order of falling price."""
        return self.order[self.gates.detach()[self.order] > 0]

    @property
    def structure_dim(self) -> int:
        """k, the number of dimensions with g > 0."""
        return int((self.gates > 0).sum())

    def width(self, t: float) -> float:
        """Dimensions still in the flow at depth ``t``: the sum of the masks."""
        return float(self.exits.masks(self.exits.tau.new_tensor([t])).detach().sum())

    def solve(self, z: Tensor, method: str = "rk4", steps: int | None = None, tolerance: float = 1e-6) -> Solution:
        """Integrate states (B, M) from depth 0 to 1; ``tolerance`` is dopri5's, absolute and relative."""
        root = self.front.energy_root() if self.energy == "layer" else None
        if method == "rk4":
            return rk4(self.field, self.exits, z, steps or self.steps, root)
        if method == "dopri5":
            return dopri5(self.field, self.exits, z, tolerance, root)
        raise ValueError(f"method must be 'rk4' or 'dopri5', got {method!r}")

    def transform(self, x: object, draw: int = 0, nuisance: object = None) -> Tensor:
        """z (B, M) at depth 1; of an augmented flow with draw number ``draw`` of each row."""
        return self.call_and_ladj(x, draw=draw, nuisance=nuisance)[0]

    def call_and_ladj(
        self, x: object, method: str = "rk4", steps: int | None = None, draw: int = 0, nuisance: object = None
    ) -> tuple[Tensor, Tensor]:
        """z (B, M) and log |det| (B,) of x, a -> z, idle coordinates; in chunks, so memory is flat."""
        states = self.front(self._rows(x, nuisance), draw)
        solutions = [self.solve(chunk, method, steps) for chunk in states.split(_CHUNK)]
        return torch.cat([s.z for s in solutions]), torch.cat([s.ladj for s in solutions]) + self.front.ladj

    @torch.no_grad()
    def trajectory(self, x: object) -> Tensor:
        """States (steps + 1, B, M) on the way from data to latent, at depths 0, 1/steps, ..., 1; whitened units."""
        return rk4_states(self.field, self.exits, self.front(self._rows(x)), self.steps)

    def inverse(self, z: Tensor, nuisance: object = None) -> Tensor:
        """x (B, D) of z (B, M), with the share of a known nuisance put back.

        Inverts the discretised map, to 1e-6 in whitened units (1e-9 in float64), relative far out.

        Raises:
            RuntimeError: a step neither contracts nor converges by Newton; more ``steps`` help.
        """
        return self._to_data(as_rows(z, name="latents", width=self.front.dims).to(self.exits.tau), nuisance=nuisance)

    def _to_data(self, z: Tensor, idle: Tensor | None = None, nuisance: object = None) -> Tensor:
        tolerance = 1e-6 if z.dtype == torch.float32 else 1e-9
        x = self.front.inverse(invert_rk4(self.field, self.exits, z, self.steps, tolerance), idle)
        return x if nuisance is None else x + self._effect(nuisance, len(x))

    def log_prob(
        self, x: object, method: str = "rk4", steps: int | None = None, draws: int = DRAWS, nuisance: object = None
    ) -> Tensor:
        r"""Log-density (B,) in nats of all D columns; idle directions count as Gaussian, at the noise floor where they lie below.

        Of an augmented flow :math:`\log \frac1S \sum_s p(x, a_s) / N(a_s)` at S = ``draws`` (importance weighting, Burda et al.
        2015): in expectation a lower bound of the log-density, tighter with more draws, which cost a pass each.
        """
        rows = self._rows(x, nuisance)
        logs = [self._joint_log_prob(rows, draw, method, steps) for draw in range(self._draws(draws))]
        return torch.stack(logs).logsumexp(0) - math.log(len(logs)) + self.front.idle_log_prob(rows)

    def _joint_log_prob(self, rows: Tensor, draw: int, method: str, steps: int | None) -> Tensor:
        """log p(x, a) - log N(a) - log p(idle | kept) (B,) at one draw of a."""
        z, ladj = self.call_and_ladj(rows, method, steps, draw)
        return self.base.log_prob(z, self.gates) + ladj - log_normal(row_noise(rows, self.front.augment, draw))

    def _draws(self, draws: int) -> int:
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}; {DRAWS} is the default")
        return draws if self.front.augment else 1

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw x (count, D), idle directions too; those below the noise floor stay at their mean."""
        return self.rsample(count, generator)

    def rsample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """As :meth:`sample`, differentiable in the parameters except for the draws of components and gates."""
        z = self.base.rsample(count, self.gates, generator)
        return self._to_data(z, self.front.idle_draw(count, generator))

    @torch.no_grad()
    def sample_and_log_prob(self, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Draw x (count, D) with its log-density (count,) in nats."""
        x = self.sample(count, generator)
        return x, self.log_prob(x)

    def encode(self, x: object, draws: int = DRAWS, nuisance: object = None) -> Tensor:
        """Structure block s (B, k): the z_i(1) with g_i > 0, in order of falling price; the mean over augmented draws."""
        return self._encodings(x, draws, nuisance).mean(0)

    def spread(self, x: object, draws: int = DRAWS, nuisance: object = None) -> Tensor:
        """Standard deviation (B, k) of s over a row's augmented draws: how far s is from a function of x; 0 without any."""
        return self._encodings(x, draws, nuisance).std(0, correction=0)

    def _encodings(self, x: object, draws: int, nuisance: object) -> Tensor:
        rows = self._rows(x, nuisance)
        return torch.stack([self.split(self.transform(rows, draw))[0] for draw in range(self._draws(draws))])

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(s, n): structure block (B, k) in order of falling price and noise block (B, M - k)."""
        return z[:, self.structure], z[:, self._is_noise()]

    def _is_noise(self) -> Tensor:
        is_noise = torch.ones_like(self.order, dtype=torch.bool)
        is_noise[self.structure] = False
        return is_noise

    def join(self, s: Tensor, n: Tensor) -> Tensor:
        """z (B, M) of structure block (B, k) and noise block (B, M - k): the inverse of :meth:`split`."""
        is_noise = self._is_noise()
        z = s.new_empty(len(s), len(is_noise))
        z[:, self.structure], z[:, is_noise] = s, n
        return z

    def decode(
        self,
        s: Tensor,
        noise: Literal["zero", "draw"] = "zero",
        generator: torch.Generator | None = None,
        nuisance: object = None,
    ) -> Tensor:
        """x (B, D) of structure s (B, k) with the noise block, and idle directions, at zero or drawn from N(0, I)."""
        if noise not in ("zero", "draw"):
            raise ValueError(f"noise must be 'zero' or 'draw', got {noise!r}")
        s = as_rows(s, name="structure", width=self.structure_dim).to(self.exits.tau)
        z = s.new_zeros(len(s), self.front.dims)
        if noise == "draw":
            z = torch.randn(z.shape, generator=generator, dtype=z.dtype, device=z.device)
        z[:, self.structure] = s
        return self._to_data(z, self.front.idle_draw(len(s), generator) if noise == "draw" else None, nuisance)

    def project(self, x: object, nuisance: object = None) -> Tensor:
        """decode(encode(x)): x with its noise put to zero."""
        return self.decode(self.encode(x, nuisance=nuisance), nuisance=nuisance)

    def save(self, folder: str | Path) -> None:
        """Write ``flow.json`` and ``flow.safetensors`` into ``folder``; see :mod:`flows.io.store`."""
        from flows.io.store import save

        save(self, folder)

    def _rows(self, x: object, nuisance: object = None) -> Tensor:
        rows = as_rows(x, width=self.front.features).to(self.exits.tau)
        return rows if nuisance is None else rows - self._effect(nuisance, len(rows))

    def _effect(self, nuisance: object, rows: int) -> Tensor:
        if self.nuisance is None:
            raise ValueError("this flow was fitted without a nuisance; leave nuisance= out")
        return self.nuisance.effect(nuisance, rows)
