"""Preferred coordinates: what breaks the freedom to choose them. The neurons, the weights, and the inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from analysis.functions.basis import NeuronBasis, neuron_basis
from analysis.functions.dependence import InputDependence, input_dependence
from analysis.functions.layers import evaluating
from analysis.functions.watched import Watched
from analysis.functions.weights import ROBUST, WeightMoves, weight_moves
from flows.flow import FunnelFlow
from flows.io.inputs import as_tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ALIGNED = 0.05
_SHOWN = 16
_LEGEND = "turn, free: degrees at most, after these moves and after as large ones in any direction"
_REFITS = "; refit, unmoved, block: after a new fit, where no weight moved, out of the new block"


@dataclass(frozen=True, eq=False, repr=False)
class PreferredAxes:
    """What prefers coordinates in a model's layer. Made by :func:`preferred_axes`.

    Attributes:
        layer: its path.
        neurons: structure against the neuron basis.
        weights: how far each structure coordinate turns when the weights move.
        inputs: which inputs each coordinate depends on.
        count: inputs that gradients were taken at.
        seed: drew inputs, rotations, moves and shuffles.
    """

    layer: str
    neurons: NeuronBasis
    weights: WeightMoves
    inputs: InputDependence
    count: int
    seed: int

    @property
    def structure_dim(self) -> int:
        """k."""
        return len(self.neurons.shares)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "layer": self.layer, "structure_dim": self.structure_dim, "count": self.count, "seed": self.seed,
            "neurons": self.neurons.to_dict(), "weights": self.weights.to_dict(), "inputs": self.inputs.to_dict(),
        }  # fmt: skip

    def __repr__(self) -> str:
        k, basis = self.structure_dim, self.neurons
        aligned, robust = int((basis.p_values < ALIGNED).sum()), int(self.weights.is_robust.sum())
        lines = [
            f"PreferredAxes of layer {self.layer!r}: {k} structure coordinate{'s' * (k != 1)}, {aligned} aligned with the "
            f"neurons at p < {ALIGNED:g} each, {robust} robust; {self.count} inputs, seed {self.seed}",
            f"  block: carried by {basis.neurons_of_block:.1f} neurons, {np.median(basis.random_block):.1f} after random "
            f"rotations, p {basis.block_p_value:.3f}",
            f"  {self.weights}",
        ]
        numbered = {"": [f"s{j + 1}" for j in range(k)]}
        parts = (numbered, basis.columns(), self.weights.columns(), self.inputs.columns())
        columns = [[head, *cells[:_SHOWN]] for part in parts for head, cells in part.items()]
        padded = [[cell.rjust(max(map(len, column))) for cell in column] for column in columns]
        lines += ["  " + "  ".join(row) for row in zip(*padded, strict=True)]
        if k > _SHOWN:
            lines.append(f"  and {k - _SHOWN} more")
        lines.append("  " + _LEGEND + (_REFITS if self.weights.refit_turns is not None else ""))
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Every coordinate by how far it turns and how few neurons it reads; filled at p < .05, a square where it is robust."""
        from analysis import drawing

        ax = drawing.axes(ax)
        turns, is_robust, is_aligned = self.weights.largest, self.weights.is_robust, self.neurons.p_values < ALIGNED
        ratio = self.neurons.neurons_read / np.median(self.neurons.random, 0)
        for robust, marker, word in ((True, "s", "robust"), (False, "o", "not robust")):
            for aligned, face, with_neurons in (
                (True, drawing.COLOURS[0], ", aligned with neurons"),
                (False, "none", ""),
            ):
                own = (is_robust == robust) & (is_aligned == aligned)
                style: dict[str, Any] = {"marker": marker, "facecolor": face, "edgecolor": drawing.COLOURS[0]}
                ax.scatter(turns[own], ratio[own], s=30, label=word + with_neurons, **style)
        for j in np.flatnonzero(is_aligned) if len(turns) > _SHOWN else range(len(turns)):
            ax.annotate(f"s{j + 1}", (turns[j], ratio[j]), (4, 3), textcoords="offset points", fontsize=7)
        ax.axvline(ROBUST, color="black", ls=":", lw=1)
        ax.axhline(1, color=drawing.GREY, lw=1)
        how = "" if self.weights.refit_turns is None else ", refitted"
        ax.set(
            xlim=(0, max(36, 1.1 * float(turns.max()))), ylim=(0, 1.15 * max(1.0, float(ratio.max()))),
            xlabel=f"largest turn of {len(self.weights.sizes)} moves of the weights{how} (degrees)",
            ylabel="neurons read, of axes read after random rotations",
            title=f"Structure coordinates of layer {self.layer!r}",
        )  # fmt: skip
        ax.legend(fontsize=7, loc="lower right")
        drawing.corner(ax, f"{self.count} inputs, seed {self.seed}")
        return ax


