"""Rows of a layer that are not finite: said at their batch, or their examples dropped from every layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from flows.io.inputs import nearest
from training.data.asking import Caught

POLICIES = ("raise", "omit")


class FiniteRows:
    """Looks at the rows of one batch after another.

    Args:
        policy: "raise", or "omit": an example with a row that is not finite has no rows in any layer.
        relevance: whether the model is asked about the rows later, which omitted examples would put out of step.

    Raises:
        ValueError: another policy, or "omit" with relevance.
    """

    def __init__(self, policy: str, relevance: bool = False):
        if policy not in POLICIES:
            raise ValueError(f"unknown nan_policy {policy!r}; {nearest(str(policy), POLICIES)}")
        if policy == "omit" and relevance:
            raise ValueError(
                "nan_policy='omit' does not go with relevance=True; drop those examples from the batches first"
            )
        self.policy, self.batch, self.seen = policy, -1, 0
        self.omitted: list[int] = []

    @property
    def about(self) -> dict[str, Any]:
        """Numbers of the omitted examples, where there are any."""
        return {"omitted": self.omitted} if self.omitted else {}

    def of(self, caught: Mapping[str, Caught], count: int) -> dict[str, Caught]:
        """The rows of every layer in the next batch, of ``count`` examples.

        Raises:
            ValueError: rows that are not finite; the message names layer, batch and example.
        """
        first, self.seen, self.batch = self.seen, self.seen + count, self.batch + 1
        bad = torch.zeros(count, dtype=torch.bool)
        for name, (x, counts, _) in caught.items():
            here = torch.arange(count).repeat_interleave(counts)[~x.isfinite().all(dim=1)]
            bad[here] = True
            if len(here) and self.policy == "raise":
                raise ValueError(
                    f"layer {name!r} put out NaN or inf in {len(here)} of {len(x)} rows of batch {self.batch} (first: example "
                    f"{first + int(here[0])} of all): float16 overflows beyond 65504, run the model in bfloat16 or float32; "
                    "or pass nan_policy='omit'"
                )
        if not bool(bad.any()):
            return dict(caught)
        self.omitted += [first + i for i in bad.nonzero().flatten().tolist()]
        return {name: _without(bad, *part) for name, part in caught.items()}


def _without(bad: torch.Tensor, x: torch.Tensor, counts: torch.Tensor, places: torch.Tensor | None) -> Caught:
    kept = ~bad.repeat_interleave(counts)
    return x[kept], counts.masked_fill(bad, 0), None if places is None else places[kept]
