"""What is known of the rows and is not asked about: its linear share, taken off before anything else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flows.io.inputs import as_tensor


class Nuisance(nn.Module):
    r"""x - sum_c effect_c(class) - slopes (u - mean u): class means and linear effects, fitted together by least squares.

    Effects have mean 0 over the rows that they were fitted to, so a row whose nuisance is not known stays as it is.

    Args:
        features: D.
        levels: number of classes of each column of class numbers.
        numbers: q, real covariates.
    """

    classes: Tensor
    effects: Tensor
    centre: Tensor
    slopes: Tensor

    def __init__(self, features: int, levels: list[int], numbers: int = 0):
        super().__init__()
        self.features, self.levels, self.numbers = features, list(levels), numbers
        self.register_buffer("classes", torch.zeros(sum(levels), dtype=torch.int64))
        self.register_buffer("effects", torch.zeros(sum(levels), features))
        self.register_buffer("centre", torch.zeros(numbers))
        self.register_buffer("slopes", torch.zeros(numbers, features))

    @classmethod
    def of(cls, x: Tensor, given: Tensor) -> tuple[Nuisance, Tensor, float]:
        """Fit to rows ``x`` (n, D) with nuisance ``given`` (n, j): whole numbers are classes, others covariates.

        Returns:
            The module; the rows' residuals (n, D), each as if the fit had not seen its row (divided by 1 - its leverage), so
            that they are alike to those of other rows; and the share of variance that went.

        Raises:
            ValueError: more classes than half the rows, or a class of one row.
        """
        rows, width = len(x), given.shape[1]
        columns = [] if given.is_floating_point() else [given[:, j].unique(return_inverse=True) for j in range(width)]
        levels = [len(values) for values, _ in columns]
        for j, (values, place) in enumerate(columns):
            counts = torch.bincount(place)
            if 2 * len(values) > rows or int(counts.min()) < 2:
                lonely = values[counts < 2].tolist()[:5]
                raise ValueError(
                    f"nuisance column {j} has {len(values)} classes for {rows} training rows, {int((counts < 2).sum())} of them "
                    f"with one row (first: {lonely}): a class mean needs at least 2 rows; join rare classes or leave it out"
                )
        nuisance = cls(x.shape[1], levels, width if given.is_floating_point() else 0).to(x.dtype)
        nuisance.classes = torch.cat([values for values, _ in columns]) if columns else nuisance.classes
        nuisance.centre = given.to(x.dtype).mean(0) if given.is_floating_point() else nuisance.centre
        design = nuisance._design(given).double()
        share = design.mean(0)
        design = design - share
        centred = x.double() - x.double().mean(0)
        gram = design.T @ design
        inverse = torch.linalg.pinv(gram, hermitian=True, rtol=1e-10)
        found = inverse @ (design.T @ centred)
        leverage = ((design @ inverse) * design).sum(1) + 1 / rows
        effect = design @ found
        first = sum(levels)
        nuisance.effects = (found[:first] - share[:first] @ found[:first] / max(len(levels), 1)).to(x.dtype)
        nuisance.slopes = found[first:].to(x.dtype)
        residual = x.double().mean(0) + (centred - effect) / (1 - leverage).clamp_min(0.05)[:, None]
        gone = float(effect.square().sum() / centred.square().sum().clamp_min(1e-300))
        return nuisance, residual.to(x.dtype), gone

    def _design(self, given: Tensor) -> Tensor:
        """(n, classes + q): which class each row has in each column, and centred covariates."""
        if self.numbers:
            return given.to(self.slopes) - self.centre
        parts, first = [], 0
        for j, count in enumerate(self.levels):
            known = self.classes[first : first + count]
            place = torch.searchsorted(known, given[:, j].contiguous()).clamp_max(count - 1)
            unseen = (known[place] != given[:, j]).nonzero().squeeze(1)
            if len(unseen):
                raise ValueError(
                    f"nuisance column {j} has classes that the fit has not seen: {given[unseen, j].unique().tolist()[:5]}; "
                    "leave the nuisance of these rows out, nuisance=None"
                )
            parts.append(torch.nn.functional.one_hot(place, count))
            first += count
        return torch.cat(parts, dim=1).to(self.effects)

    def effect(self, given: Any, rows: int) -> Tensor:
        """(n, D): what the nuisance ``given`` (n,) or (n, j) adds to its rows.

        Raises:
            ValueError: another number of rows or columns, another kind, or a class that the fit has not seen.
        """
        known = as_nuisance(given, rows)
        if known.shape[1] != (self.numbers or len(self.levels)) or known.is_floating_point() != bool(self.numbers):
            kind = f"{self.numbers} covariates" if self.numbers else f"{len(self.levels)} columns of class numbers"
            raise ValueError(
                f"the flow was fitted with a nuisance of {kind}, got {known.dtype} of shape {tuple(known.shape)}"
            )
        known = known.to(self.effects.device)
        return self._design(known) @ (self.slopes if self.numbers else self.effects)

    def extra_repr(self) -> str:
        return f"levels={self.levels}" if self.levels else f"numbers={self.numbers}"


def as_nuisance(given: Any, rows: int) -> Tensor:
    """Class numbers (n, j) int64, or covariates (n, q) floating.

    Raises:
        TypeError, ValueError: no numbers, another number of rows, NaN or inf.
    """
    known = as_tensor(given, "nuisance")
    known = known[:, None] if known.ndim == 1 else known
    if known.ndim != 2 or len(known) != rows or not known.shape[1]:
        raise ValueError(f"nuisance must have one row for each of {rows} rows, got shape {tuple(known.shape)}")
    if known.is_complex() or known.dtype == torch.bool:
        raise TypeError(
            f"nuisance must be class numbers or real covariates, got {known.dtype}; number the classes first"
        )
    if known.is_floating_point() and not bool(known.isfinite().all()):
        raise ValueError("nuisance contains NaN or inf; drop those rows first")
    return known.cpu() if known.is_floating_point() else known.to("cpu", torch.int64)
