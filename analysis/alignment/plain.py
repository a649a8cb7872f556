"""An alignment as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analysis.alignment.rigid import Rigid

if TYPE_CHECKING:
    from analysis.alignment.aligner import Aligner

MOST_LISTED = 10_000  # entries of a matrix


def to_dict(aligner: Aligner) -> dict[str, Any]:
    """All of it without the plan; a matrix of more than 10 000 entries is None."""
    costs = aligner._solution.agreement.optima
    geometry, transfer = aligner.geometry_, aligner.transfer_
    return {
        "metric": aligner.metric_,
        **_map(aligner.map_),
        "alternatives": [
            {**_map(m), "transport": o.cost.transport, "gap": o.cost.gap}
            for m, o in zip(aligner.alternatives_, costs, strict=True)
        ],
        "symmetry": aligner.symmetry_.to_dict()
        if aligner.symmetry_.elements[0].size <= MOST_LISTED
        else aligner.symmetry_.name,
        "own_symmetries": [group.to_dict() for group in aligner.own_symmetries_],
        "is_unique": aligner.is_unique_,
        "reached": aligner.reached_,
        "matches": [match.to_dict() for match in aligner.matches_],
        "unmatched": aligner.unmatched_,
        "loop_matches": [match.to_dict() for match in aligner.loop_matches_],
        "unmatched_loops": aligner.unmatched_loops_,
        "left_out": aligner.left_out_,
        "score": aligner.score_,
        "p_value": aligner.p_value_,
        "differs": aligner.differs_,
        "evidence": list(aligner.evidence_),
        "pairs_apart": aligner.pairs_apart_,
        "geometry": None if geometry is None else geometry.to_dict(),
        "label_transfer": None if transfer is None else transfer.to_dict(),
        "correction": None if aligner.correction_ is None else aligner.correction_.to_dict(),
        "proportions": aligner.proportions,
        "rows": aligner.rows,
        "tolerance_degrees": aligner.tolerance,
        "seed": aligner.seed,
    }


def _map(map: Rigid) -> dict[str, Any]:
    matrix = map.matrix.tolist() if map.matrix.size <= MOST_LISTED else None
    return {"matrix": matrix, "shift": map.shift.tolist(), "scale": map.scale}
