"""Funnel flows: continuous normalizing flows that narrow with depth.

One time direction (data at depth t = 0, latent at t = 1) and one argument order, ``f(t, z)``.
Names are loaded on first use, so ``import flows`` costs little more than torch.
"""

from importlib import import_module

_HOMES = {
    "FunnelFlow": "flow",
    "Field": "field",
    "Exits": "exits",
    "GatedMixture": "base",
    "Front": "front",
    "Lift": "lift",
    "Untangled": "untangled",
    "load": "io.store",
    "StrongDiffeo": "diffeo",
    "intervene": "nets.intervening",
    "Relevance": "nets.relevance",
    "Question": "nets.questions",
    "Tail": "nets.tail",
    "Nuisance": "geometry.nuisance",
    "as_rows": "io.inputs",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'flows' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"flows.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
