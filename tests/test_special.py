"""Special functions as primitives: values at known points, derivatives, missing rules."""

import math

import numpy as np
import pytest

import lucidfn as lf
from lucidfn import ops
from lucidfn.array import unwrap, wrap
from lucidfn.errors import MissingRuleError
from lucidfn.testing import check_grads

A = np.array

# name, operands, the operands that can be differentiated once, and those twice
DERIVATIVES = [
    ("erf", [A([-2.0, -0.3, 0.0, 0.4, 1.7])], [0], [0]),
    ("erfc", [A([-2.0, -0.3, 0.0, 0.4, 1.7])], [0], [0]),
    ("erf_inv", [A([-0.9, -0.3, 0.0, 0.4, 0.97])], [0], [0]),
    ("ndtri", [A([0.1, 0.3, 0.5, 0.8])], [0], [0]),
    ("lgamma", [A([-1.3, 0.2, 1.0, 2.5, 11.0])], [0], [0]),
    ("digamma", [A([-1.3, 0.2, 1.0, 2.5, 11.0])], [0], [0]),
    ("polygamma", [A([0.0, 1.0, 2.0, 3.0]), A([0.3, 1.2, 2.0, 7.0])], [1], [1]),
    ("zeta", [A([1.5, 2.0, 3.0, 5.0]), A([0.3, 1.2, 2.0, 7.0])], [1], [1]),
    ("igamma", [A([0.5, 1.0, 3.0, 10.0]), A([0.3, 1.2, 2.0, 11.0])], [0, 1], [1]),
    ("igammac", [A([0.5, 1.0, 3.0, 10.0]), A([0.3, 1.2, 2.0, 11.0])], [0, 1], [1]),
    ("igamma_grad_a", [A([0.5, 1.0, 3.0, 10.0]), A([0.3, 1.2, 2.0, 11.0])], [1], [1]),
    ("random_gamma_grad", [A([0.5, 1.0, 3.0, 10.0]), A([0.3, 1.2, 2.0, 11.0])], [1], [1]),
    ("betainc", [A([0.5, 1.0, 3.0, 9.0]), A([0.4, 2.0, 3.0, 5.0]), A([0.1, 0.5, 0.8, 0.6])],
     [0, 1, 2], [2]),
    ("betainc_grad_a", [A([0.5, 2.0]), A([0.4, 3.0]), A([0.1, 0.6])], [2], [2]),
    ("betainc_grad_b", [A([0.5, 2.0]), A([0.4, 3.0]), A([0.1, 0.6])], [2], [2]),
    ("bessel_i0e", [A([-3.0, -0.2, 0.3, 10.0])], [0], [0]),
    ("bessel_i1e", [A([-3.0, -0.2, 0.3, 10.0])], [0], [0]),
    ("expi", [A([-3.0, -0.6, 0.3, 4.0])], [0], [0]),
    ("xlogy", [A([-1.0, 0.5, 2.0]), A([0.3, 1.0, 4.0])], [0, 1], [0, 1]),
    ("xlog1py", [A([-1.0, 0.5, 2.0]), A([-0.3, 1.0, 4.0])], [0, 1], [0, 1]),
    ("logistic", [A([-3.0, -0.2, 0.3, 10.0])], [0], [0]),
]


def public(name):
    primitive = getattr(ops, name)
    return lambda *xs: wrap(primitive(*[unwrap(x) for x in xs]))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("name", "args", "once", "twice"), DERIVATIVES, ids=lambda x: str(x)[:14])
def test_derivatives(name, args, once, twice, order):
    moving = once if order == 1 else twice

    def f(*xs):
        full = list(args)
        for i, x in zip(moving, xs, strict=True):
            full[i] = x
        return public(name)(*full)

    check_grads(f, [args[i] for i in moving], order)


@pytest.mark.parametrize(("name", "args", "operand", "word"), [
    ("betainc_grad_a", (2.0, 3.0, 0.5), 0, "in a"), ("betainc_grad_b", (2.0, 3.0, 0.5), 1, "in b"),
    ("polygamma", (1.0, 2.0), 0, "in n"), ("zeta", (2.0, 3.0), 0, "in s"),
    ("igamma_grad_a", (2.0, 3.0), 0, "in a"), ("random_gamma_grad", (2.0, 3.0), 0, "in a"),
])
def test_a_derivative_that_is_not_known_is_an_error(name, args, operand, word):
    with pytest.raises(MissingRuleError, match=f"{name}.*{word}"):
        lf.grad(public(name), operand)(*[A(a) for a in args])


