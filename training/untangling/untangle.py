"""``training.untangle``: take a flow's structure block up by its spectral coordinates and down again into fewer dimensions."""

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from flows.augment import row_noise
from flows.flow import FunnelFlow
from flows.lift import Lift
from flows.untangled import Untangled
from training.data.activations import Activations
from training.fitting import FitResult, fit
from training.untangling.false_neighbours import false_neighbours
from training.untangling.spectral import Spectrum, spectrum

MOST_STRANGERS = 0.02


@dataclass
class Untangling:
    """What :func:`untangle` found.

    Attributes:
        flow: first flow, lift and second flow; None where there is nothing to untangle.
        spectrum: spectral coordinates of the structure block.
        result: of the fit of what was lifted; None where there is nothing to untangle.
        before: k of the structure block.
        false_neighbours: share of neighbours in s' that are far apart in s or along the graph (:func:`torn`); nan where
            there is nothing to untangle, or nothing left.
    """

    flow: Untangled | None
    spectrum: Spectrum
    result: FitResult | None = field(repr=False)
    before: int
    false_neighbours: float = math.nan

    def verdict(self) -> str:
        """The answer in one plain sentence."""
        return words(self.spectrum, self.before, self.flow.structure_dim if self.flow else None, self.false_neighbours)

    @property
    def strangers(self) -> float:
        """The name of ``false_neighbours`` in 0.4; goes with the next release."""
        warnings.warn("Untangling.strangers is now Untangling.false_neighbours", DeprecationWarning, stacklevel=2)
        return self.false_neighbours

    def __repr__(self) -> str:
        return f"Untangling: {self.verdict()}"


def untangle(flow: FunnelFlow, x: object, seed: int = 0, *, groups: object = None, **settings: Any) -> Untangling:
    """Untangle the structure of a trained flow: k dimensions go up into k + A and come down into fewer than k.

    The neighbour graph of s says how many coordinates A the structure needs where nothing forces it into a space
    (:func:`training.untangling.spectral.spectrum`). Where they are fewer than k, s is lifted by them
    (:class:`flows.lift.Lift`) and a second flow is fitted to what was lifted, at the same regularity as any other: the
    lift is explicit, so no kinetic energy has to be paid for the way through, and the certificate, the tear and the
    level sets of the second flow say whether it worked.

    Args:
        flow: trained, without augmented dimensions of its own.
        x: rows (N, D) in the flow's units.
        seed: draws the graph's rows, the landmarks and all of the second fit.
        groups: (N,) source of every row, as for :func:`training.fit`.
        **settings: of the second fit.

    Raises:
        ValueError: k = 0, fewer than 2000 rows, or what :func:`training.fit` refuses.

    Example:
        >>> import training
        >>> x = training.planted("trefoil").x  # doctest: +SKIP
        >>> training.untangle(training.fit(x).flow, x).flow.structure_dim  # doctest: +SKIP
        2
    """
    s = structure(flow, x)
    found = spectrum(s, seed)
    if not is_tangled(found, s):
        return Untangling(None, found, None, s.shape[1])
    lift = found.lift()
    result = fit(Activations(lifted(lift, s), sources=groups), seed=seed, **settings)  # type: ignore[arg-type]
    both = Untangled(flow, lift, result.flow)
    share = torn(lift, s, both.encode(x)) if both.structure_dim else math.nan
    return Untangling(both, found, result, s.shape[1], share)


def structure(flow: FunnelFlow, x: object) -> Tensor:
    """The structure block (N, k) of ``x`` on the CPU.

    Raises:
        ValueError: k = 0.
    """
    if not flow.structure_dim:
        raise ValueError("the flow has k = 0, nothing but noise at this regularity: there is no structure to untangle")
    with torch.no_grad():
        return flow.encode(x).cpu()


def lifted(lift: Lift, s: Tensor) -> Tensor:
    """What the second flow is fitted to: (a, r) (N, A + k) at each row's own draw."""
    with torch.no_grad():
        return lift(s, row_noise(s, lift.augment))


def is_tangled(found: Spectrum, s: Tensor) -> bool:
    """Whether the structure has fewer coordinates of its own than it takes dimensions."""
    return found.dims < s.shape[1]


@torch.no_grad()
def torn(lift: Lift, s: Tensor, after: Tensor) -> float:
    """Share of nearest rows in ``after`` (N, k') that are false neighbours in s (N, k) or along the graph, whichever is more.

    Either is blind to something: strands of a knot that lie close to one another in space may end up side by side unseen by s,
    and a graph that joins them itself sees nothing wrong with it.
    """
    return max(false_neighbours(s, after), false_neighbours(lift.above(s), after))


def words(found: Spectrum, before: int, after: int | None, share: float) -> str:
    """What became of k, in one sentence."""
    pieces = f"{found.pieces} piece{'s' * (found.pieces > 1)}"
    own = f"the neighbour graph of the structure ({pieces}, {len(found.cloud)} rows) has {found.dims} coordinates of its own"
    if after is None:
        return f"nothing to untangle: k = {before}, and {own}"
    outcome = "untangled" if 0 < after < before else "not untangled"
    if share > MOST_STRANGERS:
        outcome = "torn, not untangled"
    if not after:
        return f"{outcome}: k = {before} -> 0, nothing but noise at this regularity; {own}"
    return (
        f"{outcome}: k = {before} -> {after}; {own}, lifted by them with draws of sd {found.spread:.2g}; "
        f"{share:.1%} of nearest rows are far apart in s or along that graph (at most {MOST_STRANGERS:.0%} is called untangled)"
    )
