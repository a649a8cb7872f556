"""Which supports are debiased, in which order, and which get no more rounds: questions to the progress of a run alone."""

from collections import Counter
from itertools import pairwise

import numpy as np

from training.settings import PathSettings
from training.stages.progress import Progress
from training.stages.selection import lower_hull

_REFINED = 4  # most supports that are debiased beyond path.most_supports, next to the chosen one


def mean_J(measured: dict) -> float:
    """Mean held-out NLL + kappa * kinetic energy of a debiased support, nats per row."""
    return float(measured["rows"][:, 0].mean())


def held_out_J(progress: Progress) -> dict[int, np.ndarray]:
    """For every support debiased so far, its held-out rows' NLL + kappa * kinetic energy (n,)."""
    return {k: measured["rows"][:, 0].numpy() for k, measured in progress.debiased.items()}


def proposals(progress: Progress, path: PathSettings) -> list[int]:
    """The k to debias: 0, the largest, and all others that were met or those that the ramp stayed at longest."""
    met, most = sorted(progress.snapshots), path.most_supports
    if len(met) <= most:
        return [met[0], *met[:0:-1][:1], *met[1:-1]]
    stay = Counter(row["k"] for row in progress.path if row["stage"] == "ramp")
    longest = sorted(met[1:-1], key=lambda k: -stay[k])[: most - 2]
    progress.notes.append(f"{len(met)} supports met, {most} debiased: those at which the ramp stayed longest")
    return [met[0], met[-1], *sorted(longest)]


def off_hull(progress: Progress, k: int, resolution: float) -> bool:
    """Whether support k lies above the hull of the others by more than twice what later rounds brought elsewhere.

    More rounds could not make it best at any lambda, so it does not get them.

    Args:
        resolution: nats that the path resolves.
    """
    others = {n: values for n, values in held_out_J(progress).items() if n != k}
    hull = lower_hull(others) if len(others) > 1 else []
    if not hull or not hull[0].k < k < hull[-1].k:
        return False
    chord = float(np.interp(k, [v.k for v in hull], [v.J for v in hull]))
    return mean_J(progress.debiased[k]) - 2 * progress.later - resolution > chord


def left_out(progress: Progress, most: int) -> int | None:
    """Of the supports met but not debiased next to the chosen one, the middle of the longer run; None where none is left.

    Args:
        most: path.most_supports; at most four more are debiased.
    """
    known = sorted(progress.debiased)
    if not progress.chosen or len(known) >= most + _REFINED:
        return None
    at = known.index(progress.chosen)
    gaps = [[k for k in progress.snapshots if a < k < b] for a, b in pairwise(known[max(at - 1, 0) : at + 2])]
    longer: list[int] = max(gaps, key=len)
    return sorted(longer)[len(longer) // 2] if longer else None
