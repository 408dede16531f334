"""The programs of the benchmarks of control flow, for the two libraries with these names: `m` is
lucidfn or JAX.

A program is `make(m, ...)`, a function to jit, and `data()` its arguments, as NumPy arrays. What a
cell computes and the order of its gates are those of PyTorch; matrices are [in, out].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.workloads import Arrays, normal

Function = Callable[..., Any]


def rnn_cell(m: Any, p: Any, carry: Any, x: Any) -> tuple[Any, Any]:
    h = m.numpy.tanh(x @ p["weight_ih"] + p["bias_ih"] + carry[0] @ p["weight_hh"] + p["bias_hh"])
    return (h,), h


def lstm_cell(m: Any, p: Any, carry: Any, x: Any) -> tuple[Any, Any]:
    h, c = carry
    gates = x @ p["weight_ih"] + p["bias_ih"] + h @ p["weight_hh"] + p["bias_hh"]
    i, f, g, o = m.numpy.split(gates, 4, axis=-1)
    sigmoid, tanh = m.lax.logistic, m.numpy.tanh
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return (h, c), h


# cell, parts of the carry, gates
CELLS: dict[str, tuple[Function, int, int]] = {"rnn": (rnn_cell, 1, 1), "lstm": (lstm_cell, 2, 4)}


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer over whole sequences [steps, batch, inputs], forward and backward."""

    kind: str
    steps: int = 256
    batch: int = 32
    inputs: int = 128
    hidden: int = 128

    def data(self) -> tuple[Arrays, np.ndarray, np.ndarray]:
        """Weights, inputs, and the cotangent of all outputs."""
        wide = self.hidden * CELLS[self.kind][2]
        shapes = {
            "weight_ih": (self.inputs, wide),
            "weight_hh": (self.hidden, wide),
            "bias_ih": (wide,),
            "bias_hh": (wide,),
        }
        scale = self.hidden**-0.5 / 2
        params = {n: scale * normal(*s, seed=i) for i, (n, s) in enumerate(shapes.items())}
        sequence = (self.steps, self.batch)
        return params, normal(*sequence, self.inputs, seed=4), normal(*sequence, self.hidden)

    def make(self, m: Any) -> Function:
        cell, parts, _ = CELLS[self.kind]

        def loss(params: Any, xs: Any, g: Any) -> tuple[Any, Any]:
            start = (m.numpy.zeros((self.batch, self.hidden), xs.dtype),) * parts
            step = lambda carry, x: cell(m, params, carry, x)
            ys = m.lax.scan(step, start, xs)[1]
            return m.numpy.sum(ys * g), ys

        def both(params: Any, xs: Any, g: Any) -> tuple[Any, Any]:
            (_, ys), slope = m.value_and_grad(loss, has_aux=True)(params, xs, g)
            return ys, slope

        return both


@dataclass(frozen=True)
class Decay:
    """x * 0.999 + 0.1 over and over, on a scalar."""

    steps: int = 10_000

    def data(self) -> tuple[np.ndarray, ...]:
        return (np.asarray(2.0, "float32"),)

    def make(self, m: Any) -> Function:
        return lambda x: m.lax.fori_loop(0, self.steps, lambda i, x: x * 0.999 + 0.1, x)


@dataclass(frozen=True)
class Updates:
    """One element of the carry set at each step, at `places` places all over it."""

    size: int
    steps: int = 10_000
    places: int = 1000

    def data(self) -> tuple[np.ndarray, ...]:
        index = np.arange(self.steps, dtype="int32") * 7 % self.places
        return np.zeros(self.size, "float32"), index * self.apart, normal(self.steps)

    @property
    def apart(self) -> int:
        return self.size // self.places

    def make(self, m: Any) -> Function:
        def step(carry: Any, row: Any) -> tuple[Any, None]:
            i, x = row
            return carry.at[i].set(0.5 * carry[i] + x), None

        return lambda start, index, xs: m.lax.scan(step, start, (index, xs))[0]


@dataclass(frozen=True)
class Length:
    """A scan of `steps` steps, or its gradient, which is recorded and compiled but not run."""

    steps: int
    gradient: bool = False
    hidden: int = 16

    def data(self) -> tuple[np.ndarray, ...]:
        return normal(self.hidden, self.hidden), normal(self.hidden, seed=1)

    def make(self, m: Any) -> Function:
        def run(w: Any, h: Any) -> Any:
            step = lambda h, _: (m.numpy.tanh(h @ w), h[0])
            return m.lax.scan(step, h, None, length=self.steps)

        def loss(w: Any, h: Any) -> Any:
            h, ys = run(w, h)
            return m.numpy.sum(h) + m.numpy.sum(ys)

        return m.grad(loss) if self.gradient else run


@dataclass(frozen=True)
class Branches:
    """A slow branch for one row in a hundred; with `both` each row runs it, and most drop it."""

    rows: int = 4096
    width: int = 64
    depth: int = 16
    both: bool = False

    def data(self) -> tuple[np.ndarray, ...]:
        taken = np.arange(self.rows) % 100 == 50
        return taken, normal(self.rows, self.width), normal(self.width, self.width, seed=1) / 8

    def make(self, m: Any) -> Function:
        def slow(x: Any, w: Any) -> Any:
            for _ in range(self.depth):
                x = m.numpy.tanh(x @ w)
            return x

        def fast(x: Any, w: Any) -> Any:
            return 2.0 * x

        def one(taken: Any, x: Any, w: Any) -> Any:
            if self.both:
                return m.numpy.where(taken, slow(x, w), fast(x, w))
            return m.lax.cond(taken, slow, fast, x, w)

        return m.vmap(one, in_axes=(0, 0, None))
