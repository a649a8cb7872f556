"""The lift: structure goes up into more dimensions, by given coordinates of its own, and what these explain goes out of it."""

import math
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from flows.augment import log_normal
from flows.io.inputs import as_rows
from flows.io.writing import write_whole

SPREAD = 0.1
FLOOR = 0.01  # of the rows' variance, added to Cov[s | a]: where few rows are near, it knows little
_CHUNK = 4096


class Lift(nn.Module):
    r"""Up: a = y(s) + sigma e with e ~ N(0, I_A). Down: :math:`r = L(a)^{-1} (s - E[s \mid a])` with L Lᵀ = Cov[s | a].

    y is a kernel average of the landmarks' coordinates, so it is smooth and defined everywhere; mean and covariance are those of
    ``rows`` under their posterior given a, kernel averages too, of width sigma. Both steps have a triangular Jacobian with
    known diagonal, so :math:`\log p(s) \ge E_e[\log p(a, r) + A \log\sigma - \log|L(a)| - \log N(e)]` for any density p of
    (a, r), whatever the coordinates are (an augmented flow whose augmented part depends on the data: Huang et al. 2020,
    Chen et al. 2020).

    A flow map is isotopic to the identity and cannot undo a knot in the dimensions that it is tied in; in k + A dimensions there
    is room, and the way through is explicit: a holds the structure, and r what it does not explain.

    Args:
        points: landmarks (L, k) in the structure block.
        coordinates: what they are lifted to (L, A), of unit variance.
        width: of the kernel over ``points``.
        spread: sigma, of the draws around y(s).
        rows: of the whole structure block (R, k), for mean and covariance given a (default the landmarks; being its dense part,
            they would make it look thinner).

    Raises:
        ValueError: fewer than two landmarks, not the same number of coordinates, or a width or spread not above 0.
    """

    points: Tensor
    coordinates: Tensor
    rows: Tensor
    raised_rows: Tensor

    def __init__(
        self, points: Tensor, coordinates: Tensor, width: float, spread: float = SPREAD, rows: Tensor | None = None
    ):
        super().__init__()
        points = as_rows(points, name="landmarks", min_rows=2)
        coordinates = as_rows(coordinates, name="coordinates of the landmarks", min_rows=2)
        if len(points) != len(coordinates):
            raise ValueError(
                f"every landmark needs its coordinates, got {len(points)} landmarks and {len(coordinates)} rows of coordinates"
            )
        if not (0 < width < math.inf and 0 < spread < math.inf):
            raise ValueError(f"width and spread must be positive and finite, got {width} and {spread}")
        self.width, self.spread = float(width), float(spread)
        self.register_buffer("points", points)
        self.register_buffer("coordinates", coordinates.to(points))
        rows = points if rows is None else as_rows(rows, name="rows of the lift", width=points.shape[1], min_rows=2)
        self.register_buffer("rows", rows.to(points))
        self.register_buffer("raised_rows", self.above(self.rows), persistent=False)

    @property
    def structure_dim(self) -> int:
        """k, of what is lifted."""
        return self.points.shape[1]

    @property
    def augment(self) -> int:
        """A, dimensions added."""
        return self.coordinates.shape[1]

    def forward(self, s: Tensor, noise: Tensor) -> Tensor:
        """(a, r) (B, A + k) of structure (B, k) and draws e (B, A)."""
        raised = self.above(s) + self.spread * noise
        mean, factor = self.explained(raised)
        rest = torch.linalg.solve_triangular(factor, (s - mean)[..., None], upper=False)[..., 0]
        return torch.cat([raised, rest], dim=1)

    def inverse(self, lifted: Tensor) -> tuple[Tensor, Tensor]:
        """Structure (B, k) and draws (B, A) of (a, r) (B, A + k)."""
        raised, rest = lifted[:, : self.augment], lifted[:, self.augment :]
        mean, factor = self.explained(raised)
        s = mean + (factor @ rest[..., None])[..., 0]
        return s, (raised - self.above(s)) / self.spread

    def log_weight(self, lifted: Tensor, noise: Tensor) -> Tensor:
        """What log p(a, r) lacks at (B, A + k), draws (B, A), to be a draw of the bound on log p(s): (B,) in nats."""
        factor = self.explained(lifted[:, : self.augment])[1]
        log_volume = factor.diagonal(dim1=1, dim2=2).log().sum(1)
        return self.augment * math.log(self.spread) - log_volume - log_normal(noise)

    def above(self, s: Tensor) -> Tensor:
        """y (B, A) of structure (B, k)."""
        return _average(s, self.points, self.coordinates, self.width)

    def explained(self, raised: Tensor) -> tuple[Tensor, Tensor]:
        """E[s | a] (B, k) and the lower factor (B, k, k) of Cov[s | a], of a (B, A)."""
        k = self.structure_dim
        products = self.rows[:, :, None] * self.rows[:, None]
        values = torch.cat([self.rows, products.flatten(1)], dim=1)
        found = _average(raised, self.raised_rows, values, self.spread)
        mean = found[:, :k]
        covariance = found[:, k:].unflatten(1, (k, k)) - mean[:, :, None] * mean[:, None]
        floor = FLOOR * self.rows.var(0).mean() * torch.eye(k).to(mean)
        return mean, torch.linalg.cholesky(covariance + floor)

    def save(self, file: str | Path) -> None:
        """Write landmarks, coordinates, rows and both widths into one .safetensors file."""
        widths = {"widths": torch.tensor([self.width, self.spread], dtype=torch.float64)}
        write_whole({Path(file): tensors_to_bytes({**self.state_dict(), **widths})})

    @classmethod
    def load(cls, file: str | Path) -> "Lift":
        """The lift that :meth:`save` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: damaged, or not a lift.
        """
        file = Path(file)
        if not file.is_file():
            raise FileNotFoundError(f"no {file}; unknot untangle RUN writes it, and Lift.save")
        try:
            held = tensors_from_bytes(file.read_bytes())
            width, spread = held["widths"].tolist()
            return cls(held["points"], held["coordinates"], width, spread, held["rows"])
        except (SafetensorError, KeyError) as error:
            raise ValueError(f"{file} is damaged or holds no lift ({error}); write it again with Lift.save") from None

    def extra_repr(self) -> str:
        return f"k={self.structure_dim}, augment={self.augment}, landmarks={len(self.points)}, spread={self.spread:g}"


def _average(x: Tensor, centres: Tensor, values: Tensor, width: float) -> Tensor:
    """Mean of ``values`` (L, v) under Gaussian weights of the distance of x (B, d) from ``centres`` (L, d)."""
    parts = [
        torch.softmax(-0.5 * (torch.cdist(rows, centres) / width).square(), dim=1) @ values for rows in x.split(_CHUNK)
    ]
    return torch.cat(parts) if parts else values.new_empty(0, values.shape[1])
