"""Updates in place: what compiled programs do to buffers of their own, and to carries of loops."""

from __future__ import annotations

from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.backends.numpy import indexing
from lucidfn.core.ir import Equation, Program, Var

UFUNCS: dict[Any, Any] = {ops.scatter_set: None, ops.scatter_add: np.add,
                          ops.scatter_mul: np.multiply, ops.scatter_min: np.minimum,
                          ops.scatter_max: np.maximum}
UPDATES = {*UFUNCS, ops.dynamic_update_slice}


def put(x: np.ndarray, indices: np.ndarray, updates: Any, *, axes: tuple[int, ...], mode: str,
        lanes: int = 0, by: Any = None) -> np.ndarray:
    """`scatter_set`, or by a ufunc, into x itself where its memory allows it."""
    many = indices.size != len(axes)
    if many or lanes or axes != tuple(range(len(axes))) or not x.flags.c_contiguous or \
            not x.flags.writeable or x.dtype.kind == "V" or x.dtype.itemsize == 2:
        return indexing._scatter(by, x, indices, np.asarray(updates), axes, mode, lanes)
    place = _place(x, indices, axes, mode, outside=None)
    if place is not None:
        x[place] = updates if by is None else by(x[place], updates)
    return x


def take(x: np.ndarray, indices: np.ndarray, *, axes: tuple[int, ...], mode: str,
         fill: Any, lanes: int = 0) -> Any:
    """`gather` of one place along leading axes: a number, or a copy of a row."""
    place = _place(x, indices, axes, mode, outside=None)
    if place is None:
        return np.full(x.shape[len(axes):], fill, x.dtype)
    found = x[place]
    return found.copy() if type(found) is np.ndarray else found


def _place(x: np.ndarray, indices: np.ndarray, axes: tuple[int, ...], mode: str,
           outside: Any) -> Any:
    """The index of one place; `outside` where there is none."""
    place = tuple(indices.reshape(-1).tolist())
    for i, n in zip(place, x.shape, strict=False):
        if i >= n or i < 0:
            break
    else:
        return place
    if mode == "raise":
        if any(not -n <= i < n for i, n in zip(place, x.shape, strict=False)):
            indexing._check_bounds(indices.reshape(1, -1), x.shape, axes)
        return place
    if mode == "clip" and 0 not in x.shape[:len(axes)]:
        return tuple([min(max(i, 0), n - 1) for i, n in zip(place, x.shape, strict=False)])
    return outside if mode in ("drop", "fill") else place


def update_block(x: np.ndarray, update: np.ndarray, *starts: Any) -> np.ndarray:
    """`dynamic_update_slice` into x itself."""
    if not x.flags.writeable:
        return indexing.dynamic_update_slice(x, update, *starts)
    x[(*indexing._window(starts, update.shape, x.shape), ...)] = update
    return x


def in_place_text(w: Any, eqn: Equation, args: list[str]) -> str:
    """The call that updates the first operand and returns it."""
    if eqn.primitive is ops.dynamic_update_slice:
        return f"{w.name_of(update_block, 'update_block')}({', '.join(args)})"
    params = [f"{k}={w.value(v, k)}" for k, v in eqn.params.items()]
    ufunc = UFUNCS[eqn.primitive]
    if ufunc is not None:
        params.append(f"by={w.name_of(ufunc, ufunc.__name__)}")
    return f"{w.name_of(put, 'put')}({', '.join([*args, *params])})"


def takes_one(eqn: Equation) -> bool:
    """Whether a gather takes one place along leading axes."""
    p = eqn.params
    return (not p.get("lanes") and len(eqn.inputs[1].type.shape) == 1
            and p["axes"] == tuple(range(len(p["axes"]))) and bool(p["axes"])
            and eqn.inputs[0].type.dtype.kind != "V")


def updates_last(program: Program) -> Program:
    """Move updates behind what else reads the array that they update, so that they may be done in
    place."""
    equations = list(program.equations)
    for eqn in [e for e in equations if e.primitive in UPDATES]:
        at = next(i for i, e in enumerate(equations) if e is eqn)
        x = eqn.inputs[0]
        readers = [i for i in range(at + 1, len(equations)) if x in equations[i].inputs]
        if type(x) is not Var or not readers or x in eqn.inputs[1:]:
            continue
        late: set[Any] = set(eqn.outputs)
        after, before = [eqn], []
        for e in equations[at + 1:readers[-1] + 1]:
            if any(a in late for a in e.inputs) or (e.effect and any(o.effect for o in after)):
                late.update(e.outputs)
                after.append(e)
            else:
                before.append(e)
        if not any(x in e.inputs for e in after[1:]):
            equations[at:readers[-1] + 1] = [*before, *after]
    return program.replace(equations=equations)
