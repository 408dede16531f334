"""What an `Array` is to its user: operators, methods, conversions, text, immutability."""

import copy
import operator
import pickle
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import Array
from lucidfn.numpy.array_typing import ArrayMethods
from lucidfn.numpy.methods import BINARY as BINARY_NAMES

X = np.array([[1.5, -2.0, 3.0], [0.5, 4.0, -1.0]], np.float32)
Y = np.array([2.0, 3.0, -1.0], np.float32)
N = np.array([[6, 3, 9], [1, 2, 4]], np.int32)
BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv,
          operator.mod, divmod, operator.eq, operator.ne, operator.lt, operator.le, operator.gt,
          operator.ge]
BITS = [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift]


def same(got: Any, expected: Any) -> None:
    if isinstance(expected, tuple):
        for g, e in zip(got, expected, strict=True):
            same(g, e)
        return
    assert isinstance(got, Array)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert got.dtype == expected.dtype and got.shape == expected.shape


@pytest.mark.parametrize("op", BINARY, ids=lambda f: f.__name__)
@pytest.mark.parametrize("x", [X, N], ids=["float", "int"])
def test_binary_operators(op: Any, x: Any) -> None:
    other = x[1:] * 2 + 1
    a, b = lnp.array(x), lnp.array(other)
    expected = op(x, other)
    if op is operator.truediv and x is N:
        expected = expected.astype("f4")
    same(op(a, b), expected)
    same(op(a, other), expected)
    same(op(x, b), expected)  # an ndarray on the left leaves the operator to the Array
    if op is not operator.truediv:
        same(op(a, 2), op(x, x.dtype.type(2)))
        same(op(2, a), op(x.dtype.type(2), x))
        same(op(a, np.float64(2) if x is X else 2), op(x, x.dtype.type(2)))
        same(op(x.dtype.type(2), a), op(x.dtype.type(2), x))


@pytest.mark.parametrize("op", BITS, ids=lambda f: f.__name__)
def test_bit_operators(op: Any) -> None:
    same(op(lnp.array(N), 2), op(N, np.int32(2)))
    same(op(N, lnp.array(N)), op(N, N))
    same(op(1, lnp.array(N)), op(np.int32(1), N))


def test_unary_matmul_power() -> None:
    a = lnp.array(X)
    same(-a, -X)
    same(+a, X)
    same(abs(a), abs(X))
    same(~lnp.array(N), ~N)
    same(a @ Y, X @ Y)
    same(X @ lnp.array(Y), X @ Y)
    same(a @ a.T, X @ X.T)
    same(a ** 2, X ** 2)
    same(a ** -1, X ** np.float32(-1))
    same(2 ** a, np.float32(2) ** X)
    same(np.float32(2) ** a, np.float32(2) ** X)
    same(a + [1, 2, 3], X + np.float32([1, 2, 3]))
    assert (a + 1j).dtype == np.complex64
    assert round(float(lnp.array(2.5) ** lnp.array(2.0)), 3) == 6.25


def test_in_place_operators_make_new_arrays() -> None:
    a = b = lnp.array(X)
    a += 1
    assert a is not b and b.tolist() == X.tolist()
    x = X.copy()
    x += lnp.array(Y)
    assert type(x) is Array


class Other:
    def __radd__(self, x: Any) -> str:
        return "theirs"

    def __rmatmul__(self, x: Any) -> str:
        return "theirs"


def test_operands_that_are_no_arrays() -> None:
    a = lnp.array(Y)
    assert a + Other() == "theirs" and a @ Other() == "theirs"
    assert (a == None) is False and (a != "x") is True  # noqa: E711
    for bad in (None, "x", {}, object()):
        with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \+"):
            a + bad
    with pytest.raises(TypeError, match="shapes must broadcast"):
        a + lnp.ones(2)


METHODS = [
    ("sum", (), {}), ("sum", (), {"axis": 0, "keepdims": True}), ("mean", (1,), {}),
    ("max", (), {"axis": 1}), ("min", (), {}), ("prod", (), {"axis": 0}), ("std", (), {"axis": 0}),
    ("var", (), {}), ("argmax", (1,), {}), ("argmin", (), {}), ("cumsum", (1,), {}),
    ("cumprod", (0,), {}), ("clip", (0, 2), {}), ("round", (), {}), ("ravel", (), {}),
    ("flatten", (), {}), ("flatten", ("F",), {}), ("reshape", (3, 2), {}),
    ("reshape", ((6, -1),), {}), ("reshape", (-1,), {"order": "F"}), ("transpose", (), {}),
    ("transpose", (1, 0), {}), ("transpose", ((1, 0),), {}), ("swapaxes", (0, 1), {}),
    ("squeeze", (), {}), ("repeat", (2,), {"axis": 0}), ("take", ([0, 1],), {"axis": 1}),
    ("argsort", (), {"axis": 0}), ("diagonal", (), {}),
    ("trace", (), {}), ("dot", (Y,), {}), ("conj", (), {}), ("conjugate", (), {}),
    ("astype", ("int32",), {}), ("copy", (), {}), ("compress", ([True, False],), {"axis": 0}),
    ("searchsorted", (2.0,), {}), ("nonzero", (), {}), ("any", (), {}), ("all", (1,), {}),
    ("tolist", (), {}), ("item", (2,), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), METHODS,
                         ids=[f"{m[0]}{i}" for i, m in enumerate(METHODS)])
