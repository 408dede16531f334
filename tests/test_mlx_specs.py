"""The spec table on MLX: each kernel against NumPy's, then derivatives and batches."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from spec_base import DTYPES, KIND, Case, Spec
from specs import SPECS
from test_specs import function_of, reference, rows, specials, stacked, wide

import lucidfn as lf
from lucidfn import testing
from lucidfn.core.primitive import ALL, as_list
from lucidfn.core.trace import BACKENDS
from lucidfn.types import SCALARS, is_inexact

mx = pytest.importorskip("mlx.core", reason="MLX is not installed")

from lucidfn.backends import transfers  # noqa: E402
from lucidfn.backends.mlx import checks  # noqa: E402
from lucidfn.backends.mlx.arrays import MX_DTYPES, from_numpy, np_dtype, to_numpy  # noqa: E402
from lucidfn.backends.mlx.kernels import KERNELS  # noqa: E402

pytestmark = pytest.mark.gpu
COMPLEX128 = np.dtype("complex128")
# Their results would be complex128, which MLX lacks.
DOUBLE_IS_COMPLEX = {"fft", "complex", "eig", "eigvals"}


def lacks(spec: Spec, params: dict[str, Any], dtype: np.dtype) -> bool:
    """Whether the operands or results are of a dtype that MLX does not have."""
    wanted = [v for v in params.values() if isinstance(v, np.dtype)]
    return COMPLEX128 in (dtype, *wanted) or (dtype == np.float64
                                              and spec.name in DOUBLE_IS_COMPLEX)


def has(device: str, *values: Any) -> bool:
    """Whether the device has the dtypes: of arrays, or dtypes themselves."""
    unsupported = BACKENDS[device].unsupported  # type: ignore[attr-defined]
    return not any(v in unsupported if isinstance(v, np.dtype) else
                   getattr(v, "dtype", None) in unsupported for v in values)


def require_dtypes(device: str, *values: Any) -> None:
    if not has(device, *values):
        pytest.skip(f"{device} has no float64")


def on_mlx(device: str, spec: Spec, args: list[Any], params: dict[str, Any]) -> list[np.ndarray]:
    primitive = ALL[spec.name]
    with BACKENDS[device].active():  # type: ignore[attr-defined]
        values = [a if type(a) in SCALARS else from_numpy(a) for a in args]
        outs = as_list(primitive, KERNELS[primitive](*values, **params))
        checks.read()
        assert all(np_dtype(o) in MX_DTYPES or np_dtype(o).names for o in outs)
        return [to_numpy(o) for o in outs]


def on_numpy(spec: Spec, args: list[Any], params: dict[str, Any]) -> list[np.ndarray]:
    primitive = ALL[spec.name]
    return [np.asarray(o) for o in as_list(primitive, primitive(*args, **params))]


@pytest.mark.parametrize(("spec", "case"), [
    pytest.param(spec, case, id=f"{spec.name}-{number}-{case}")
    for spec in SPECS.values() for number, case in enumerate(spec.cases)])
def test_value(device: str, spec: Spec, case: Case) -> None:
    skipped = []
    for dtype in [d for row in DTYPES.values() for d in row]:
        if not spec.takes(case, dtype):
            continue
        params = spec.params_of(case, dtype)
        if lacks(spec, params, dtype) or not has(device, dtype, *params.values()):
            skipped.append(dtype.name)
        else:
            require_value(device, spec, case, params, dtype)
    if skipped and all(d.name in skipped for row in DTYPES.values() for d in row
                       if spec.takes(case, d)):
        pytest.skip(f"MLX lacks {', '.join(skipped)}")


def require_value(device: str, spec: Spec, case: Case, params: dict[str, Any],
                  dtype: np.dtype) -> None:
    where = f"{spec.name} of {dtype.name}"
    args = spec.operands(case, dtype)
    outs, wanted = on_mlx(device, spec, args, params), on_numpy(spec, args, params)
    for out, want in zip(outs, wanted, strict=True):
        assert (out.shape, out.dtype) == (want.shape, want.dtype), f"{where}: {want.dtype}"
    if spec.normal_form is not None:  # what is defined up to a choice
        outs = spec.normal_form([wide(o) for o in outs], args, params)
        if outs is None:
            return
        wanted = reference(spec, args, params)
    for out, want in zip(outs, wanted, strict=True):
        require_near(out, want, spec.tol * testing.tolerance(out.dtype, dtype).value, where)


def require_near(x: np.ndarray, want: np.ndarray, tol: float, where: str) -> None:
    """Within a tolerance relative to the largest element; integers and keys are equal."""
    if x.dtype.names:
        x, want = x.view(np.uint64), want.view(np.uint64)
    if not is_inexact(x.dtype):
        tol, size = 0.0, 0.0
    else:
        values = wide(want)
        size = float(np.max(np.abs(values), initial=1.0, where=np.isfinite(values)))
    testing.assert_allclose(x, want, tol, tol * size, what=where)


def special_cases() -> Iterator[Any]:
    for row in specials():
        spec, _, params, dtype = row.values
        if not lacks(spec, params, dtype):
            yield row


@pytest.mark.parametrize(("spec", "args", "params", "dtype"), list(special_cases()))
def test_special_values(device: str, spec: Spec, args: Any, params: Any,
                        dtype: np.dtype) -> None:
    """NaN, infinities and the sign of zero; integers at their limits."""
    with np.errstate(all="ignore"):
        low = [a.astype(dtype) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
               for a in args]
    if any(getattr(a, "dtype", None) == COMPLEX128 for a in low):
        pytest.skip("MLX lacks complex128")
    require_dtypes(device, *low, *params.values())
    for out, want in zip(on_mlx(device, spec, low, params), on_numpy(spec, low, params),
                         strict=True):
        tol = testing.tolerance(out.dtype).value * spec.tol
        # MLX's fused softmax gives 0 for what is smaller than any normal number.
        least = float(np.finfo(np.float32).tiny) if spec.name == "softmax" else 0.0
        testing.assert_allclose(out, want, tol, least, what=spec.name)
        if KIND.get(out.dtype) == "f" and spec.name not in (
                "max", "min", "clamp", "relu", "reduce_max", "reduce_min", "sign"):
            zero = (want == 0) & (out == 0)
            np.testing.assert_array_equal(np.signbit(out)[zero], np.signbit(want)[zero],
                                          err_msg="signs of zeros")


# ------------------------------------------------------------------ beyond the table

def require_kernels_agree(device: str, primitive: Any, args: list[Any], params: dict[str, Any],
                          tol: float) -> None:
    """The same values, or the same error, as on NumPy."""
    found = []
    for run in (on_numpy, functools.partial(on_mlx, device)):
        try:
            found.append(run(SPECS[primitive.name], args, params))
        except (IndexError, TypeError) as error:
            found.append(str(error).split("\n")[0].split(": ")[-1])
    if isinstance(found[0], str) or isinstance(found[1], str):
        assert found[0] == found[1]
        return
    for want, out in zip(*found, strict=True):
        assert (out.shape, out.dtype) == (want.shape, want.dtype)
        require_near(out, want, tol, f"{primitive.name} with {params}")


@pytest.mark.parametrize("seed", range(40))
def test_geometry_of_convolutions_and_windows(device: str, seed: int) -> None:
    """Random strides, dilations and paddings, negative ones too."""
    rng = np.random.default_rng(seed)
    n, groups = int(rng.integers(0, 5)), int(rng.integers(1, 3))
    ints = lambda low, high: tuple(int(i) for i in rng.integers(low, high, n))
    normal = lambda *shape: rng.normal(size=shape).astype("float32")
    size, window = ints(1, 7), ints(1, 4)
    geometry = {"stride": ints(1, 4), "padding": tuple(zip(ints(-1, 4), ints(-1, 4), strict=True)),
                "x_dilation": ints(1, 4), "w_dilation": ints(1, 3)}
    args = [normal(2, *size, 2 * groups), normal(*window, 2, 3 * groups)]
    require_kernels_agree(device, lf.ops.conv, args, {**geometry, "groups": groups}, 2e-5)
    if any(d + low + high < 1 for d, (low, high) in zip(size, geometry["padding"], strict=True)):
        return  # more is cropped than there is
    if seed % 3 == 0:
        ones, none = (1,) * n, ((0, 0),) * n
        geometry = {"stride": window, "padding": none, "x_dilation": ones, "w_dilation": ones}
    params = {**geometry, "window": window}
    x = np.round(normal(*size))
    for primitive in (lf.ops.window_sum, lf.ops.window_max, lf.ops.window_min):
        require_kernels_agree(device, primitive, [x], params, 1e-5)
    y = np.asarray(lf.ops.window_max(x, **params))
    require_kernels_agree(device, lf.ops.window_share, [normal(*size), x, y], params, 1e-5)
    require_kernels_agree(device, lf.ops.window_spread, [normal(*y.shape), x, y], params, 1e-5)


@pytest.mark.parametrize("seed", range(30))
def test_modes_of_indices(device: str, seed: int) -> None:
    """What lies outside is an error, clamped, filled or dropped, as on NumPy."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 4))
    shape = tuple(int(i) for i in rng.integers(1, 5, rank))
    axes = tuple(int(i) for i in rng.permutation(rank)[: rng.integers(1, rank + 1)])
    dtype = ("int32", "int64", "int8", "uint8", "uint32")[seed % 5]
    x = rng.normal(size=shape).astype("float32")
    index = rng.integers(0 if dtype[0] == "u" else -4, 6, (2, 2, len(axes))).astype(dtype)
    for mode, other in (("raise", "raise"), ("clip", "clip"), ("fill", "drop")):
        params = {"axes": axes, "lanes": 0}
        require_kernels_agree(device, lf.ops.gather, [x, index],
                              {**params, "mode": mode, "fill": 7.0}, 0.0)
        like = np.asarray(lf.ops.gather(x, index, axes=axes, mode="clip", fill=0.0))
        update = rng.normal(size=like.shape).astype("float32")
        for name in ("set", "add", "mul", "min", "max"):
            primitive = getattr(lf.ops, f"scatter_{name}")
            require_kernels_agree(device, primitive, [x, index, update],
                                  {**params, "mode": other}, 1e-6)


