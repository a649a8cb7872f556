"""How many dimensions carry structure, what each is worth against the null, and at which depth the others leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from flows.flow import FunnelFlow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOTHING = "nothing but noise at this regularity"


@dataclass(frozen=True, repr=False)
class Dimensions:
    """The verdict of the fit, with the exits that it left.

    Attributes:
        structure_dim: k, an *embedding* dimension (circle 2, torus 3); Analyzer.intrinsic_dimension has the other.
        dims: M, dimensions of the state.
        worth, worth_se, prices: (k,) nats per structure dimension, highest price first; empty where the run is not known.
        null_worth: nats that noise seems to be worth; nan where the run is not known.
        confidence, stability: how sure; nan where the run is not known.
        ladder: the rungs, why this k, and what PCA says at the same k, in words; empty where the run is not known.
        hull: vertices of k -> J_k with the interval of lambda in which each k is best.
        exits: (M,) exit depths, structure first, then noise from the last to leave to the first.
        oddities: what the fit had to say of its rows.
    """

    structure_dim: int
    dims: int
    worth: tuple[float, ...]
    worth_se: tuple[float, ...]
    prices: tuple[float, ...]
    null_worth: float
    confidence: float
    stability: float
    ladder: str
    hull: tuple[dict[str, Any], ...]
    exits: tuple[float, ...]
    oddities: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is not finite as None."""
        return {name: _finite(value) for name, value in vars(self).items()}

    def __repr__(self) -> str:
        if not self.structure_dim:
            head = f"k = 0 of {self.dims}: {NOTHING}"
        else:
            head = f"k = {self.structure_dim} of {self.dims} dimensions carry structure (an embedding dimension)"
        lines = [*([self.ladder] if self.ladder else []), head]
        if np.isfinite(self.confidence):
            lines.append(
                f"confidence {self.confidence:.2f} (share of the range of lambda around its middle in which this k is best); "
                f"{self.stability:.0%} of resamples choose the same k"
            )
        lines += [f"  {line}" for line in self._worths()]
        if noise := self.exits[self.structure_dim :]:
            plural = "s leave" if len(noise) > 1 else " leaves"
            lines.append(f"noise: {len(noise)} dimension{plural} at depth {_range(noise)} (0 the data, 1 the latent)")
        lines += [f"caution: {oddity}" for oddity in self.oddities]
        return "\n".join(lines)

    def _worths(self) -> Iterator[str]:
        """A line for every block of dimensions that share a worth."""
        first = 0
        for (worth, error), same in groupby(zip(self.worth, self.worth_se, strict=True)):
            last = first + len(list(same))
            left = [p for p in self.prices[first:last] if np.isfinite(p)]
            when = f", left at {_range(left)} nats" if left else ""
            names = f"s{first + 1}" if last == first + 1 else f"s{first + 1} to s{last}"
            yield f"{names}: worth {worth:.3f} ± {error:.3f} nats each{when}"
            first = last

    def plot(self, ax: Axes | None = None) -> Axes:
        """Worth of each structure dimension next to the null."""
        from analysis.drawing import COLOURS, axes

        ax = axes(ax)
        at = np.arange(1, len(self.worth) + 1)
        ax.bar(at, self.worth, yerr=self.worth_se, color=COLOURS[0], capsize=3)
        if np.isfinite(self.null_worth):
            ax.axhline(self.null_worth, color="black", ls=":", label=f"null {self.null_worth:.3f}")
            ax.legend(fontsize=8)
        ax.set(
            xlabel="structure dimension",
            ylabel="worth (nats per row)",
            title=f"k = {self.structure_dim} of {self.dims}",
        )
        return ax


def dimensions(flow: FunnelFlow, result: dict[str, Any] | None = None) -> Dimensions:
    """What ``result.json`` (``result``) and the flow's exits say of its dimensions; without a result, the exits alone."""
    result = result or {}
    tau = flow.exits.tau.detach().cpu().numpy().astype(float)
    structure = flow.structure.cpu().numpy()
    noise = np.setdiff1d(np.arange(len(tau)), structure)
    exits = np.concatenate([tau[structure], np.sort(tau[noise])[::-1]])
    prices = [_number(p) for p in np.array(result.get("prices", []), dtype=object)[structure]] if result else []

    def known(name: str) -> float:
        return _number(result.get(name))

    return Dimensions(
        structure_dim=flow.structure_dim,
        dims=flow.front.dims,
        worth=tuple(_number(w) for w in result.get("worth", [])),
        worth_se=tuple(_number(e) for e in result.get("worth_se", [])),
        prices=tuple(prices),
        null_worth=_number(result.get("null", {}).get("threshold")),
        confidence=known("confidence"),
        stability=known("stability"),
        ladder=result.get("ladder", {}).get("text", ""),
        hull=tuple(result.get("hull", [])),
        exits=tuple(exits.tolist()),
        oddities=tuple(result.get("oddities", [])),
    )


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _finite(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
