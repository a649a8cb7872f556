"""Alignment of two structure blocks without pairs: every rigid map that fits, the symmetries, and whether one is the only one."""

from importlib import import_module

_HOMES = {
    "Aligner": "aligner",
    "Symmetry": "symmetry",
    "Rigid": "rigid",
    "Match": "matching",
    "foscttm": "scores",
    "label_transfer": "scores",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'analysis.alignment' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"analysis.alignment.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
