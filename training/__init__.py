"""Training of funnel flows: data, the staged path, the command line. Names are loaded on first use."""

from importlib import import_module

_HOMES = {
    "fit": "fitting",
    "FitResult": "fitting",
    "ModelSettings": "settings",
    "PathSettings": "settings",
    "FunnelModule": "stages.module",
    "FunnelEstimator": "estimator",
    "untangle": "untangling.untangle",
    "planted": "data.planting",
    "PLANTED_NAMES": "data.planting",
    "relevance": "data.heads",
    "capture": "data.capturing",
    "as_activations": "data.positions",
    "Activations": "data.activations",
    "read_activations": "data.activations",
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
