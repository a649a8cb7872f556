"""What the reader of README.md and of the guides has: names that their code blocks use and do not make, with types."""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

x: np.ndarray
xa: np.ndarray
xb: np.ndarray
x_a: np.ndarray
labels_a: np.ndarray
weight_b: np.ndarray
bias_b: np.ndarray
template_a: np.ndarray
template_b: np.ndarray
value: np.ndarray
f_table: list[list[int]]
g_table: list[list[int]]
model: nn.Module
head: Callable[[Tensor], Tensor]
f: Callable[[Tensor], Tensor]
inputs: Tensor
batches: list[Tensor]
cache: dict[str, Tensor]
