"""The answer of an aligner in words: what goes where, what stays ambiguous, and why."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from analysis.alignment import proportions

if TYPE_CHECKING:
    from analysis.alignment.aligner import Aligner
    from analysis.alignment.symmetry import Symmetry

MOST_WAYS = 6  # alternatives are told apart in words up to so many


def verdict(aligner: Aligner) -> str:
    """All of it, line by line."""
    return "\n".join([headline(aligner), "", *matches(aligner), "", *ambiguity(aligner), "", *doubts(aligner)])


def headline(aligner: Aligner) -> str:
    """Aligned or not, and how sure."""
    wide = aligner.metric_ == "layer"
    sizes = f"{aligner.a_.s.shape[1]} -> {aligner.b_.s.shape[1]} {'dimensions' if wide else 'structure dimensions'}"
    against = "clouds whose pieces lie elsewhere" if wide else "bent structures"
    figures = f"score {aligner.score_:.2f}, p = {aligner.p_value_:.3f} against {against}"
    if not aligner.is_aligned_:
        return f"no alignment: {sizes}; the best map fits no better than mismatched structures do ({figures})"
    if aligner.is_unique_:
        return f"aligned, and the map is unique among rigid maps at this resolution: {sizes} ({figures})"
    if aligner.symmetry_.is_trivial and wide:
        count = len(aligner.alternatives_)
        kept = (
            f"one of {count} maps that rows do not tell apart"
            if count > 1
            else "but nothing rules out another map as good"
        )
        return f"aligned, {kept}: {sizes} ({figures})"
    return f"aligned up to {_called(aligner.symmetry_)}: {sizes} ({figures})"


def matches(aligner: Aligner) -> list[str]:
    """Pieces and loops, and their partners."""
    lines = [
        f"piece {m.a} of a ({m.mass_a:.1%}) goes with piece {m.b} of b ({m.mass_b:.1%}), overlap {m.score:.2f}"
        for m in aligner.matches_
    ]
    for side, pieces in aligner.unmatched_.items():
        if pieces:
            lines.append(f"without a partner in {side}: piece {', '.join(map(str, pieces))}")
    for m in aligner.loop_matches_:
        way = "the same way" if m.winding == 1 else "the other way"
        lines.append(
            f"loop {m.a} of a goes once around loop {m.b} of b, {way} as their angles run, score {m.score:.2f}"
        )
    for side, loops in aligner.unmatched_loops_.items():
        if loops:
            lines.append(f"without a partner in {side}: loop {', '.join(map(str, loops))}")
    return lines


def ambiguity(aligner: Aligner) -> list[str]:
    """What stays open."""
    group, count = aligner.symmetry_, len(aligner.alternatives_)
    if aligner.is_unique_:
        return ["nothing stays ambiguous: one near-optimal map, and neither model has a symmetry."]
    lines = [_of_group(group)]
    if count > 1:
        kind = "one of each component of a continuous family" if group.continuous else "all of them"
        ways = Counter(_kinds(aligner)).items()
        parts = [f"{way} ({times} of them)" if times > 1 else way for way, times in ways]
        told = ", ".join(parts[:MOST_WAYS]) + (", and so on" if len(parts) > MOST_WAYS else "")
        lines.append(f"{count} distinct near-optimal maps ({kind}): {told}")
    names = [own.name for own in aligner.own_symmetries_]
    if len({group.name, *names}) > 1:
        lines.append(
            f"the symmetries do not agree: {', '.join(f'{own} in {side}' for own, side in zip(names, 'ab', strict=False))}, "
            f"{group.name} in both and between them; the resolution is too coarse, or the models differ"
        )
    if not aligner._solution.found.is_thorough:
        lines.append(
            f"{aligner.reached_[0]} of {aligner.reached_[1]} starts drawn at random led to the best map: too few to say "
            "that there is no other"
        )
    if not group.is_trivial or count > 1:
        lines.append("pairs, labels or a function known on both sides (pairs=, labels=, values=) would narrow it down")
    return lines


def doubts(aligner: Aligner) -> list[str]:
    """What the answer rests on."""
    lines = [*(aligner.geometry_.lines() if aligner.geometry_ else []), *_transfer(aligner)]
    lines += [
        f"all of this holds for rigid maps, at the kappa of the two fits, of {min(len(aligner.a_.s), aligner.rows)} and "
        f"{min(len(aligner.b_.s), aligner.rows)} rows, and to {aligner.tolerance:g} degrees (seed {aligner.seed})"
    ]
    lines += proportions.lines(aligner)
    if aligner.part_ is not None:
        kind, (one, other) = aligner.part_
        what = "chosen rows of either" if kind == "only" else f"{kind} {one!r} of a and {kind} {other!r} of b"
        lines.insert(0, f"{what} alone: this says nothing about the rest")
    if aligner.evidence_:
        lines.append(f"evidence used: {', '.join(aligner.evidence_)}")
    if aligner.pairs_apart_ is not None:
        lines.append(
            f"the best map leaves the known pairs {aligner.pairs_apart_:.0%} as far apart as rows drawn at random"
            + (": they do not fit the structures, so look at them" if aligner.differs_ else "")
        )
        if aligner.evidence_ == ("1 pair",):
            lines.append(
                "one pair cannot be checked: if it is wrong, so is the map, and nothing shows it; a second pair would"
            )
    left = [f"{side}'s piece {', '.join(map(str, pieces))}" for side, pieces in aligner.left_out_.items() if pieces]
    if left:
        lines.append(
            f"the whole of one does not fit the whole of the other; without {' and '.join(left)} the rest does, as it may "
            "without others"
        )
    elif aligner.differs_:
        lines.append(
            "even the best map costs more than chance: the two structures differ, and maps that differ by less than they do "
            "count as one answer"
        )
    if aligner.correction_ is not None:
        lines.append(f"after the rigid map: {aligner.correction_!r}")
    return lines


def _transfer(aligner: Aligner) -> list[str]:
    """Labels carried over, where both sides have them."""
    got = aligner.transfer_
    if got is None:
        return []
    return [
        f"labels of a on b's rows: {got.accuracy:.1%} right by a vote of 5 mapped rows; b's own rows give {got.own:.1%}"
    ]


def _called(group: Symmetry) -> str:
    return group.name if group.is_resolved else f"a symmetry that is not resolved ({len(group.elements)} maps or more)"


def _of_group(group: Symmetry) -> str:
    if not group.is_resolved:
        return (
            f"the structure looks the same under {len(group.elements)} maps or more: too many for a finite group, "
            "as likely as not a continuous family that so few rows do not show; raise rows"
        )
    if group.continuous:
        turns = f"{group.continuous} direction{'s' * (group.continuous > 1)} in which it may turn freely"
        return f"the structure looks the same under {group.name}: {turns}, {len(group.elements)} components"
    if group.is_trivial:
        return "no symmetry shows in both models and between them"
    return f"the structure looks the same under {group.name}, {group.order} maps: shape alone cannot choose among them"


def _kinds(aligner: Aligner) -> list[str]:
    """How each alternative relates to the best map."""
    best = aligner.alternatives_[0].matrix
    out = []
    for other in aligner.alternatives_[1:]:
        step = other.matrix @ best.T if len(best) <= best.shape[1] else best.T @ other.matrix
        angles = np.abs(np.degrees(np.angle(np.linalg.eigvals(step))))
        mirrored = "a mirror image" if np.linalg.det(step) < 0 else ""
        turn = angles[angles < 179.9].max(initial=0.0) if mirrored else angles.max()
        turned = f"turned by {turn:.0f} degrees" if turn > 1 else ""
        out.append(" ".join(filter(None, (mirrored, turned))) or "the same, shifted")
    return ["the best", *out]
