"""Two runs side by side: what was fitted, how, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.analyzer import Analyzer


@dataclass(frozen=True, repr=False)
class Comparison:
    """A table of two runs.

    Attributes:
        names: the two runs.
        rows: (what, value in the first, value in the second).
    """

    names: tuple[str, str]
    rows: tuple[tuple[str, str, str], ...]

    @property
    def differences(self) -> list[str]:
        """What differs."""
        return [what for what, a, b in self.rows if a != b]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"runs": list(self.names), "rows": {what: [a, b] for what, a, b in self.rows}}

    def __repr__(self) -> str:
        table = [("", *self.names), *self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(3)]
        return "\n".join(
            f"{what:{widths[0]}}  {a:{widths[1]}}  {b:{widths[2]}}{'  *' if i and a != b else ''}".rstrip()
            for i, (what, a, b) in enumerate(table)
        )


def compare(a: Analyzer, b: Analyzer) -> Comparison:
    """Two analyzers of run folders; rows that differ are starred.

    Raises:
        ValueError: one of them has no run.
    """
    if a.run is None or b.run is None:
        raise ValueError("compare needs two runs; load both with Analyzer.load(folder)")
    facts = [_facts(a), _facts(b)]
    names = (str(a.run.folder), str(b.run.folder))
    return Comparison(names, tuple((what, value, facts[1][what]) for what, value in facts[0].items()))


def _facts(analyzer: Analyzer) -> dict[str, str]:
    assert analyzer.run is not None
    result, found = analyzer.run.result, analyzer.dimensions()
    config = analyzer.run.config
    return {
        "data": str(result.get("data")),
        "columns": str(analyzer.flow.front.features),
        "seed": str(result.get("seed")),
        "kappa": _setting(config, "kappa"),
        "k": f"{found.structure_dim} of {found.dims}",
        "confidence": f"{found.confidence:.2f}",
        "stability": f"{found.stability:.2f}",
        "worth (nats)": "/".join(f"{w:.3f}" for w in found.worth[:6]) + (" ..." if len(found.worth) > 6 else "") or "-",
        "null (nats)": f"{found.null_worth:.3f}",
        "nll (nats per row)": _number(result.get("nll")),
        "kinetic energy": _number(result.get("kinetic")),
        "steps": str(result.get("steps")),
        "pieces": repr(analyzer.tree()).splitlines()[0],
        "certificate": analyzer.certificate().verdict,
        "tear": str(analyzer.tear().verdict),
    }


def _setting(config: str, name: str) -> str:
    lines = [line.strip() for line in config.splitlines()]
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "?")


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"
