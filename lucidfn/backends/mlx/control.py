"""Control flow on MLX: loops call their compiled body for each step, the host chooses branches.

What a loop computes is started a stretch at a time, so that MLX's graph does not grow with the
number of steps. A condition waits for the value that it looks at; so does the index of a branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from lucidfn import ops
from lucidfn.backends.mlx import checks, shapes
from lucidfn.backends.mlx.arrays import Keys, mx_dtype, scalar, with_keys
from lucidfn.backends.mlx.compile import bits_of
from lucidfn.backends.mlx.kernels import KERNELS
from lucidfn.control.branches import rows_program
from lucidfn.core.ir import Program
from lucidfn.core.primitive import Primitive
from lucidfn.types import SCALARS, ArrayType, int32, is_key

if TYPE_CHECKING:
    from lucidfn.backends.mlx import MlxBackend

STRETCH = 1024  # operations of a loop that are recorded before they are started
LONGEST = 256  # steps of a stretch, however short they are


def body_of(backend: MlxBackend, program: Program) -> Callable[..., Sequence[Any]]:
    """A compiled program as a function of what kernels take."""
    compiled = backend.compile(program)
    if not compiled.on_raws:
        return compiled.function
    return lambda *args: [x.data for x in compiled.function(*map(backend.wrap, args))]


def filled(args: Sequence[Any], types: Sequence[ArrayType]) -> list[Any]:
    """The operands as arrays."""
    return [scalar(x, mx_dtype(t.dtype)) if type(x) in SCALARS else x
            for x, t in zip(args, types, strict=True)]


def rows_of(x: Any, count: int) -> Callable[[int], Any]:
    """The rows of an array, by number; where one row of zeros stands for all, that."""
    if type(x) is Keys:
        return lambda i: Keys(x.bits[i], x.dtype)
    if x.shape[0] == 1 < count:
        first = x[0]
        return lambda i: first
    return lambda i: x[i]


# ------------------------------------------------------------------ tapes

@with_keys
def _stack(*rows: Any) -> mx.array:
    return mx.stack(_alike(rows, 0))


@with_keys
def _join(*parts: Any) -> mx.array:
    return parts[0] if len(parts) == 1 else mx.concatenate(_alike(parts, 1))


@with_keys
def _take(x: Any, at: Any) -> mx.array:
    return mx.take(x, at, axis=0)


def _alike(parts: Sequence[mx.array], first: int) -> Sequence[mx.array]:
    """The parts with sizes alike from axis `first` on: tapes of fewer steps end with zeros."""
    shape = parts[0].shape
    if all(p.shape[first:] == shape[first:] for p in parts):
        return parts
    most = [max(sizes) for sizes in zip(*[p.shape[first:] for p in parts], strict=True)]
    return [padded(p, (*p.shape[:first], *most)) for p in parts]


def padded(x: mx.array, shape: Sequence[int]) -> mx.array:
    """x with zeros at the ends up to a shape."""
    return shapes.pad(x, 0, widths=[(0, n - m, 0) for m, n in zip(x.shape, shape, strict=True)])


def add_any(x: mx.array, y: mx.array) -> mx.array:
    """The sum; of tapes of unequal sizes, where what one lacks counts as zeros."""
    return mx.add(*_alike((x, y), 0))


def blank(*, shape: Sequence[int], dtype: np.dtype, value: Any = None) -> Any:
    """Zeros; an axis of unknown size has one row, which stands for any number of them."""
    value = (None if is_key(dtype) else 0) if value is None else value
    return shapes.full(shape=tuple([abs(d) for d in shape]), dtype=dtype, value=value)


class Stretches:
    """What the steps of a loop give, started a stretch at a time, and stacked."""

    def __init__(self, backend: MlxBackend, types: Sequence[ArrayType], size: int):
        self.backend, self.types = backend, types
        self.steps = max(1, min(LONGEST, STRETCH // max(size, 1)))
        self.rows: list[list[Any]] = [[] for _ in types]
        self.parts: list[list[Any]] = [[] for _ in types]
        self.waiting = 0

    def add(self, carry: Sequence[Any], rows: Sequence[Any]) -> None:
        for known, row in zip(self.rows, rows, strict=True):
            known.append(row)
        self.waiting += 1
        if self.waiting == self.steps:
            self.stack()
            self.backend.start([bits_of(x) for x in (*carry, *[p[-1] for p in self.parts])])

    def stack(self) -> None:
        for rows, parts in zip(self.rows, self.parts, strict=True):
            if rows:
                parts.append(_stack(*rows))
                rows.clear()
        self.waiting = 0

    def arrays(self, reverse: bool) -> Iterator[Any]:
        """The rows of each output, in order; those of a loop backwards came last to first."""
        self.stack()
        for parts, t in zip(self.parts, self.types, strict=True):
            if not parts:
                shape = (0, *[max(d, 0) for d in t.shape])
                yield blank(shape=shape, dtype=t.dtype)
                continue
            whole = _join(*parts)
            yield with_keys(shapes.flip)(whole, axes=(0,)) if reverse else whole


# ------------------------------------------------------------------ loops

def run_scan(backend: MlxBackend, *args: Any, program: Program, carries: tuple[int, int],
             length: int, reverse: bool, unroll: int = 1) -> list[Any]:
    """The kernel of `scan`."""
    return run_steps(backend, "scan", length, args, program, None, carries, reverse)[1:]


def run_loop(backend: MlxBackend, limit: Any, *args: Any, program: Program, cond: Program | None,
             carries: tuple[int, int], reverse: bool) -> list[Any]:
    """The kernel of `loop`; the first output is the number of steps."""
    return run_steps(backend, "while", int(limit), args, program, cond, carries, reverse)


def run_steps(backend: MlxBackend, name: str, most: int, args: Sequence[Any], program: Program,
              cond: Program | None, carries: tuple[int, int], reverse: bool) -> list[Any]:
    """[how many steps ran, *carry, *rows]; `most` is negative where only `cond` ends the loop."""
    n_consts, n_carry = carries
    first = n_consts + n_carry
    with backend.active():
        body = body_of(backend, program)
        test = None if cond is None else body_of(backend, cond)
        data = backend.data_of(args, "a loop")
        data[:first] = filled(data[:first], program.input_types[:first])
        consts, carry = data[:n_consts], data[n_consts:first]
        tapes = [rows_of(x, most) for x in data[first:]]
        kept = Stretches(backend, program.output_types[n_carry:],
                         backend.compile(program).size + len(tapes))
        step = 0
        while step < most or most < 0:
            if test is not None and not test(*consts, *carry)[0].item():
                break
            at = most - 1 - step if reverse else step
            before = len(checks.pending())
            outs = body(*consts, *carry, *[row(at) for row in tapes])
            checks.say(before, f" (in step {at} of {name})")
            carry = outs[:n_carry]
            kept.add(carry, outs[n_carry:])
            step += 1
        outs = [mx.array(step, mx_dtype(int32)), *carry, *kept.arrays(reverse)]
        return backend.given_out(outs)


# ------------------------------------------------------------------ branches

def run_switch(backend: MlxBackend, index: Any, *args: Any,
               branches: Sequence[Program]) -> Sequence[Any]:
    """The kernel of `switch`."""
    return backend.call(backend.compile(branches[int(index)]), args)


def run_switch_rows(backend: MlxBackend, index: Any, *args: Any, branches: Sequence[Program],
                    mapped: tuple[bool, ...], summed: tuple[bool, ...]) -> list[Any]:
    """The kernel of `switch_rows`: chunks of powers of two, so that few sizes are compiled."""
    types = branches[0].output_types
    index = np.asarray(index)
    with backend.active():
        data = filled(backend.data_of(args, "a branch"), [
            ArrayType((), t.dtype) for t in branches[0].input_types])
        order: list[np.ndarray] = []
        found: list[list[Any]] = [[] for _ in types]
        for i, branch in enumerate(branches):
            rows = np.flatnonzero(index == i)
            for chunk in chunks(rows):
                whole = len(chunk) == len(index)
                at = mx.array(chunk.astype(np.int32))
                run = body_of(backend, rows_program(branch, mapped, summed, len(chunk)))
                outs = run(*[_take(x, at) if m and not whole else x
                             for x, m in zip(data, mapped, strict=True)])
                order.append(chunk)
                for parts, out in zip(found, outs, strict=True):
                    parts.append(out)
        places = mx.array(np.argsort(np.concatenate(order)).astype(np.int32)) \
            if len(order) > 1 else None
        return backend.given_out([
            _gathered(parts, places, len(index), t, s)
            for parts, t, s in zip(found, types, summed, strict=True)])


def chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in chunks of powers of two, the largest first."""
    at = 0
    while at < len(rows):
        size = 1 << ((len(rows) - at).bit_length() - 1)
        yield rows[at:at + size]
        at += size


def _gathered(parts: Sequence[Any], places: mx.array | None, count: int, t: ArrayType,
              summed: bool) -> Any:
    """An output of all chunks: their sum, or their rows in the order of the batch."""
    if not parts:
        return blank(shape=t.shape if summed else (count, *t.shape), dtype=t.dtype)
    if summed:
        total = parts[0]
        for part in parts[1:]:
            total = add_any(total, part)
        return total
    whole = _join(*parts)
    return whole if places is None else _take(whole, places)


def unbound(primitive: Primitive) -> Callable[..., Any]:
    """The kernel of a collective: there are no lanes."""
    def run(backend: MlxBackend, *args: Any, **params: Any) -> Any:
        return primitive.unbound(*args, **params)  # type: ignore[attr-defined]
    return run


KERNELS[ops.add_tapes], KERNELS[ops.blank_tape] = add_any, blank
