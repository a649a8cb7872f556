"""What the reader of README.md and of the guides has: names that their code blocks use and do not make, with types."""

from collections.abc import Callable

import numpy as np
from torch import Tensor, nn

from training import FitResult

x: np.ndarray
xa: np.ndarray
xb: np.ndarray
points: np.ndarray
labels: np.ndarray
template: np.ndarray
value: np.ndarray
f_table: list[list[int]]
g_table: list[list[int]]
model: nn.Module
head: Callable[[Tensor], Tensor]
f: Callable[[Tensor], Tensor]
inputs: Tensor
batches: list[Tensor]
result: FitResult
