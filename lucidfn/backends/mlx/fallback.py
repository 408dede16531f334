"""Primitives that MLX cannot compute: their operands go to the CPU, to the NumPy kernel and back.

Such a step waits for its operands, and a compiled program is cut there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lucidfn.backends.mlx.arrays import from_numpy, to_numpy
from lucidfn.backends.numpy import backend as numpy_backend
from lucidfn.backends.transfers import note
from lucidfn.core.primitive import Primitive
from lucidfn.types import SCALARS


def host(primitive: Primitive, *args: Any, **params: Any) -> Any:
    """The NumPy kernel on copies of the operands; the results as MLX arrays."""
    note(primitive.name, "{} has no MLX kernel for this and ran on 'cpu'", primitive.name)
    values = [a if type(a) in SCALARS else to_numpy(a) for a in args]
    out = numpy_backend.run(primitive, values, params)
    return [from_numpy(o) for o in out] if primitive.many else from_numpy(out)


def on_host(primitive: Primitive) -> Callable[..., Any]:
    """A kernel that always takes this way; `on_host` marks it for the compiler."""
    def run(*args: Any, **params: Any) -> Any:
        return host(primitive, *args, **params)

    run.on_host = True  # type: ignore[attr-defined]
    return run


def on_host_if(primitive: Primitive, wanted: Callable[..., bool],
               kernel: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel`, but the NumPy kernel where `wanted(*args, **params)` says so.

    `wanted` looks at shapes and dtypes alone, so that the compiler can ask it beforehand with
    types for operands: it is kept as `on_host_if`.
    """
    def run(*args: Any, **params: Any) -> Any:
        if wanted(*args, **params):
            return host(primitive, *args, **params)
        return kernel(*args, **params)

    run.on_host_if, run.on_device = wanted, kernel  # type: ignore[attr-defined]
    return run


def uncompiled(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A lazy kernel of hundreds of operations, for which a compiler would take too long: compiled
    programs are cut there too."""
    def run(*args: Any, **params: Any) -> Any:
        return kernel(*args, **params)

    run.on_host_if = lambda *_, **__: True  # type: ignore[attr-defined]
    return run
