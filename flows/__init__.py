"""Funnel flows: continuous normalizing flows that narrow with depth.

One time direction (data at depth t = 0, latent at t = 1) and one argument order, ``f(t, z)``.
Names are loaded on first use, so ``import flows`` costs little more than torch.
"""

from flows.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
