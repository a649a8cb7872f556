"""What structure coordinates depend on: input features, and, where inputs are images, neighbourhoods of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class InputDependence:
    """How structure coordinates depend on the model's inputs.

    Attributes:
        shares: (k, F) share of each input feature in each coordinate's mean squared gradient, features in units of
            their sd; rows sum to 1.
        names: of the features; None where they are numbered.
        image: (H, W), where the first H x W features of each channel are pixels; else None.
        neighbourhood: (k,) Moran's I of the gradient over the pixels that vary: the correlation of neighbours, 1 for a smooth
            map, about 0 where it does not matter which pixels are neighbours; None without an image.
        p_values: (k,) share of the shuffles of these pixels (their own order included) with as large an I; None likewise.
    """

    shares: Floats
    names: tuple[str, ...] | None
    image: tuple[int, int] | None
    neighbourhood: Floats | None
    p_values: Floats | None

    @property
    def features_read(self) -> Floats:
        """(k,) effective number of features, 1 / sum of squared shares."""
        return 1 / np.square(self.shares).sum(1).clip(1e-300)

    def name(self, feature: int) -> str:
        """The feature's name; a pixel's is its row and column."""
        if self.names is not None:
            return self.names[feature]
        if self.image is not None:
            row, column = divmod(feature % (self.image[0] * self.image[1]), self.image[1])
            return f"pixel {row}, {column}"
        return f"x{feature}"

    def columns(self) -> dict[str, list[str]]:
        """For print: heads, and a cell for each coordinate."""
        top = self.shares.argmax(1)
        told = {
            "inputs read": [f"{n:.1f}" for n in self.features_read],
            "most of": [f"{self.name(i)} ({self.shares[j, i]:.0%})" for j, i in enumerate(top.tolist())],
        }
        if self.neighbourhood is not None and self.p_values is not None:
            told["neighbours"] = [f"{c:.2f}" for c in self.neighbourhood]
            told["p"] = [f"{p:.3f}" for p in self.p_values]
        return told

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "shares": self.shares.tolist(), "features_read": self.features_read.tolist(),
            "names": None if self.names is None else list(self.names), "image": self.image and list(self.image),
            "neighbourhood": None if self.neighbourhood is None else self.neighbourhood.tolist(),
            "p_values": None if self.p_values is None else self.p_values.tolist(),
        }  # fmt: skip

    def plot(self, ax: Axes | None = None) -> Axes:
        """Shares of the inputs: a heat map, or images side by side, one for each coordinate."""
        from analysis import drawing

        k = len(self.shares)
        if self.image is None:
            ax = drawing.axes(ax, 6.4, 1.4 + 0.3 * k)
            shown = ax.imshow(self.shares, aspect="auto", cmap="cividis", vmin=0)
            ax.set_yticks(range(k), [f"s{j + 1}" for j in range(k)])
            ax.set(xlabel="input feature", ylabel="structure coordinate")
        else:
            tiles, (height, width) = self._tiles(), self.image
            ax = drawing.axes(ax, 7.2, 0.7 + 6.0 * tiles.shape[0] / tiles.shape[1])
            shown = ax.imshow(tiles, cmap="cividis", vmin=0)
            across = (tiles.shape[1] + 1) // (width + 1)
            for j in range(k):
                place = ((j % across) * (width + 1), (j // across) * (height + 1) - 0.2)
                ax.text(*place, f"s{j + 1}", color="white", fontsize=7, va="top")
            ax.set_axis_off()
        ax.set_title("What each structure coordinate depends on")
        ax.figure.colorbar(shown, ax=ax, shrink=0.9, label="share of an input")
        return ax

    def _tiles(self) -> Floats:
        """Maps (H, W), summed over channels, in rows of at most eight, a pixel apart."""
        height, width = self.image or (1, 1)
        maps = _pixels(self.shares, height * width).sum(1).reshape(-1, height, width)
        across = min(8, len(maps))
        down = -(-len(maps) // across)
        tiles = np.full((down * (height + 1) - 1, across * (width + 1) - 1), np.nan)
        for j, picture in enumerate(maps):
            top, left = (j // across) * (height + 1), (j % across) * (width + 1)
            tiles[top : top + height, left : left + width] = picture
        return tiles


def input_dependence(
    gradients: Floats,
    inputs: Floats,
    names: Sequence[str] | None,
    image: tuple[int, int] | None,
    shuffles: int,
    seed: int,
) -> InputDependence:
    """Shares of the input features, and whether neighbouring pixels go together.

    Args:
        gradients: (n, k, F) of the coordinates by the inputs.
        inputs: (m, F), which say how far each feature varies.
        names: of the features.
        image: (H, W) where the features are pixels, channel after channel; what is beyond the last whole channel is none.
        shuffles: of the pixels.
        seed: draws these.
    """
    squared = np.square(gradients * inputs.std(0)).mean(0)
    shares = squared / squared.sum(1, keepdims=True).clip(1e-300)
    told = None if names is None else tuple(names)
    if image is None:
        return InputDependence(shares, told, None, None, None)
    size = image[0] * image[1]
    varies = (_pixels(inputs.std(0)[None], size)[0] > 1e-6 * inputs.std()).all(0)  # a dead border is no neighbourhood
    maps = _pixels(gradients.reshape(-1, gradients.shape[2]), size).reshape(
        len(gradients), gradients.shape[1], -1, size
    )
    found = [
        _moran(maps[:, j].reshape(-1, size)[:, varies], _neighbours(image, varies), shuffles, seed)
        for j in range(len(shares))
    ]
    neighbourhood, p_values = np.array(found).reshape(-1, 2).T
    return InputDependence(shares, told, image, neighbourhood, p_values)


def _pixels(rows: Floats, size: int) -> Floats:
    """(n, channels, H * W) of rows (n, F); features beyond the last whole channel are left out."""
    channels = rows.shape[1] // size
    return rows[:, : channels * size].reshape(len(rows), channels, size)


def _neighbours(image: tuple[int, int], varies: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Pairs (p, 2) of pixels, counted among those that vary, that share an edge."""
    number = np.where(varies, np.cumsum(varies) - 1, -1).reshape(image)
    pairs = np.concatenate([
        np.stack([number[:-1].ravel(), number[1:].ravel()], 1), np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], 1),
    ])  # fmt: skip
    return pairs[(pairs >= 0).all(1)]


def _moran(maps: Floats, pairs: NDArray[np.intp], shuffles: int, seed: int) -> tuple[float, float]:
    """Moran's I of maps (n, p), pooled over them, and its p-value among shuffles of the pixels."""
    if not len(pairs):
        return 0.0, 1.0
    centred = maps - maps.mean(1, keepdims=True)
    products = centred.T @ centred
    if not np.trace(products) > 0:
        return 0.0, 1.0

    def index(order: NDArray[np.intp]) -> float:
        return float(products[order[pairs[:, 0]], order[pairs[:, 1]]].mean() / (np.trace(products) / len(products)))

    rng = np.random.default_rng(seed)
    own = index(np.arange(len(products)))
    random = np.array([index(rng.permutation(len(products))) for _ in range(shuffles)])
    return own, float((1 + (random >= own - 1e-12).sum()) / (1 + shuffles))
