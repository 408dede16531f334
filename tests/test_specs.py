"""Every primitive against its spec: values, derivatives, batching, compilation, types."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from spec_base import DTYPES, KIND, Case, Spec
from specs import CALL_LIKE, SPECS

import lucidfn as lf
from lucidfn import testing
from lucidfn.array import unwrap, wrap
from lucidfn.backends.numpy.kernels import KERNELS
from lucidfn.core.ir import Program, Var
from lucidfn.core.primitive import ALL, Primitive, as_list
from lucidfn.core.record import record
from lucidfn.core.trace import shape_of, type_of
from lucidfn.transforms import linearize as linearize_flat
from lucidfn.types import complex128, dtype_name, float64, is_inexact

FLOAT64, COMPLEX128 = np.dtype("float64"), np.dtype("complex128")
DOUBLE = {np.dtype("float32"): FLOAT64, np.dtype("complex64"): COMPLEX128}


# ------------------------------------------------------------------ the table, as test parameters

def rows(wanted: str = "bifc", dtypes: Any = None, moving: bool = False) -> list[Any]:
    """One parameter for each spec, case and dtype."""
    found = []
    for spec in SPECS.values():
        for number, case in enumerate(spec.cases):
            for dtype in dtypes or [d for k in wanted for d in DTYPES[k]]:
                if not spec.takes(case, dtype):
                    continue
                if moving and not (spec.order_of(case) and
                                   spec.differentiated(case, spec.operands(case, dtype))):
                    continue
                name = f"{spec.name}-{number}-{case}-{dtype.name}"
                found.append(pytest.param(spec, case, dtype, id=name))
    return found


def function_of(spec: Spec, case: Case, dtype: np.dtype, args: list[Any],
                moving: list[int] | None = None) -> tuple[Any, list[Any]]:
    """The primitive as a public function of its array operands, or of some of them; and these."""
    primitive, params = ALL[spec.name], spec.params_of(case, dtype)
    arrays = [i for i, a in enumerate(args) if isinstance(a, np.ndarray)]
    free = arrays if moving is None else moving

    def f(*xs: Any) -> Any:
        full = list(args)
        for i, x in zip(free, xs, strict=True):
            full[i] = unwrap(x)
        outs = [wrap(o) for o in as_list(primitive, primitive(*full, **params))]
        if moving is not None and spec.grad_of is not None:
            outs = spec.grad_of(outs)
        return outs if len(outs) > 1 else outs[0]

    f.__qualname__ = spec.name
    return f, [wrap(args[i]) for i in free]


def gradient_of(f: Any, outs_like: Any, moving: list[int]) -> Any:
    """The pull-back of fixed cotangents to some of the arguments."""
    rng = np.random.default_rng(5)
    cts = lf.tree.map(lambda y: rng.uniform(0.5, 1.5, y.shape).astype(y.dtype)
                      if is_inexact(y.dtype) else unwrap(y), outs_like)

    def gradient(*xs: Any) -> Any:
        def g(*values: Any) -> Any:
            full = list(xs)
            for i, v in zip(moving, values, strict=True):
                full[i] = v
            return f(*full)
        return lf.vjp(g, *[xs[i] for i in moving])[1](cts)

    gradient.__qualname__ = f"the gradient of {f.__qualname__}"
    return gradient


# ------------------------------------------------------------------ values and types

def wide(x: Any) -> Any:
    """At a precision in which the reference does not round visibly."""
    kind = KIND.get(getattr(x, "dtype", None))
    return x.astype({"f": np.float64, "c": np.complex128}[kind]) if kind in ("f", "c") else x


def reference(spec: Spec, args: list[Any], params: dict[str, Any]) -> list[np.ndarray]:
    primitive = ALL[spec.name]
    with np.errstate(all="ignore"):
        out = spec.reference(*(args if spec.native else map(wide, args)), **params)
        return [np.asarray(o) for o in (out if primitive.many else [out])]


def require_type(out: Any, expected: Any, where: str) -> None:
    assert isinstance(out, (np.ndarray, np.generic)), f"{where} is a {type(out).__name__}"
    assert (out.shape, out.dtype) == (expected.shape, expected.dtype), (
        f"{where} is {type_of(out)}; infer says {expected}")


@pytest.mark.parametrize(("spec", "case"), [
    pytest.param(spec, case, id=f"{spec.name}-{number}-{case}")
    for spec in SPECS.values() for number, case in enumerate(spec.cases)])
def test_value(spec: Spec, case: Case) -> None:
    for dtype in itertools.chain(*DTYPES.values()):
        if spec.takes(case, dtype):
            require_value(spec, case, dtype)


def require_value(spec: Spec, case: Case, dtype: np.dtype) -> None:
    primitive, params = ALL[spec.name], spec.params_of(case, dtype)
    where = f"{spec.name} of {dtype.name}"
    args = spec.operands(case, dtype)
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    outs = as_list(primitive, primitive(*args, **params))
    types = as_list(primitive, primitive.infer(*map(type_of, args), **params))
    for out, t in zip(outs, types, strict=True):
        require_type(out, t, where)
    for a, b in zip(args, before, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=f"an operand of {where} was written to")
    if spec.normal_form is not None:
        outs = spec.normal_form([wide(np.asarray(o)) for o in outs], args, params)
        if outs is None:
            return
    for out, want in zip(outs, reference(spec, args, params), strict=True):
        tol = spec.tol * testing.tolerance(out.dtype, dtype).value if is_inexact(out.dtype) else 0.0
        size = np.max(np.abs(want), initial=1.0, where=np.isfinite(want)) if tol else 0.0
        testing.assert_allclose(np.asarray(out), want, tol, tol * float(size), what=where)


def specials() -> Iterator[Any]:
    for spec in SPECS.values():
        for number, entry in enumerate(spec.special):
            params = entry[-1] if isinstance(entry[-1], dict) else {}
            args = entry[:-1] if isinstance(entry[-1], dict) else entry
            floats = any(isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in args)
            for dtype in DTYPES["f"] if floats else [args[0].dtype]:
                yield pytest.param(spec, args, params, dtype,
                                   id=f"{spec.name}-{number}-{dtype.name}")


@pytest.mark.parametrize(("spec", "args", "params", "dtype"), list(specials()))
def test_special_values(spec: Spec, args: Any, params: Any, dtype: np.dtype) -> None:
    """NaN, infinities and the sign of zero; integers at their limits."""
    primitive = ALL[spec.name]
    with np.errstate(all="ignore"):
        low = [a.astype(dtype) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
               for a in args]
        outs = as_list(primitive, primitive(*low, **params))
        for out, want in zip(outs, reference(spec, low, params), strict=True):
            out = np.asarray(out)
            want = want.astype(out.dtype)
            tol = testing.tolerance(out.dtype).value * spec.tol
            testing.assert_allclose(out, want, tol, 0.0, what=spec.name)
            if KIND.get(out.dtype) == "f":
                zero = (want == 0) & (out == 0)
                if spec.name in ("max", "min", "clamp", "relu", "reduce_max", "reduce_min",
                                 "sign"):
                    continue  # which zero is the larger is not specified
                np.testing.assert_array_equal(np.signbit(out)[zero], np.signbit(want)[zero],
                                              err_msg="signs of zeros")


# ------------------------------------------------------------------ derivatives

@pytest.mark.parametrize(("spec", "case", "dtype"),
                         rows(dtypes=[FLOAT64, COMPLEX128], moving=True))
def test_derivatives(spec: Spec, case: Case, dtype: np.dtype) -> None:
    args = spec.operands(case, dtype)
    f, xs = function_of(spec, case, dtype, args, spec.differentiated(case, args))
    slack = {} if spec.differences else {"rtol": 1e9, "atol": 1e9}
    testing.check_grads(f, tuple(xs), order=spec.order_of(case), eps=case.eps, **slack)


@pytest.mark.parametrize(("spec", "case", "dtype"), rows(
    dtypes=[np.dtype("float32"), np.dtype("complex64")], moving=True))
def test_derivatives_in_single_precision(spec: Spec, case: Case, dtype: np.dtype) -> None:
    """Forward and reverse derivatives of float32 operands are those of float64, rounded."""
    if not spec.differences:
        return  # random numbers of another precision are other numbers
    args = spec.operands(case, dtype)
    found = []
    for xs in (args, [wide(a) for a in args]):
        one = DOUBLE[dtype] if xs is not args else dtype
        f, values = function_of(spec, case, one, xs, spec.differentiated(case, xs))
        every = list(range(len(values)))
        pulled = gradient_of(f, f(*values), every)(*values)
        pushed = lf.jvp(f, values, [x * 0.5 for x in values])[1]
        found.append([np.asarray(y) for y in lf.tree.leaves([pulled, pushed])])
    for single, double in zip(*found, strict=True):
        allowed = 2.0 * spec.tol * testing.tolerance(dtype).value
        scale = float(np.max(np.abs(double), initial=1.0))
        testing.assert_allclose(single, double, allowed, allowed * scale, what=spec.name)


@pytest.mark.parametrize(("spec", "case", "dtype"), rows(
    dtypes=[np.dtype("float32"), np.dtype("float16"), np.dtype("complex64")], moving=True))
def test_repeated_derivatives(spec: Spec, case: Case, dtype: np.dtype) -> None:
    """Derivatives that are taken often are compiled on the way: nothing else may change."""
    args = spec.operands(case, dtype)
    f, xs = function_of(spec, case, dtype, args, spec.differentiated(case, args))
    gradient = gradient_of(f, f(*xs), list(range(len(xs))))
    with np.errstate(all="ignore"):
        first = gradient(*xs)
        tol = 4.0 * testing.tolerance(dtype).value
        size = max([float(np.max(np.abs(g), initial=1.0)) for g in map(wide, map(unwrap, first))])
        for _ in range(5):
            testing.assert_allclose(gradient(*xs), first, tol, tol * size, check_dtypes=True,
                                    what=spec.name)
    again = spec.operands(case, dtype, seed=1)
    h, ys = function_of(spec, case, dtype, again, spec.differentiated(case, again))
    want = lf.jit(gradient_of(h, h(*ys), list(range(len(ys)))))(*ys)
    testing.assert_allclose(gradient_of(h, h(*ys), list(range(len(ys))))(*ys), want, 10 * tol,
                            10 * tol * size, check_dtypes=True, what=f"{spec.name}, other values")


def points() -> Iterator[Any]:
    for spec in SPECS.values():
        for number, point in enumerate(spec.points):
            yield pytest.param(spec, point, id=f"{spec.name}-{number}")


@pytest.mark.parametrize(("spec", "point"), list(points()))
def test_derivative_at_a_point(spec: Spec, point: Any) -> None:
    """Ties, bounds and singular points: the decisions, not the limits."""
    primitive = ALL[spec.name]
    moving = [i for i, g in enumerate(point.grads) if g is not None]
    args = [np.asarray(a) for a in point.args]

    def f(*xs: Any) -> list[Any]:
        full = list(args)
        for i, x in zip(moving, xs, strict=True):
            full[i] = x
        return as_list(primitive, primitive(*full, **point.params))

    outs, backward = linearize_flat.vjp(f, [args[i] for i in moving])
    got = backward([np.ones(o.shape, o.dtype) for o in outs])
    for g, i in zip(got, moving, strict=True):
        np.testing.assert_allclose(g, point.grads[i], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("spec", "case", "dtype"),
                         rows(dtypes=[FLOAT64, COMPLEX128], moving=True))
def test_linearization_is_transposable(spec: Spec, case: Case, dtype: np.dtype) -> None:
    """For each operand alone: what the derivative records can be run backwards."""
    args = spec.operands(case, dtype)
    primitive, params = ALL[spec.name], spec.params_of(case, dtype)
    for moving in spec.differentiated(case, args):
        f = lambda x, moving=moving: as_list(primitive, primitive(
            *[x if i == moving else a for i, a in enumerate(args)], **params))
        outs, program, moved = linearize_flat.linearize(f, [args[moving]])
        program.check()
        for eqn in program.equations:
            rule = type(eqn.primitive).transpose
            assert rule is not Primitive.transpose, f"{eqn.primitive} has no transpose rule"
        cts = [np.ones(o.shape, o.dtype) for o, m in zip(outs, moved, strict=True) if m]
        (ct,) = linearize_flat.transpose(program, program.inputs, cts)
        if ct is not None:
            assert shape_of(ct) == args[moving].shape
            assert type_of(ct).dtype == args[moving].dtype


# ------------------------------------------------------------------ batching and compilation

def stacked(spec: Spec, case: Case, dtype: np.dtype, count: int = 3) -> list[Any]:
    """Operands with `count` different lanes in front; scalars stay as they are."""
    lanes = [spec.operands(case, dtype, seed) for seed in range(count)]
    return [np.stack(column) if isinstance(column[0], np.ndarray) else column[0]
            for column in zip(*lanes, strict=True)]


def patterns(n: int) -> list[tuple[bool, ...]]:
    """Which operands are batched: every way, or a few if there are many operands."""
    every = [p for p in itertools.product([True, False], repeat=n) if any(p)]
    return every if n <= 3 else [p for p in every if sum(p) in (1, n)]


def batched_rows() -> list[Any]:
    """One case is enough for each dtype but the first."""
    return [row for row in rows(dtypes=[FLOAT64, np.dtype("int32"), np.dtype(bool), COMPLEX128])
            if (spec := row.values[0]).lanes and (
                row.values[2] == FLOAT64 or "f" not in spec.kinds_of(row.values[1])
                or row.values[1] is spec.cases[0])]


@pytest.mark.parametrize(("spec", "case", "dtype"), batched_rows())
def test_batch(spec: Spec, case: Case, dtype: np.dtype) -> None:
    lanes = stacked(spec, case, dtype)
    arrays = [i for i, a in enumerate(lanes) if isinstance(a, np.ndarray)]
    single = spec.operands(case, dtype, 0)
    f, _ = function_of(spec, case, dtype, single)
    moving = spec.differentiated(case, single) if spec.order_of(case) else []
    out = f(*[wrap(single[i]) for i in arrays])
    gradient = gradient_of(f, out, [arrays.index(i) for i in moving])
    for pattern in patterns(len(arrays)):
        args = [wrap(lanes[i] if b else single[i]) for i, b in zip(arrays, pattern, strict=True)]
        axes = tuple(0 if b else None for b in pattern)
        testing.check_batch(f, args, in_axes=axes)
        if moving and is_inexact(dtype):
            testing.check_batch(gradient, args, in_axes=axes, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("spec", "case", "dtype"), [
    row for row in rows(dtypes=[FLOAT64, np.dtype(bool)])
    if row.values[0].lanes and row.values[1] in list(row.values[0].cases)[:3]])
def test_batches_transform_further(spec: Spec, case: Case, dtype: np.dtype) -> None:
    """What a batch rule makes can be compiled, batched again and differentiated."""
    lanes, single = stacked(spec, case, dtype), spec.operands(case, dtype, 0)
    arrays = [i for i, a in enumerate(lanes) if isinstance(a, np.ndarray)]
    f, _ = function_of(spec, case, dtype, single)
    moving = spec.differentiated(case, single) if spec.order_of(case) else []
    for pattern in {p for p in patterns(len(arrays)) if sum(p) in (1, len(arrays))}:
        axes = tuple(0 if b else None for b in pattern)
        batched = lf.vmap(f, in_axes=axes)
        args = [wrap(lanes[i] if b else single[i]) for i, b in zip(arrays, pattern, strict=True)]
        testing.check_jit(batched, args)
        twice = [wrap(np.stack([x, np.flip(x, 0) if b else x])) for x, b in
                 zip(map(unwrap, args), pattern, strict=True)]
        testing.check_batch(batched, twice, sizes=(0, 2), rtol=1e-9, atol=1e-9)
        if moving and spec.differences and spec.grad_of is None:
            def g(*xs: Any, batched: Any = batched, args: Any = args) -> Any:
                full = list(args)
                for i, x in zip(moving, xs, strict=True):
                    full[arrays.index(i)] = x
                return batched(*full)
            testing.check_grads(g, [args[arrays.index(i)] for i in moving], order=1)


@pytest.mark.parametrize(("spec", "case", "dtype"), [
    row for row in rows(dtypes=[np.dtype(n) for n in ("float32", "int32", "bool", "complex64")])])
def test_jit(spec: Spec, case: Case, dtype: np.dtype) -> None:
    args = spec.operands(case, dtype)
    f, xs = function_of(spec, case, dtype, args)
    testing.check_jit(f, xs)
    moving = spec.differentiated(case, args) if spec.order_of(case) else []
    if moving:
        arrays = [i for i, a in enumerate(args) if isinstance(a, np.ndarray)]
        testing.check_jit(gradient_of(f, f(*xs), [arrays.index(i) for i in moving]), xs)


@pytest.mark.parametrize(("spec", "case", "dtype"), [
    row for row in rows(dtypes=[np.dtype("float16"), DTYPES["f"][-1]])
    if any(not isinstance(op, tuple) for op in row.values[1].operands)])
def test_jit_with_a_scalar_operand(spec: Spec, case: Case, dtype: np.dtype) -> None:
    """NumPy widens bfloat16 where it meets a Python scalar; neither eager nor compiled code may."""
    args = spec.operands(case, dtype)
    f, xs = function_of(spec, case, dtype, args)
    testing.check_jit(f, xs)


# ------------------------------------------------------------------ types of programs

def every_program(program: Program) -> Iterator[Program]:
    yield program
    for eqn in program.equations:
        for _, inner in eqn.programs():
            yield from every_program(inner)


def require_types_hold(program: Program, args: list[Any], narrow: bool) -> None:
    """Run equation by equation: what each kernel gives has the type that its rule infers."""
    program.check()
    for part in every_program(program):
        for eqn in part.equations:
            for var in eqn.outputs:
                assert not narrow or var.type.dtype not in (float64, complex128), (
                    f"{eqn.primitive} gives {var.type} in\n{program}")
    env: dict[Any, Any] = {**program.consts, **dict(zip(program.inputs, args, strict=True))}
    for eqn in program.equations:
        values = [env[a] if isinstance(a, Var) else a.value for a in eqn.inputs]
        outs = as_list(eqn.primitive, eqn.primitive(*values, **eqn.params))
        for var, out in zip(eqn.outputs, outs, strict=True):
            require_type(out, var.type, f"an output of {eqn.primitive} in\n{program}\n")
            env[var] = out


@pytest.mark.parametrize(("spec", "case", "dtype"), rows(
    dtypes=[np.dtype("float32"), np.dtype("complex64"), np.dtype("float16")], moving=True))
def test_dtypes_stay(spec: Spec, case: Case, dtype: np.dtype) -> None:
    """No float64 in the values and derivatives of float32 operands; gradients keep the dtype."""
    args = spec.operands(case, dtype)
    primitive, params = ALL[spec.name], spec.params_of(case, dtype)
    moving = spec.differentiated(case, args)
    narrow = not any(dtype_name(v) in ("float64", "complex128") for v in params.values()
                     if isinstance(v, np.dtype))
    xs = [args[i] for i in moving]
    types = [type_of(x) for x in xs]

    def f(*values: Any) -> list[Any]:
        full = list(args)
        for i, x in zip(moving, values, strict=True):
            full[i] = x
        return as_list(primitive, primitive(*full, **params))

    def pulled(*values: Any) -> list[Any]:
        outs, backward = linearize_flat.vjp(f, values)
        ones = [lf.ops.full(shape=o.shape, dtype=o.dtype, value=1.0) if is_inexact(o.dtype)
                else None for o in outs]
        return backward(ones)

    require_types_hold(record(f, types), xs, narrow)
    program = record(pulled, types)
    require_types_hold(program, xs, narrow)
    assert [t.dtype for t in program.output_types] == [t.dtype for t in types]


# ------------------------------------------------------------------ completeness

def own_primitives() -> dict[str, Primitive]:
    """Those of the library, not those that tests and docstrings make."""
    ours = {id(value) for name, module in list(sys.modules.items())
            if name.startswith("lucidfn.") for value in vars(module).values()}
    return {name: p for name, p in ALL.items() if id(p) in ours}


def test_every_primitive_has_a_spec() -> None:
    missing = sorted(set(own_primitives()) - set(SPECS) - set(CALL_LIKE))
    assert not missing, f"no spec for {missing}"
    assert not sorted((set(SPECS) | set(CALL_LIKE)) - set(ALL)), "specs of unknown primitives"


@pytest.mark.parametrize("name", sorted(own_primitives()))
def test_every_primitive_has_a_kernel_and_a_docstring(name: str) -> None:
    primitive = ALL[name]
    assert primitive in KERNELS, f"{name} has no NumPy kernel"
    assert type(primitive).__doc__, f"{name} has no docstring"
