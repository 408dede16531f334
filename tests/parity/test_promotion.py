"""The promotion of all pairs of dtypes, scalars and weak arrays, beside JAX's."""

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest

pytestmark = pytest.mark.peers
jax = pytest.importorskip("jax")

import lucidfn as lf  # noqa: E402
import lucidfn.numpy as lnp  # noqa: E402

NARROW = ["bool", "int8", "int16", "int32", "uint8", "uint16", "uint32", "float16", "bfloat16",
          "float32", "complex64"]
WIDE = [*NARROW, "int64", "uint64", "float64", "complex128"]
SCALARS = [True, 1, 1.0, 1j]
FUNCTIONS = ["add", "multiply", "divide", "power", "where", "maximum", "equal", "concatenate"]


def operand(spec: Any, module: Any) -> Any:
    """A strong array, a scalar, or a weak array of a scalar: ("weak", 1.0)."""
    if isinstance(spec, str):
        dtype = ml_dtypes.bfloat16 if spec == "bfloat16" else spec
        return module.asarray(np.ones(2, dtype))
    return module.asarray(spec[1]) * module.asarray(spec[1]) if isinstance(spec, tuple) else spec


# A power of a Python float and an integer array is strong in JAX; here it is weak, like a product.
def types(function: str, a: Any, b: Any, module: Any, infer: Any) -> str:
    x, y = operand(a, module), operand(b, module)
    if function == "where":
        run = lambda: module.where(np.array([True, False]), x, y)
    elif function == "concatenate":
        run = lambda: module.concatenate([module.atleast_1d(x), module.atleast_1d(y)])
    else:
        run = lambda: getattr(module, function)(x, y)
    try:
        out = infer(run)
    except (TypeError, ValueError, NotImplementedError):
        return "no result"
    weak = out.weak_type and out.dtype != np.bool_ and function not in ("concatenate", "power")
    return f"{out.dtype.name}{'*' * bool(weak)}"


def exempt(function: str, a: Any, b: Any, wide: bool) -> bool:
    """JAX with x64 gives the quotient of two narrow integers, and powers of booleans, 32 bits;
    ours have the default width, as the quotient of two wide ones has. And True / True is weak."""
    kinds = {kind_of(a), kind_of(b)}
    if function == "power":
        return wide and "bool" in kinds and kinds <= {"bool", "int"} and not (
            kind_of(a) != kind_of(b) and {str(a), str(b)} & set(WIDE[1:]))
    return function == "divide" and kinds <= {"bool", "int"} and (wide or a is b is True)


def kind_of(spec: Any) -> str:
    value = spec[1] if isinstance(spec, tuple) else spec
    return value.strip("u0123456789") if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("wide", [False, True])
def test_pairs(function: str, wide: bool) -> None:
    """Every pair of dtypes, Python scalars and weak arrays gives JAX's dtype and weakness."""
    specs: list[Any] = [*(WIDE if wide else NARROW), *SCALARS, *[("weak", s) for s in SCALARS[1:]]]
    defaults = {"default_float": "float64", "default_int": "int64"} if wide else {}
    different = []
    for a, b in itertools.product(specs, specs):
        with jax.enable_x64(wide):
            want = types(function, a, b, jax.numpy, lambda run: jax.eval_shape(run))
        with lf.config.override(**defaults):
            got = types(function, a, b, lnp, lambda run: run())
        if got != want and not exempt(function, a, b, wide):
            different.append(f"{function}({a}, {b}): {got}, want {want}")
    assert not different, "\n".join([f"{len(different)} of {len(specs) ** 2}", *different[:40]])


@pytest.mark.parametrize("wide", [False, True])
def test_promote_types(wide: bool) -> None:
    names = WIDE if wide else NARROW
    for a, b in itertools.product(names, names):
        with jax.enable_x64(wide):
            want = jax.numpy.promote_types(a, b).name
        defaults = {"default_float": "float64", "default_int": "int64"} if wide else {}
        with lf.config.override(**defaults):
            assert lnp.promote_types(a, b).name == want, (a, b)


def test_dtype_names() -> None:
    """The dtypes and constants of `jax.numpy` that are also ours mean the same."""
    for name in [*WIDE[1:], "bool_"]:
        assert np.dtype(getattr(lnp, name)) == np.dtype(getattr(jax.numpy, name)), name
    for name in ("pi", "e", "inf", "nan", "newaxis", "euler_gamma"):
        np.testing.assert_equal(getattr(lnp, name), getattr(jax.numpy, name))
