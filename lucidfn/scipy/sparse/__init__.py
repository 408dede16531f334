"""Iterative solvers of linear equations: `sparse.linalg`."""

from lucidfn.scipy.sparse import linalg

__all__ = ["linalg"]
