"""Training of funnel flows: data, the staged path, the command line. Names are loaded on first use."""

from importlib import import_module

_HOMES = {
    "fit": "fitting",
    "FitResult": "fitting",
    "ModelSettings": "settings",
    "PathSettings": "settings",
    "FunnelModule": "module",
    "FunnelEstimator": "estimator",
    "untangle": "untangling",
    "planted": "planting",
    "PLANTED_NAMES": "planting",
    "relevance": "heads",
    "capture": "capturing",
    "as_activations": "positions",
    "Activations": "activations",
    "read_activations": "activations",
    "subject": "subjects",
    "trained_subject": "subjects",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'training' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"training.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