# name, operands, value, derivatives (None: not looked at)
BOUNDARIES = [
    ("xlogy", (0.0, 0.0), 0.0, (-math.inf, 0.0)),
    ("xlogy", (0.0, 2.0), 0.0, (math.log(2.0), 0.0)),
    ("xlog1py", (0.0, -1.0), 0.0, (-math.inf, 0.0)),
    ("xlogy", (1.0, 0.0), -math.inf, (-math.inf, math.inf)),
    ("xlogy", (0.0, math.nan), math.nan, (None, None)),
    ("igamma", (1.0, 0.0), 0.0, (None, 1.0)),
    ("igamma", (2.0, 0.0), 0.0, (None, 0.0)),
    ("igamma", (0.5, 0.0), 0.0, (None, math.inf)),
    ("igamma", (2.0, math.inf), 1.0, (None, 0.0)),
    ("igamma_grad_a", (2.0, 0.0), 0.0, (None, 0.0)),
    ("betainc", (2.0, 3.0, 0.0), 0.0, (0.0, 0.0, 0.0)),
    ("betainc", (2.0, 3.0, 1.0), 1.0, (0.0, 0.0, 0.0)),
    ("betainc", (1.0, 3.0, 0.0), 0.0, (0.0, 0.0, 3.0)),
    ("betainc_grad_a", (2.0, 3.0, 0.0), 0.0, (None, None, 0.0)),
    ("bessel_i0e", (0.0,), 1.0, (0.0,)),
    ("bessel_i1e", (0.0,), 0.0, (0.5,)),
    ("erf_inv", (1.0,), math.inf, (math.inf,)),
    ("erf", (math.inf,), 1.0, (0.0,)),
    ("ndtri", (0.0,), -math.inf, (math.inf,)),
    ("lgamma", (0.0,), math.inf, (None,)),
    ("logistic", (-800.0,), 0.0, (0.0,)),
]


@pytest.mark.parametrize(("name", "args", "value", "slopes"), BOUNDARIES)
def test_boundaries(name, args, value, slopes):
    args = [A(a) for a in args]
    np.testing.assert_equal(float(public(name)(*args)), value)
    for i, slope in enumerate(slopes):
        if slope is not None:
            np.testing.assert_allclose(float(lf.grad(public(name), i)(*args)), slope, rtol=1e-14)


@pytest.mark.parametrize(("name", "args", "value"), [
    # identities
    ("erf", (0.5,), math.erf(0.5)), ("erfc", (2.0,), math.erfc(2.0)),
    ("lgamma", (7.5,), math.lgamma(7.5)), ("digamma", (1.0,), -0.57721566490153286),
    ("polygamma", (1.0, 1.0), math.pi**2 / 6), ("zeta", (4.0, 1.0), math.pi**4 / 90),
    ("igamma", (1.0, 2.0), 1.0 - math.exp(-2.0)), ("igammac", (0.5, 2.0), math.erfc(2.0**0.5)),
    ("betainc", (1.0, 3.0, 0.2), 1.0 - 0.8**3), ("betainc", (2.0, 1.0, 0.3), 0.09),
    ("betainc_grad_a", (1.0, 1.0, 0.5), 0.5 * math.log(0.5)),  # I_x(a, 1) = x^a
    ("betainc_grad_b", (1.0, 1.0, 0.5), -0.5 * math.log(0.5)),
    ("ndtri", (0.975,), 1.959963984540054), ("ndtri", (1e-300,), -37.0471),
    ("bessel_i0e", (1.0,), math.exp(-1.0) * 1.2660658777520084),
    ("bessel_i1e", (1.0,), math.exp(-1.0) * 0.5651591039924850),
    ("expi", (1.0,), 1.8951178163559368), ("logistic", (40.0,), 1.0 / (1.0 + math.exp(-40.0))),
])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_values(name, args, value, dtype):
    tol = {"float64": 1e-13, "float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    if dtype != "float64" and any(0 < abs(a) < 1e-30 for a in args):
        pytest.skip("the argument is no number of this dtype")
    dtype = np.dtype(lf.numpy.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    args = [np.asarray(a, dtype) for a in args]
    tol = 1e-6 if value == -37.0471 else tol
    out = getattr(ops, name)(*args)
    assert out.dtype == dtype
    # The value at the rounded arguments may differ by more than the rounding of the value.
    np.testing.assert_allclose(float(out), value, rtol=10 * tol if dtype.itemsize < 4 else tol)


def test_integers_are_refused():
    with pytest.raises(TypeError, match="floating"):
        lf.make_ir(public("erf"))(A(1))


def test_batch_and_jit_agree():
    a, x = A([[0.5, 2.0], [1.0, 3.0]]), A([0.3, 4.0])
    f = lambda a, x: public("igamma")(a, x)
    expected = np.asarray(f(a, x))
    for way in (lf.vmap(f, in_axes=(0, None)), lf.jit(f), lf.vmap(lf.vmap(f), in_axes=(0, None))):
        np.testing.assert_array_equal(np.asarray(way(a, x)), expected)