def test_methods(name: str, args: Any, options: Any) -> None:
    x = np.sort(Y) if name == "searchsorted" else X
    expected = getattr(x, name)(*args, **options)
    got = getattr(lnp.array(x), name)(*args, **options)
    if name in ("tolist", "item"):
        assert got == expected and type(got) is type(expected)
        return
    for g, e in zip(got if isinstance(got, tuple) else [got],
                    expected if isinstance(expected, tuple) else [expected], strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-6)
        assert isinstance(g, Array) and g.shape == e.shape
    traced = lf.jit(lambda x: getattr(x, name)(*args, **options))
    if name not in ("nonzero", "compress"):
        np.testing.assert_allclose(traced(x), expected, rtol=1e-6)


def test_sort_returns_a_copy() -> None:
    a = lnp.array(X)
    np.testing.assert_array_equal(a.sort(), np.sort(X))
    np.testing.assert_array_equal(a.sort(axis=0), np.sort(X, 0))
    assert a.tolist() == X.tolist()


def test_attributes() -> None:
    a = lnp.array(X)
    assert (a.shape, a.ndim, a.size, a.itemsize, a.nbytes) == ((2, 3), 2, 6, 4, 24)
    assert a.dtype == np.float32 and a.device == "cpu" and a.to("cpu") is a
    assert a.block_until_ready() is a and a.T.shape == a.mT.shape == (3, 2)
    assert lnp.array(1j).real.tolist() == 0 and lnp.array(1j).imag.tolist() == 1
    assert a.imag.tolist() == (X * 0).tolist()
    assert a.__array_namespace__() is lnp
    assert a.view("int32").tolist() == X.view(np.int32).tolist()
    with pytest.raises(ValueError, match="two axes"):
        _ = lnp.ones(3).mT
    with pytest.raises(TypeError, match="widths must be equal"):
        a.view("float64")
    with pytest.raises(ValueError, match="no device"):
        a.to("tpu")


def test_python_conversions() -> None:
    one = lnp.array([[2.5]])
    assert (bool(one), int(one), float(one), complex(one)) == (True, 2, 2.5, 2.5 + 0j)
    assert operator.index(lnp.array(3)) == 3 and [10, 20][lnp.array(1)] == 20
    assert list(range(lnp.array(2))) == [0, 1]
    assert len(lnp.ones((4, 2))) == 4
    a, b = lnp.array([1.0, 2.0])
    assert isinstance(a, Array) and b == 2
    assert [r.tolist() for r in lnp.array(X)] == X.tolist()
    assert 3.0 in lnp.array(X) and 9.0 not in lnp.array(X)
    assert round(lnp.array(2.567), 1) == np.float32(2.6) and max(lnp.arange(4)) == 3
    assert np.array([lnp.ones(2), lnp.zeros(2)]).tolist() == [[1, 1], [0, 0]]
    assert lnp.array(1.5, "bfloat16").item() == 1.5
    assert type(lnp.array(1.5, "bfloat16").item()) is float
    assert lnp.array([1.5], "bfloat16").tolist() == [1.5]
    for f, message in ((bool, "ambiguous"), (float, "one number"), (int, "one number"),
                       (operator.index, "integer scalar")):
        with pytest.raises((ValueError, TypeError), match=message):
            f(lnp.array(X))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(lnp.zeros(0))
    with pytest.raises(TypeError, match="integer scalar"):
        operator.index(lnp.array(1.0))
    for f in (len, iter):
        with pytest.raises(TypeError, match="without axes"):
            f(lnp.array(1.0))


def test_numpy_sees_a_read_only_view() -> None:
    a = lnp.array(X)
    view = np.asarray(a)
    assert type(view) is np.ndarray and not view.flags.writeable
    assert view.base is a.value or np.shares_memory(view, a.value)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    assert np.asarray(a, np.float64).dtype == np.float64
    assert np.array(a).flags.writeable
    with pytest.raises(ValueError, match="needs a copy"):
        np.asarray(a, np.float64, copy=False)
    assert type(np.sin(a)) is np.ndarray and type(np.add(X, a)) is np.ndarray
    assert np.mean(a) == X.mean()