def preferred_axes(
    flow: FunnelFlow,
    model: nn.Module,
    layer: str,
    inputs: object,
    *,
    image: tuple[int, int] | None = None,
    names: Sequence[str] | None = None,
    fit: Callable[[Tensor], Any] | None = None,
    moves: int = 10,
    size: float = 1.0,
    change: float = 0.01,
    rotations: int = 199,
    rows: int = 200,
    seed: int = 0,
) -> PreferredAxes:
    """What breaks the freedom of coordinates in the structure that a flow found in a model's layer.

    No claim here is invariant: it measures what prefers coordinates. (1) The neurons: does each structure coordinate read fewer
    of them than it would read axes of a random rotation? (2) The weights: they move along directions that leave outputs almost
    unchanged; a coordinate that turns with them is an accident of the weights, one that stays is a robust part
    of what the model does. (3) The inputs: which features, and do neighbouring pixels go together?

    Args:
        flow: trained on the layer's activations, rows (B, D).
        model: runs in eval mode and is left as it was.
        layer: its path in `model.named_modules()`; it gives (n, D), or (n, T, D), of which the last of T steps is read.
        inputs: (n, ...) to show the model; correlations are taken over up to 2000 of them.
        image: (H, W), where the inputs' features are pixels, channel after channel; (n, C, H, W) need not say it.
        names: of the input features.
        fit: rows (n, D) to a flow, or to a result with one in `flow`, such as `training.fit`: refits after every move, and once
            where nothing moved. With another seed than the flow's own that one shows what refitting alone turns.
        moves: of the weights.
        size: largest move, in root mean squares of the weights, tensor by tensor.
        change: largest change of the outputs, in their sds.
        rotations: random rotations of the neurons, and shuffles of the pixels.
        rows: inputs at which gradients are taken.
        seed: everything is drawn from it; global random state is not touched.

    Raises:
        TypeError: no flow, no torch module, a `fit` of another kind.
        ValueError: k = 0, unknown layers, one of another width, bad inputs or numbers out of range.
    """
    if not isinstance(flow, FunnelFlow):
        raise TypeError(f"flow must be a FunnelFlow, got {type(flow).__name__}; flows.load(run) brings one back")
    for name, number in (
        ("moves", moves),
        ("size", size),
        ("change", change),
        ("rotations", rotations),
        ("rows", rows),
    ):
        if not number > 0:
            raise ValueError(f"{name} must be above 0, got {number}")
    if not flow.structure_dim:
        raise ValueError("the flow has k = 0, no structure coordinates: there are no axes to prefer")
    shown = as_tensor(inputs, "inputs").detach()
    _check_features(shown, image, names)
    if image is None and shown.ndim == 4:
        image = (shown.shape[2], shown.shape[3])
    with evaluating(model):
        watched = Watched(model, layer, shown, flow.front.features)
        x = watched.whole()[0]
        generator = torch.Generator().manual_seed(seed)
        looked = torch.randperm(len(shown), generator=generator)[:rows].to(shown.device)
        by_neuron = _gradients(flow.encode, x[looked])
        by_input = _gradients(lambda some: flow.encode(watched.run(some)[0]), shown[looked])
        basis = neuron_basis(by_neuron, x, rotations, seed)
        moved = weight_moves(flow, watched, moves, size, change, fit, seed)
    flat = shown.flatten(1).double().cpu().numpy()
    dependence = input_dependence(by_input.flatten(2).double().cpu().numpy(), flat, names, image, rotations, seed)
    return PreferredAxes(layer, basis, moved, dependence, len(looked), seed)


def _check_features(inputs: Tensor, image: tuple[int, int] | None, names: Sequence[str] | None) -> None:
    if inputs.ndim < 2 or len(inputs) < 4 or not inputs.is_floating_point():
        raise ValueError(
            f"inputs must be at least 4 rows of floating numbers, got shape {tuple(inputs.shape)}, {inputs.dtype}; "
            "gradients are taken by them"
        )
    features = inputs[0].numel()
    if names is not None and len(names) != features:
        raise ValueError(f"names must have one entry for each of {features} input features, got {len(names)}")
    if image is not None and not 0 < image[0] * image[1] <= features:
        raise ValueError(f"image must be (H, W) with H x W of at most {features} features, got {tuple(image)}")


def _gradients(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """(n, k, ...) of outputs (n, k) by rows (n, ...)."""
    with torch.enable_grad():
        x = rows.clone().requires_grad_()
        s = function(x)
        each = [torch.autograd.grad(s[:, j].sum(), x, retain_graph=True)[0] for j in range(s.shape[1])]
    return torch.stack(each, 1)