def test_what_lies_outside_reads_and_writes_no_other_memory(device: str) -> None:
    """An error is raised when the host waits; what runs before works on places inside."""
    with BACKENDS[device].active():  # type: ignore[attr-defined]
        labels = KERNELS[lf.ops.check_labels](mx.array([1, 10**6, -7]), classes=3)
        assert labels.tolist() == [1, 2, 0]
        with pytest.raises(IndexError, match="label 1000000"):
            checks.read()
        x, places = mx.zeros((3,)), mx.array([[1], [10**6]])
        out = KERNELS[lf.ops.scatter_add](x, places, mx.ones((2,)), axes=(0,), mode="unchecked")
        assert out.tolist() == [0, 1, 1]


def test_scattered_extrema_keep_nan(device: str) -> None:
    x, index = np.float32([1, 2, np.nan, 4]), np.array([[0], [2], [3], [3]])
    update = np.float32([np.nan, 5, -9, 9])
    for primitive in (lf.ops.scatter_min, lf.ops.scatter_max):
        require_kernels_agree(device, primitive, [x, index, update],
                              {"axes": (0,), "mode": "raise", "lanes": 0}, 0.0)


@pytest.mark.parametrize(("shape", "axes"), [((3, 400_001), (1,)), ((128, 32, 32, 4), (0, 1, 2)),
                                             ((400_000, 2), (0,)), ((2, 300_007), (0, 1))])
