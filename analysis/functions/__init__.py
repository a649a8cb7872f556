"""Structure of functions that no change of coordinates can hide, and what does prefer coordinates.

Any torch callable that maps rows (B, D) to rows (B, E), each row by itself, will do.
"""

from flows.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