def test_arrays_do_not_share_memory_with_their_source() -> None:
    x = X.copy()
    a, b = lnp.array(x), lnp.asarray(x)
    x[:] = 0
    assert a.tolist() == b.tolist() == X.tolist()


def test_dlpack_both_ways() -> None:
    a = lnp.array(X)
    np.testing.assert_array_equal(np.from_dlpack(a), X)
    assert a.__dlpack_device__() == X.__dlpack_device__()
    same(lnp.from_dlpack(X), X)


def test_copies_and_pickles() -> None:
    a = lnp.array(2.0)
    assert copy.copy(a) is a
    for b in (copy.deepcopy(a), pickle.loads(pickle.dumps(a))):
        assert b is not a and b.weak == a.weak and b.dtype == a.dtype and b == a
    b = pickle.loads(pickle.dumps(lnp.array(X, "bfloat16")))
    assert str(b.dtype) == "bfloat16"
    assert lnp.array(a) is not a and lnp.asarray(a) is a


def test_assignment_shows_the_replacement() -> None:
    weights, i, new = lnp.array(X), 1, 3.0
    with pytest.raises(TypeError, match=r"weights = weights\.at\[i, 0\]\.set\(new \* 2\)$"):
        weights[i, 0] = new * 2
    with pytest.raises(TypeError, match=r"weights = weights\.at\[:, i:\]\.add\(new\)$"):
        weights[:, i:] += new
    with pytest.raises(TypeError, match=r"\.at\[mask\]\.divide\(2\)$"):
        mask = weights > 0
        weights[mask] /= 2


def test_arrays_are_not_hashable() -> None:
    with pytest.raises(TypeError, match="unhashable type: 'Array'.*id\\(x\\)"):
        {lnp.ones(2): 1}


@pytest.mark.parametrize(("x", "text", "plain"), [
    (lnp.array([1.0, 2.0]), "Array([1., 2.], dtype=float32)", "[1. 2.]"),
    (lnp.array(3), "Array(3, dtype=int32, weak_type=True)", "3"),
    (lnp.zeros((0, 2)), "Array([], shape=(0, 2), dtype=float32)", "[]"),
    (lnp.array([[1], [2]]), "Array([[1],\n       [2]], dtype=int32)", "[[1]\n [2]]"),
    (lnp.array([True]), "Array([ True], dtype=bool)", "[ True]"),
    (lnp.array([1.5], "bfloat16"), "Array([1.5], dtype=bfloat16)", "[1.5]"),
])
def test_text(x: Any, text: str, plain: str) -> None:
    assert repr(x) == text and str(x) == plain and f"{x}" == plain


def test_format() -> None:
    assert f"{lnp.array(3.14159):.2f}" == "3.14" and f"{lnp.array([7]):>3d}" == "  7"
    with pytest.raises(TypeError, match="one element"):
        f"{lnp.ones(2):.2f}"


def test_random_keys_are_carried_and_never_numbers() -> None:
    keys = lf.random.split(lf.random.key(0), 4)
    assert repr(keys) == "Array(shape=(4,), dtype=key<threefry2x32>)"
    assert keys[1:].shape == (3,) and keys[lnp.array([0, 2])].shape == (2,) and len(keys) == 4
    moved = keys.at[0].set(keys[1])
    assert bool(moved[0] == moved[1]) and lf.jit(lambda k, i: k[i])(keys, 2) == keys[2]
    assert pickle.loads(pickle.dumps(keys))[3] == keys[3]
    for f, text in ((lambda: keys + 1, "no arithmetic"), (lambda: np.asarray(keys), "key_data"),
                    (lambda: float(keys[0]), "one number")):
        with pytest.raises(TypeError, match=text):
            f()


def test_type_checkers_are_told_of_every_method() -> None:
    declared = {*ArrayMethods.__annotations__, *vars(ArrayMethods)}
    own = {n for n in dir(lnp.ones(1)) if not n.startswith("_") or n.strip("_") in BINARY_NAMES}
    known = own - {"value", "weak", "shape", "dtype", "ndim", "size", "type", "weak_type"}
    assert known <= declared
    assert {n for n in declared if not n.startswith("_")} <= own


def test_devices_as_functions():
    tree = {"w": np.ones(2, "float32"), "n": 3, "name": "adam"}
    put = lf.device_put(tree, lf.default_backend())
    assert isinstance(put["w"], Array) and put["name"] == "adam"
    got = lf.device_get(lf.block_until_ready(put))
    assert type(got["w"]) is np.ndarray
    with pytest.raises(ValueError, match=r"no device 'tpu' here; there are \['cpu'"):
        lf.device_put(tree, "tpu")
