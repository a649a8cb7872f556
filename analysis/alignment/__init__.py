"""Alignment of two structure blocks without pairs: every rigid map that fits, the symmetries, and whether one is the only one."""

from flows.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
