"""Rows that mislead a fit: each check is a function from rows to a sentence for the verdict, or None."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from flows.front import Front
from flows.geometry.outlying import named
from flows.io.rows import CHUNK, Rows

DOUBTFUL = 0.5  # the largest confidence of a verdict that rows like these make doubtful
_NAMED = 8  # of rows or columns, the first that a sentence names
_FEW = 32  # values of a column that are few
_ROWS_PER_DIMENSION = 20  # fewer hold no structure against noise; settings.ModelSettings.front goes by the same number
_OTHERS = 200  # rows that a series is told by
_ROUNDING = 10  # times the precision of the numbers: what is smaller is rounding


@dataclass(frozen=True)
class Oddity:
    """What a verdict has to say of its rows.

    Attributes:
        sentence: what was found, what was done, what to do.
        most: the largest confidence that the verdict can have.
        adds: the rows can only make structure where there is none: no structure found stands as it is.
        claim: what alone is claimed where structure is found: the first line of the verdict.
    """

    sentence: str
    most: float = 1.0
    adds: bool = False
    claim: str = ""

    def limit(self, structure_dim: int) -> float:
        """The largest confidence of a verdict of k dimensions."""
        return 1.0 if self.adds and structure_dim == 0 else self.most


def oddities(x: Tensor | Rows, front: Front, time: int = 1) -> list[Oddity | None]:
    """What there is to say of rows (N, D) whose front is fitted; of more than 2^24 numbers that many are looked at.

    ``time`` is the autocorrelation time of a recording, in rows.
    """
    sample = x[:: max(1, x.shape[0] * x.shape[1] // CHUNK)]
    few = too_few(x.shape[0], front.kept, time)
    return [few, below_the_floor(sample, front), of_few_values(sample, float(front.floor)), of_one_norm(sample)]


def constant_in_training(x: Tensor | Rows, held_out: Tensor, front: Front) -> Oddity | None:
    """Columns of one value in all training rows (N, D) and of others in held-out rows (n, D): the flow cannot know of them."""
    constant = front.twin_of == torch.arange(front.features, device=front.twin_of.device)
    constant[front.columns] = False
    columns = constant.cpu().nonzero().squeeze(1)
    columns = columns[(held_out[:, columns] != x[:1][:, columns]).any(0)]
    if not len(columns):
        return None
    return Oddity(
        f"columns {listed(columns.tolist())} have one value in all training rows and others in held-out rows: they were "
        "set aside, and no density was fitted to them; leave them out, or bring more rows (or sources) in which they vary"
    )


def too_few(rows: int, dims: int, time: int = 1) -> Oddity | None:
    """Fewer than 20 training rows for each dimension that enters the flow: neither structure nor its absence can be shown.

    Rows that are alike over ``time`` rows count as rows / (2 time) independent ones, as a mean's variance has it where the
    autocorrelation falls as exp(-lag / time).
    """
    said = f"{rows} training rows"
    if time > 1:
        rows //= 2 * time
        said += f", alike over {time} rows and so worth {rows} independent ones,"
    if rows >= _ROWS_PER_DIMENSION * dims:
        return None
    return Oddity(
        f"{said} for {dims} dimensions, fewer than {_ROWS_PER_DIMENSION} for each, show neither structure nor its "
        f"absence: bring more rows, or let fewer directions in (model.keep {max(1, rows // _ROWS_PER_DIMENSION)})",
        DOUBTFUL,
    )


def set_aside(rows: Tensor, count: int) -> Oddity | None:
    """Rows (n,) of ``count`` that are outlying."""
    return Oddity(named(rows, count)) if len(rows) else None


def centred(offset: list[int] | None) -> Oddity | None:
    """What was taken off each column (D,) before it became floating."""
    if not offset:
        return None
    return Oddity(
        f"whole numbers beyond 2^53 less the smallest of their column ({listed(offset)}) were fitted; take the same off rows "
        "that you pass to the flow"
    )


def in_a_series(x: Tensor | Rows) -> Oddity | None:
    """Rows (N, D) of a recording: most are nearer to the next row than to any of 200 others from elsewhere."""
    count = x.shape[0]
    if count < 2 * _OTHERS:
        return None
    at = torch.linspace(0, count - 2, _OTHERS).long()
    own, following = x[at].double(), x[at + 1].double()
    others = torch.cdist(own, own)
    others[(at[:, None] - at).abs() < count / 20] = torch.inf
    share = float(((own - following).norm(dim=1) < others.amin(1)).double().mean())
    if share <= 0.5:
        return None
    return Oddity(
        f"rows next to one another are alike ({share:.0%} are nearer to the next row than to any of {_OTHERS} others), as in a "
        "recording or among rows of one prompt: split row by row, held-out rows have near twins among the training rows; say "
        "order='time' (--data.order time) of a recording, or which rows belong together (groups=)",
        DOUBTFUL,
        adds=True,
    )


def below_the_floor(x: Tensor, front: Front) -> Oddity | None:
    """Directions smaller than the noise floor, but larger than rounding; a whole column among them makes the verdict doubtful."""
    if front.kind != "whiten" or front.kept == front.used:
        return None
    own = x[:, front.columns].double()
    rounding = _ROUNDING * torch.finfo(x.dtype).eps * float(own.square().mean().sqrt())
    idle = (own @ front.basis[:, front.kept :].double()).std(0)
    count, floor = int((idle > rounding).sum()), float(front.floor)
    if not count:
        return None
    spreads = own.std(0)
    columns = front.columns[(spreads < floor) & (spreads > rounding)].tolist()
    whole = f"; columns {listed(columns)} lie there whole" if columns else ""
    return Oddity(
        f"{count} directions below the noise floor {floor:.3g} were not examined{whole}: divide every column by its standard "
        f"deviation, or lower model.noise_floor to {float(idle[idle > rounding].min() / front.scales[0]) / 2:.0e}",
        DOUBTFUL if columns else 1.0,
    )


def of_few_values(x: Tensor, floor: float = 0.0) -> Oddity | None:
    """Columns of counts, classes or coarsely rounded numbers: 32 values hold 95 % of the rows, several of them more than 1 %.

    Those of an sd below ``floor`` do not enter the flow.
    """
    columns = [j for j, sd in enumerate(x.double().std(0).tolist()) if sd > floor and _is_discrete(x[:, j])]
    if not columns:
        return None
    return Oddity(
        f"columns {listed(columns)} hold few distinct values: a lattice has no density, and structure found there is likely its "
        "discreteness; leave them out, or add uniform noise of one step",
        DOUBTFUL,
        adds=True,
    )


def _is_discrete(column: Tensor) -> bool:
    counts = column.unique(return_counts=True)[1].sort(descending=True).values / len(column)
    return len(counts) > 1 and float(counts[1]) > 0.01 and float(counts[:_FEW].sum()) >= 0.95


def of_one_norm(x: Tensor) -> Oddity | None:
    """Normalised rows: a circle or a sphere in two or three columns is what it is, in more the flow sees a part of it."""
    norms = x.double().norm(dim=1)
    if x.shape[1] < 2 or not float(norms.std()) < 1e-3 * float(norms.mean()):
        return None
    return Oddity(
        f"all rows have one norm, {float(norms.mean()):.3g}: they lie on a sphere, which is bent and closed by itself; nothing "
        "else is claimed. Fit the rows as they were before they were normalised",
        1.0 if x.shape[1] <= 3 else DOUBTFUL,
        adds=True,
        claim=f"a sphere: all rows have norm {float(norms.mean()):.3g}. The dimensions below are its own, and nothing else is",
    )


def claimed(found: Iterable[Oddity], structure_dim: int) -> str:
    """What alone a verdict of k dimensions claims; empty where k stands as it is."""
    return next((oddity.claim for oddity in found if oddity.claim and structure_dim), "")


def listed(numbers: list[int]) -> str:
    """The first eight of them, and how many there are."""
    more = f", ... ({len(numbers)} in all)" if len(numbers) > _NAMED else ""
    return f"{', '.join(map(str, numbers[:_NAMED]))}{more}"