def test_long_sums_keep_their_digits(device: str, shape: tuple[int, ...],
                                     axes: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    (total,) = on_mlx(device, SPECS["reduce_sum"], [x], {"axes": axes})
    np.testing.assert_allclose(total, x.sum(axes, dtype=np.float64), rtol=2e-6)


def test_order_of_many_with_ties_and_nan(device: str) -> None:
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float16", "int32", "complex64"):
        x = np.round(rng.normal(size=(2, 3000)) * 4).astype(dtype)
        if x.dtype.kind in "fc":
            x[0, ::7], x[1, ::5] = np.nan, -0.0
        require_kernels_agree(device, lf.ops.argsort, [x], {"axis": 1}, 0.0)
        require_kernels_agree(device, lf.ops.sort, [x], {"axis": 1, "num_keys": 1}, 0.0)
        require_kernels_agree(device, lf.ops.top_k, [x], {"k": 9}, 0.0)


def test_random_bits_are_those_of_the_cpu(device: str) -> None:
    for impl in ("threefry2x32", "philox"):
        keys = np.asarray(lf.ops.random_seed(np.arange(3), impl=impl, x64=False))
        for shape in ((), (5,), (0, 2), (40, 30)):
            for width in (8, 16, 32, 64):
                require_kernels_agree(device, lf.ops.random_bits, [keys],
                                      {"shape": shape, "width": width}, 0.0)
            require_kernels_agree(device, lf.ops.random_split, [keys], {"shape": shape}, 0.0)
            require_kernels_agree(device, lf.ops.random_normal, [keys],
                                  {"shape": shape, "dtype": np.dtype("float32")}, 2e-6)


# ------------------------------------------------------------------ through the public functions

SINGLE, COMPLEX64 = np.dtype("float32"), np.dtype("complex64")


def require_same(device: str, actual: Any, expected: Any, dtype: np.dtype, spec: Spec,
                 factor: float) -> None:
    """Equal but for rounding, and computed where the operands are."""
    for a, b in zip(lf.tree.leaves(actual), lf.tree.leaves(expected), strict=True):
        x, y = np.asarray(a), np.asarray(b)
        # A derivative that is 0 everywhere is made without operands.
        assert str(a.device) == device or not y.any(), f"{spec.name} ran on {a.device}"
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        require_near(x, y, factor * spec.tol * testing.tolerance(x.dtype, dtype).value, spec.name)


def moving_rows() -> list[Any]:
    """float32 for every case, complex64 for the first of a spec."""
    return [row for row in rows(dtypes=[SINGLE, COMPLEX64], moving=True)
            if row.values[0].differences and not lacks(
                row.values[0], row.values[0].params_of(row.values[1], row.values[2]),
                row.values[2]) and (row.values[2] == SINGLE
                                              or row.values[1] is row.values[0].cases[0])]


@pytest.mark.parametrize(("spec", "case", "dtype"), moving_rows())
def test_gradients(device: str, spec: Spec, case: Case, dtype: np.dtype) -> None:
    """The library's derivatives on MLX's kernels are those on NumPy's."""
    require_dtypes(device, *spec.params_of(case, dtype).values())
    args = spec.operands(case, dtype)
    f, xs = function_of(spec, case, dtype, args, spec.differentiated(case, args))
    outs, pull = lf.vjp(f, *xs)
    rng = np.random.default_rng(5)
    cts = lf.tree.map(lambda y: rng.uniform(0.5, 1.5, y.shape).astype(y.dtype), outs)
    moved, pull_moved = lf.vjp(f, *lf.device_put(xs, device))
    there = lf.device_put(cts, device)
    if spec.name in ("eig", "eigvals"):  # their order differs
        cts, there = [lf.tree.map(lambda ct: ct * 0 + 1, t) for t in (cts, there)]
    require_same(device, pull_moved(there), pull(cts), dtype, spec, 4.0)


@pytest.mark.parametrize(("spec", "case", "dtype"), [
    row for row in rows(dtypes=[SINGLE, np.dtype("int32")]) if row.values[0].lanes
    and (row.values[1] in list(row.values[0].cases)[:2])])
def test_batches(device: str, spec: Spec, case: Case, dtype: np.dtype) -> None:
    """Each operand batched alone, and all of them."""
    require_dtypes(device, *spec.params_of(case, dtype).values())
    lanes, single = stacked(spec, case, dtype), spec.operands(case, dtype, 0)
    arrays = [i for i, a in enumerate(lanes) if isinstance(a, np.ndarray)]
    f, _ = function_of(spec, case, dtype, single)
    if spec.normal_form is not None:
        return
    for chosen in {frozenset(arrays), *[frozenset([i]) for i in arrays]}:
        xs = [lanes[i] if i in chosen else single[i] for i in arrays]
        batched = lf.vmap(f, in_axes=tuple(0 if i in chosen else None for i in arrays))
        require_same(device, batched(*lf.device_put(xs, device)), batched(*xs), dtype, spec, 1.0)


def test_few_primitives_are_transferred(device: str) -> None:
    """At most one in twenty has neither kernel nor decomposition."""
    transferred = sorted(p.name for p, kernel in KERNELS.items()
                         if getattr(kernel, "on_host", False))
    assert len(transferred) <= 0.05 * len(KERNELS), transferred
    before = transfers.counts["betainc"]
    on_mlx(device, SPECS["betainc"], [np.float32([a]) for a in (1.0, 2.0, 0.5)], {})
    assert transfers.counts["betainc"] == before + 1
