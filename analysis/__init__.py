"""Analysis of a trained flow's structure block. Names are loaded on first use; torch is not needed for numpy work."""

from flows.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
