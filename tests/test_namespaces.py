"""Every public function of arrays, found by its name, under every transformation.

What a function computes is tested elsewhere. Here: whatever operands it takes, compiled code gives
the same, recorded types are those of values, derivatives are those of the values, a batch is a loop
over lanes, and float64 does not appear by itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import testing
from lucidfn.core.ir import Program
from lucidfn.errors import ConcretizationTypeError, MissingRuleError, NonConcreteBooleanIndexError
from lucidfn.types import is_inexact

NAMESPACES = ["numpy", "numpy.linalg", "numpy.fft", "lax", "nn", "scipy.special", "scipy.linalg",
              "scipy.stats"]
NO_ARRAYS = {
    "numpy.finfo", "numpy.iinfo",  # give no arrays
    "numpy.from_dlpack", "numpy.fromiter", "numpy.save", "numpy.savez", "numpy.load",
    "numpy.frombuffer", "numpy.fromfile", "numpy.frompyfunc", "numpy.fromfunction",
    "scipy.linalg.eigh",  # its second operand is a matrix: not every shape that runs is meant
}
# Derivatives that are 0 or absent on purpose, where the values do move; steps as wide as these.
NO_DIFFERENCES = {
    "numpy.nextafter", "lax.nextafter", "numpy.histogram", "lax.stop_gradient",
    "lax.bitcast_convert_type", "numpy.spacing",
}
X = np.array([[0.31, 0.62, 0.23], [0.54, 0.75, 0.16], [0.27, 0.48, 0.91]])
DEPENDS_ON_VALUES = (ConcretizationTypeError, NonConcreteBooleanIndexError)


def functions() -> Iterator[Any]:
    for namespace in NAMESPACES:
        module = importlib.import_module(f"lucidfn.{namespace}")
        for name in sorted(getattr(module, "__all__", dir(module))):
            full, f = f"{namespace}.{name}", getattr(module, name, None)
            dtype_maker = type(f).__name__ in ("ScalarType", "DefaultType")
            if callable(f) and not isinstance(f, type) and not name.startswith("_") \
                    and not dtype_maker and full not in NO_ARRAYS:
                yield pytest.param(full, f, id=full)


FUNCTIONS = list(functions())


def operands(dtype: str) -> dict[str, tuple[Any, ...]]:
    x, y = lnp.asarray(X.astype(dtype)), lnp.asarray((X.T * 0.9 + 0.05).astype(dtype))
    v, w = x[0], y[1]
    return {"matrix": (x,), "vector": (v,), "scalar": (v[0],), "matrices": (x, y),
            "vectors": (v, w), "matrix and vector": (x, w), "matrix and 2.0": (x, 2.0),
            "matrix and 2": (x, 2), "three vectors": (v, w, v * 0.5 + 0.1), "a list": ([v, w],)}


def uses(f: Any, dtype: str) -> Iterator[tuple[str, Any, tuple[Any, ...], list[Any]]]:
    """(what, a function of arrays only, these, leaves it gave) for each way to call f."""
    for what, args in operands(dtype).items():
        try:
            out = f(*args)
        except Exception:  # noqa: S112 - not a way to call it; parity tests know the right ways
            continue
        leaves = lf.tree.leaves(out)
        if not leaves or not all(isinstance(x, lf.Array) for x in leaves):
            continue
        if len(args) == 2 and isinstance(args[1], (int, float)):
            yield what, lambda x, k=args[1]: f(x, k), args[:1], leaves
        else:
            yield what, f, args, leaves


def finite(leaves: list[Any]) -> bool:
    return all(np.isfinite(np.asarray(x)).all() for x in leaves if is_inexact(x.dtype))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "f"), FUNCTIONS)
def test_jit_and_types(name: str, f: Any) -> None:
    for _, g, args, leaves in uses(f, "float32"):
        try:
            structs = lf.tree.leaves(lf.eval_shape(g, *args))
        except DEPENDS_ON_VALUES:
            continue
        assert [s.type for s in structs] == [lf.typeof(x) for x in leaves]
        testing.check_jit(g, args)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "f"), FUNCTIONS)
def test_no_float64_in_float32_programs(name: str, f: Any) -> None:
    if name.rpartition(".")[2] in ("float64", "double", "complex128", "cdouble"):
        return
    for what, g, args, _ in uses(f, "float32"):
        try:
            require_narrow(lf.make_ir(g)(*args), what)
            require_narrow(lf.make_ir(lambda *xs: lf.vjp(moving(g), *xs)[1](
                lf.tree.map(lnp.ones_like, moving(g)(*xs))))(*args), f"gradient of {what}")
        except (*DEPENDS_ON_VALUES, MissingRuleError):
            continue


def moving(f: Any) -> Any:
    """The outputs that have derivatives."""
    return lambda *xs: [y for y in lf.tree.leaves(f(*xs)) if is_inexact(y.dtype)]


def require_narrow(program: Program, what: str) -> None:
    for eqn in program.equations:
        for var in eqn.outputs:
            assert var.type.dtype not in (np.float64, np.complex128), (
                f"{what}: {eqn.primitive} gives {var.type} in\n{program}")
        for _, inner in eqn.programs():
            require_narrow(inner, what)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "f"), FUNCTIONS)
def test_derivatives(name: str, f: Any) -> None:
    if name in NO_DIFFERENCES:
        return
    for what, g, args, leaves in uses(f, "float64"):
        if not finite(leaves) or not any(is_inexact(x.dtype) for x in leaves):
            continue
        try:
            testing.check_grads(g, args, order=1)
        except DEPENDS_ON_VALUES:
            continue
        except MissingRuleError as error:
            assert "no closed form" in str(error), what


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "f"), FUNCTIONS)
def test_batches(name: str, f: Any) -> None:
    for _, g, args, leaves in uses(f, "float64"):
        if not finite(leaves):
            continue
        lanes = tuple(lf.tree.map(lambda a: lnp.stack([a, a * 0.9 + 0.02, a * 0.95]), arg)
                      for arg in args)
        try:
            testing.check_batch(g, lanes, sizes=(3, 0), rtol=1e-8, atol=1e-8)
        except DEPENDS_ON_VALUES:
            continue
