"""Training of funnel flows: data, the staged path, the command line. Names are loaded on first use."""

from flows.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
