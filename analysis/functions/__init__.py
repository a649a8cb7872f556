"""Structure of functions that no change of coordinates can hide, and what does prefer coordinates.

Any torch callable that maps rows (B, D) to rows (B, E), each row by itself, will do.
"""

from importlib import import_module

_HOMES = {
    "coordinate_freedom": "freedom",
    "Freedom": "freedom",
    "View": "freedom",
    "Noise": "noise",
    "finite_function": "finite",
    "equivalent": "finite",
    "FiniteFunction": "finite",
    "factorize": "factorization",
    "rank_table": "tables",
    "Factorization": "factorization",
    "fibre": "fibres",
    "Fibre": "fibres",
    "preferred_axes": "axes",
    "PreferredAxes": "axes",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'analysis.functions' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"analysis.functions.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
