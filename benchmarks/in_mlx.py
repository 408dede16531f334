"""The sides of MLX on the CPU: plain functions of arrays, and its own optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_map

from benchmarks import plain, samplers
from benchmarks.harness import Prepared
from benchmarks.workloads import Outputs, Workload, normal, weights

mx.set_default_device(mx.cpu)
OPTIMIZERS = {"sgd": optim.SGD, "adam": optim.Adam, "adamw": optim.AdamW}


class Names:
    """The array functions of MLX, where they are not NumPy's by the same name."""

    def __getattr__(self, name: str) -> Any:
        return getattr(mx, name)

    @staticmethod
    def tri(size: int, dtype: Any = None) -> mx.array:
        return mx.tri(size).astype(mx.bool_)


class Ops:
    """What `plain` asks of a library."""

    np = Names()
    bool_ = mx.bool_
    rsqrt, stopped, sigmoid = mx.rsqrt, mx.stop_gradient, mx.sigmoid
    softmax = staticmethod(lambda x: mx.softmax(x, axis=-1))
    logsumexp = staticmethod(lambda x: mx.logsumexp(x, axis=-1))

    @staticmethod
    def conv(x: Any, window: Any, stride: int, padding: int) -> Any:
        return mx.conv2d(x, window.transpose(3, 0, 1, 2), stride, padding)

    @staticmethod
    def average_pool(x: Any) -> Any:
        n, h, w, c = x.shape
        return mx.mean(x.reshape(n, h // 2, 2, w // 2, 2, c), (2, 4))

    @staticmethod
    def take_label(logits: Any, labels: Any) -> Any:
        return mx.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]

    @staticmethod
    def recur(cell: Callable[..., Any], carry: Any, inputs: Any) -> Any:
        for x in inputs:
            carry = cell(carry, x)
        return carry


def optimizer_of(work: Workload) -> optim.Optimizer:
    correction = {} if work.optimizer == "sgd" else {"bias_correction": True}
    return OPTIMIZERS[work.optimizer](**work.options, **correction)


def step_of(work: Workload, tx: optim.Optimizer) -> Callable[..., Any]:
    def loss_fn(params, state, x, y):
        logits, state = plain.MODELS[work.model](Ops, work.sizes, params, state, x)
        return plain.cross_entropy(Ops, logits, y), state

    def step(params, state, opt_state, x, y):
        (loss, state), grads = mx.value_and_grad(loss_fn)(params, state, x, y)
        tx.state = opt_state
        params = tx.apply_gradients(grads, params)
        return params, state, tx.state, loss, grads

    return step


def beginning(work: Workload, tx: optim.Optimizer, dtype: Any = mx.float32) -> Any:
    cast = lambda arrays: {name: mx.array(a, dtype) for name, a in arrays.items()}
    params, state = map(cast, weights(work))
    tx.init(params)
    return params, state, tx.state


def copied(values: Any) -> Any:
    return tree_map(lambda a: mx.array(a) if isinstance(a, mx.array) else a, values)


def arrays(values: Any) -> Any:
    """In float32: some functions of float64 are no more accurate here, and are not held to it."""
    return {name: np.array(a, "float32") for name, a in values.items()}


def moments(opt_state: Any, params: Any) -> Any:
    return {name: np.array(opt_state[name].get("m", opt_state[name].get("v"))) for name in params}


def train(work: Workload) -> Prepared:
    tx = optimizer_of(work)
    step = mx.compile(lambda *args: step_of(work, tx)(*args)[:4])
    x, y = map(mx.array, work.data())
    start = beginning(work, tx)
    one = lambda carry: evaluated(step(*carry, x, y)[:3])

    def outputs() -> list[Any]:
        params, _, opt_state, loss = step(*copied(start), x, y)
        data = [mx.array(a, mx.float64 if a.dtype == "f8" else None) for a in
                work.data(work.check, "float64")]  # fmt: skip
        double = optimizer_of(work)
        begin = beginning(work, double, mx.float64)
        new, _, _, exact_loss, grads = step_of(work, double)(*begin, *data)
        exact_loss = np.array(exact_loss, "float32")
        found = moments(opt_state, params)
        return Outputs(np.array(loss), found, exact_loss, arrays(grads), arrays(new)).listed()

    return Prepared(samplers.training(lambda: copied(start), one), outputs)


def evaluated(values: Any) -> Any:
    mx.eval(values)
    return values


def optimizer(work: Workload) -> Prepared:
    tx = optimizer_of(work)
    params, _, opt_state = beginning(work, tx)
    grads = {name: mx.array(1e-2 * normal(*p.shape)) for name, p in params.items()}

    def update(params, opt_state, grads):
        tx.state = opt_state
        return tx.apply_gradients(grads, params), tx.state

    step = mx.compile(update)
    fresh = lambda: copied((params, opt_state))
    one = lambda carry: evaluated(step(*carry, grads))
    return Prepared(samplers.training(fresh, one), lambda: [arrays(one(fresh())[0])])


def with_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    def both(g, *args):
        (y,), gradients = mx.vjp(lambda *args: [function(*args)], list(args), [g])
        return [y, *gradients]

    return both


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "gelu": lambda x: [nn.gelu_approx(x)],
    "softmax": with_gradient(Ops.softmax),
    "layer-norm": with_gradient(lambda x, w, b: mx.fast.layer_norm(x, w, b, plain.EPS)),
}


def named_kernel(name: str, make: Callable[[], tuple[np.ndarray, ...]]) -> Prepared:
    compiled = mx.compile(FUNCTIONS[name])
    args = tuple(map(mx.array, make()))
    call = lambda: evaluated(compiled(*args))
    return Prepared(samplers.calls(call), lambda: [np.array(a) for a in call()])
