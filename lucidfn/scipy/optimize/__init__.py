"""Minima of functions: `minimize`."""

from lucidfn.scipy.optimize.minimize import OptimizeResults, minimize

__all__ = ["OptimizeResults", "minimize"]
