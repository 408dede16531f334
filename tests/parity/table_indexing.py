"""Rows of indexing, `.at`, array methods and operators, with names of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import B, C, F, G, I, K, N, P, Table, expr

TABLE: Table = {}

# ------------------------------------------------------------------ x[...]

_I, _M = np.array([2, 0, 1]), np.array([True, False, True])
_J, _ROWS = np.array([1, 0]), np.array([[0], [2]])
STATIC: list[Any] = [
    0, -1, slice(1, 3), slice(None, None, -1), slice(-2, None), slice(3, 0, -2), slice(1, 1),
    (0, 1), (slice(None), 1), (..., -1), (None, 1), (slice(None), None, 2), (1, ..., None), ...,
    None, (), (slice(0, 3, 2), slice(None, None, 2)), (_I, np.array([3, 0, 0])), _I, (_I, _I),
    (slice(None), _I), (_I, slice(1, 3)), (_I, None), (None, _I), (_ROWS, _I), (0, _I), (_I, 0),
    _I.reshape(3, 1), np.zeros((0,), int), _M, (_M, 0), (slice(None), np.array([True, False] * 2)),
    (_M, slice(1, 3)), np.arange(12).reshape(3, 4) % 3 == 0, (_M, np.array([0, 3])), True,
    (False, 0), np.int32(1), np.array(1), (np.array([-1, -3]),), (np.uint8(2), slice(None)),
    (..., np.array([1, 0])), (_I, ..., np.array([0, 1, 1])),
]
DEEP: list[Any] = [
    (_J, slice(None), _J), (slice(None), _I, slice(None)), (0, slice(None), _I),
    (_J, _J), (slice(None), _I, _I), (_J, None, _J), (..., _I, None),
    (0, ..., _J), (np.array([True, False]), slice(None), 1), (slice(None), _M),
    (slice(None), _ROWS, _I), (slice(None), 1, _I), (1, None, slice(None), _I),
]


class At:
    """An index that is no tree of arrays."""

    def __init__(self, index: Any):
        self.index = index


for _index in STATIC:
    expr(TABLE, "indexing.matrix", lambda m, x, at: x[at.index], G(3, 4), At(_index))
for _index in DEEP:
    expr(TABLE, "indexing.cube", lambda m, x, at: x[at.index], G(2, 3, 4), At(_index))
expr(TABLE, "indexing.traced", lambda m, x, i: x[i], G(3, 4), K([2, -1, 0]))
expr(TABLE, "indexing.traced", lambda m, x, i: x[i, 1:], G(3, 4), K([2, -1, 0]))
expr(TABLE, "indexing.traced", lambda m, x, i: x[:, i], G(3, 4), K(2))
expr(TABLE, "indexing.traced", lambda m, x, i, j: x[i, j], G(3, 4), K([[2], [0]]), K([1, 3]))
expr(TABLE, "indexing.traced", lambda m, x, i: x[i, None, ..., i], G(2, 3, 4), K([0, 1]))
expr(TABLE, "indexing.traced", lambda m, x, i: x[i], I(5), K([2, -1, 0]))
expr(TABLE, "indexing.mask", lambda m, x, b: x[b], G(3, 4), B(3, 4), _concrete=True)
expr(TABLE, "indexing.mask", lambda m, x, b: x[:, b], G(3, 4), B(4), _concrete=True)
expr(TABLE, "indexing.complex", lambda m, x: x[1:, np.array([0, 2])], C(3, 4))

# ------------------------------------------------------------------ x.at[...]

_ONCE = {"unique_indices": True}  # JAX has no gradient of a product without it
_UPDATES = ("set", "add", "subtract", "multiply", "divide", "power", "min", "max")
_PLACES: list[Any] = [1, (slice(None), 2), (slice(0, 2), slice(1, 3)), _I, (_I, _I), (_I, 0),
                      (slice(None), np.array([1, 3])), slice(None, None, 2), (..., -1),
                      np.arange(12).reshape(3, 4) % 3 == 0]


def _at(m: Any, x: Any, v: Any, at: At, name: str, options: Any) -> Any:
    return getattr(x.at[at.index], name)(v, **options)


for _name in _UPDATES:
    for _place in _PLACES if _name in ("set", "add", "multiply") else _PLACES[1:6]:
        expr(TABLE, "at." + _name, _at, P(3, 4), P(), At(_place), _name, _ONCE)
    expr(TABLE, "at." + _name, _at, P(3, 4), P(3), At((slice(None), 1)), _name, {})
    expr(TABLE, "at." + _name, _at, P(3, 4), 2.0, At((0, 1)), _name, {})
    expr(TABLE, "at." + _name, _at, I(4, lo=1), 2, At(slice(1, 3)), _name, {}, _grad=False)
    if _name not in ("divide", "power"):  # JAX's gradient at dropped places is 0 / 0
        expr(TABLE, "at." + _name, _at, P(5), P(3), At(np.array([1, 7, 3])), _name,
             {"mode": "drop", **_ONCE}, _grad=_name in ("set", "add", "multiply"))
for _name in ("add", "subtract"):
    expr(TABLE, "at." + _name, _at, P(5), P(4), At(np.array([1, 1, 3, 1])), _name, {})
for _name in ("multiply", "min", "max"):
    expr(TABLE, "at." + _name, _at, P(5), P(4), At(np.array([1, 1, 3, 1])), _name, {},
         _grad=False)
expr(TABLE, "at.set", _at, F(3, 4), F(2, 4), At(np.array([2, 0])), "set", {"unique_indices": True})
expr(TABLE, "at.set", lambda m, x, i, v: x.at[i].set(v), F(5), K([3, 1]), F(2))
expr(TABLE, "at.set", _at, C(4), F(2), At(slice(1, 3)), "set", {})
expr(TABLE, "at.apply", lambda m, x: x.at[1:, 2].apply(m.np.sin), F(3, 4), _grad=False)
expr(TABLE, "at.get", lambda m, x: x.at[np.array([1, 9])].get(mode="clip"), F(5))
expr(TABLE, "at.get", lambda m, x: x.at[np.array([1, 9])].get(mode="fill"), F(5))
expr(TABLE, "at.get", lambda m, x: x.at[np.array([1, 9]), :2].get(mode="fill", fill_value=3.0),
     F(5, 3))
expr(TABLE, "at.get", lambda m, x: x.at[np.array([1, -9, -1])].get(mode="clip"), F(5))
expr(TABLE, "at.get", lambda m, x: x.at[1:3].get(), F(5))

# ------------------------------------------------------------------ methods

METHODS: list[tuple[str, Any, Any]] = [
    ("all", B(3, 4), [(), (0,)]), ("any", B(3, 4), [(), (0,)]), ("argmax", G(3, 4), [(), (1,)]),
    ("argmin", G(3, 4), [(), (1,)]), ("argsort", G(3, 4), [(), (0,)]),
    ("clip", G(3, 4), [(-0.5, 0.5)]), ("conj", C(3), [()]), ("conjugate", C(3), [()]),
    ("copy", F(3), [()]), ("cumprod", F(3, 4), [(0,)]), ("cumsum", F(3, 4), [(), (1,)]),
    ("diagonal", F(3, 4), [()]), ("flatten", F(3, 4), [()]), ("max", G(3, 4), [(), (1,)]),
    ("mean", F(3, 4), [(), (1,)]), ("min", G(3, 4), [(), (1,)]), ("prod", F(3, 4), [(), (1,)]),
    ("ptp", G(3, 4), [()]), ("ravel", F(3, 4), [()]), ("repeat", F(3), [(2,)]),
    ("reshape", F(3, 4), [(2, 6), ((4, -1),), (-1,)]), ("round", F(3, 4), [(), (1,)]),
    ("sort", G(3, 4), [(), (0,)]), ("squeeze", F(1, 3), [(), (0,)]), ("std", F(3, 4), [(), (0,)]),
    ("sum", F(3, 4), [(), (0,)]), ("swapaxes", F(3, 4), [(0, 1)]), ("trace", F(3, 3), [()]),
    ("transpose", F(2, 3, 4), [(), (1, 0, 2), ((2, 0, 1),)]), ("var", F(3, 4), [(), (0,)]),
    ("item", F(1), []), ("take", F(5), [(np.array([0, 3]),)]),
]
for _name, _x, _calls in METHODS:
    for _arguments in _calls:
        expr(TABLE, "method." + _name, lambda m, x, name, args: getattr(x, name)(*args.index), _x,
             _name, At(_arguments))
for _name in ("T", "mT", "real", "imag"):
    expr(TABLE, "method." + _name, lambda m, x, name: getattr(x, name), C(3, 4), _name)
for _name in ("shape", "ndim", "size", "nbytes", "itemsize"):
    expr(TABLE, "method." + _name, lambda m, x, name: getattr(x, name), F(3, 4), _name,
         _concrete=True, _grad=False, _wide=False)
expr(TABLE, "method.astype", lambda m, x: x.astype("int8"), G(3, 4))
expr(TABLE, "method.dot", lambda m, x, y: x.dot(y), F(2, 3), F(3, 4))
expr(TABLE, "method.view", lambda m, x: x.view("int32"), F(3, 4), _wide=False, _single=True,
     _grad=False)
expr(TABLE, "method.searchsorted", lambda m, x: m.np.asarray(x).searchsorted(0.5),
     K([0.0, 0.3, 0.9]))
expr(TABLE, "method.nonzero", lambda m, x: x.nonzero(), I(5, lo=0, hi=2), _concrete=True)
expr(TABLE, "method.choose", lambda m, x, y: x.choose([y, y * 2]), I(3, lo=0, hi=2), F(3),
     _concrete=True)
expr(TABLE, "method.compress", lambda m, x: x.compress(np.array([True, False, True])), F(3),
     _concrete=True)

# ------------------------------------------------------------------ operators

_OPERATORS: dict[str, Any] = {
    "+": lambda x, y: x + y, "-": lambda x, y: x - y, "*": lambda x, y: x * y,
    "/": lambda x, y: x / y, "//": lambda x, y: x // y, "%": lambda x, y: x % y,
    "**": lambda x, y: x ** y, "divmod": divmod, "==": lambda x, y: x == y,
    "!=": lambda x, y: x != y, "<": lambda x, y: x < y, "<=": lambda x, y: x <= y,
    ">": lambda x, y: x > y, ">=": lambda x, y: x >= y,
}
_BITS: dict[str, Any] = {"&": lambda x, y: x & y, "|": lambda x, y: x | y,
                         "^": lambda x, y: x ^ y, "<<": lambda x, y: x << y,
                         ">>": lambda x, y: x >> y}
for _name, _operator in _OPERATORS.items():
    for _left, _right in ((P(3, 4), P(4)), (P(3), 2.0), (2, P(3)), (I(3, lo=1), 2),
                          (2, I(3, lo=1, hi=4)), (N(3, lo=1), N(3, lo=1, hi=4))):
        expr(TABLE, "operator." + _name, lambda m, x, y, f: f.index(x, y), _left, _right,
             At(_operator), _single=True)
for _name, _operator in _BITS.items():
    for _left, _right in ((I(4, lo=0), I(4, lo=0)), (I(4, lo=0), 2), (3, I(4, lo=0))):
        expr(TABLE, "operator." + _name, lambda m, x, y, f: f.index(x, y), _left, _right,
             At(_operator))
expr(TABLE, "operator.@", lambda m, x, y: x @ y, F(2, 3), F(3, 4))
expr(TABLE, "operator.-x", lambda m, x: (-x, +x, abs(x), round(x, 1)), G(3, 4))
expr(TABLE, "operator.~", lambda m, x, y: (~x, ~y), I(3), B(3))
expr(TABLE, "operator.iteration", lambda m, x: [2 * row for row in x], F(3, 4))
expr(TABLE, "operator.len", lambda m, x: len(x), F(3, 4), _concrete=True, _grad=False)
