"""The sides of JAX: plain functions of arrays, and the optimizers of optax."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from benchmarks import plain, samplers
from benchmarks.harness import Prepared, once, timed
from benchmarks.loops import Length, Updates
from benchmarks.workloads import Outputs, Workload, mean_of, normal, weights, weights_from_outside


class Ops:
    """What `plain` asks of a library."""

    np = jnp
    bool_ = bool
    rsqrt, stopped, sigmoid = lax.rsqrt, lax.stop_gradient, jax.nn.sigmoid
    softmax, logsumexp = jax.nn.softmax, staticmethod(lambda x: jax.nn.logsumexp(x, axis=-1))

    @staticmethod
    def conv(x: Any, window: Any, stride: int, padding: int) -> Any:
        return lax.conv_general_dilated(
            x, window, (stride, stride), [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    @staticmethod
    def average_pool(x: Any) -> Any:
        window = (1, 2, 2, 1)
        return lax.reduce_window(x, np.zeros((), x.dtype), lax.add, window, window, "VALID") / 4

    @staticmethod
    def take_label(logits: Any, labels: Any) -> Any:
        return jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]

    @staticmethod
    def recur(cell: Callable[..., Any], carry: Any, inputs: Any) -> Any:
        return lax.scan(lambda carry, x: (cell(carry, x), None), carry, inputs)[0]


def loss_of(work: Workload) -> Callable[..., Any]:
    def loss_fn(params, state, x, y):
        logits, state = plain.MODELS[work.model](Ops, work.sizes, params, state, x)
        return plain.cross_entropy(Ops, logits, y), state

    return loss_fn


def step_of(work: Workload) -> Callable[..., Any]:
    loss_fn, tx = loss_of(work), optimizer_of(work)

    def step(params, state, opt_state, x, y):
        gradient = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, state), grads = gradient(params, state, x, y)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), state, opt_state, loss, grads

    return step


def training_step(work: Workload) -> Callable[..., Any]:
    step = step_of(work)
    return lambda *args: step(*args)[:4]


def optimizer_of(work: Workload) -> Any:
    return getattr(optax, work.optimizer)(**work.options)


def beginning(work: Workload, dtype: str = "float32", outside: bool = False) -> Any:
    params, state = (weights_from_outside if outside else weights)(work)
    # optax and flax keep no count of batches.
    state = {name: a for name, a in state.items() if not name.endswith("num_batches_tracked")}
    cast = lambda arrays: {name: jnp.asarray(a, dtype) for name, a in arrays.items()}
    params, state = cast(params), cast(state)
    return params, state, optimizer_of(work).init(params)


def copied(values: Any) -> Any:
    return jax.tree.map(lambda a: jnp.array(a, copy=True), values)


def arrays(values: Any) -> Any:
    return jax.tree.map(np.asarray, values)


def moments(opt_state: Any) -> Any:
    part = next(part for part in opt_state if hasattr(part, "mu") or hasattr(part, "trace"))
    return part.mu if hasattr(part, "mu") else part.trace


def donating(work: Workload) -> Callable[..., Any]:
    return jax.jit(training_step(work), donate_argnums=(0, 1, 2))


def train(work: Workload) -> Prepared:
    step, (x, y) = donating(work), map(jnp.asarray, work.data())
    start = beginning(work)
    fresh = lambda: copied(start)
    sample = samplers.training(
        fresh, lambda carry: step(*carry, x, y)[:3], jax.block_until_ready
    )

    def outputs() -> list[Any]:
        _, _, opt_state, loss = step(*fresh(), x, y)
        with jax.enable_x64(True):
            data = map(jnp.asarray, work.data(work.check, "float64"))
            begin = beginning(work, "float64")
            params, _, _, exact_loss, grads = jax.jit(step_of(work))(*begin, *data)
            exact = arrays((exact_loss, grads, params))
        return Outputs(np.asarray(loss), arrays(moments(opt_state)), *exact).listed()

    return Prepared(sample, outputs)


def memory(work: Workload) -> Prepared:
    step, (x, y) = donating(work), map(jnp.asarray, work.data())
    fresh = lambda: beginning(work, outside=True)
    one = lambda carry: step(*carry, x, y)[:3]
    return Prepared(samplers.peak_memory(fresh, one, jax.block_until_ready))


_fresh = count()


def compile_step(work: Workload) -> Prepared:
    x, y = map(jnp.asarray, work.data())
    start = beginning(work)

    def compile():
        step, tag = training_step(work), next(_fresh)
        unseen = lambda *args: step(*args) if tag >= 0 else None
        return jax.jit(unseen).lower(*start, x, y).compile()

    return Prepared(once(compile), lambda: [np.asarray(compile()(*start, x, y)[3])])


def per_example(work: Workload) -> Prepared:
    loss_fn = loss_of(work)
    alone = lambda params, x, y: loss_fn(params, {}, x[None], y[None])[0]
    gradients = jax.jit(jax.vmap(jax.grad(alone), in_axes=(None, 0, 0)))
    x, y = map(jnp.asarray, work.data())
    params = beginning(work)[0]
    call = lambda: jax.block_until_ready(gradients(params, x, y))
    few = lambda: {name: np.asarray(leaf[::64]) for name, leaf in call().items()}
    return Prepared(samplers.calls(call), lambda: [few()])


def optimizer(work: Workload) -> Prepared:
    tx = optimizer_of(work)
    params, _, opt_state = beginning(work)
    grads = {name: jnp.asarray(1e-2 * normal(*p.shape)) for name, p in params.items()}

    def update(params, opt_state, grads):
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    step = jax.jit(update, donate_argnums=(0, 1))
    fresh = lambda: copied((params, opt_state))
    sample = samplers.training(fresh, lambda carry: step(*carry, grads), jax.block_until_ready)
    return Prepared(sample, lambda: [arrays(step(*fresh(), grads)[0])])


def with_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    def both(g, *args):
        y, pull = jax.vjp(function, *args)
        return y, pull(g)

    return both


def batch_norm_relu(x: Any, weight: Any, bias: Any) -> Any:
    axes = (0, 1, 2)
    mean, var = jnp.mean(x, axes), jnp.var(x, axes)
    return jax.nn.relu((x - mean) * (lax.rsqrt(var + plain.EPS) * weight) + bias)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "gelu": jax.nn.gelu,
    "softmax": with_gradient(jax.nn.softmax),
    "layer-norm": with_gradient(lambda x, w, b: plain.standardised(Ops, x) * w + b),
    "batch-norm-relu": with_gradient(batch_norm_relu),
}


def kernel(function: Callable[..., Any], *data: Any) -> Prepared:
    jitted = jax.jit(function)
    args = jax.tree.map(jnp.asarray, data)
    call = lambda: jax.block_until_ready(jitted(*args))
    return Prepared(samplers.calls(call), lambda: arrays(jax.tree.leaves(call())))


def named_kernel(name: str, make: Callable[[], tuple[np.ndarray, ...]]) -> Prepared:
    return kernel(FUNCTIONS[name], *make())


def tree_of_scalars(size: int) -> Prepared:
    scalars = [jnp.asarray(np.float32(i)) for i in range(size)]
    add_one = jax.jit(lambda t: jax.tree.map(lambda x: x + 1, t))
    call = lambda: jax.block_until_ready(add_one(scalars))
    return Prepared(timed(call), lambda: arrays(call()))


def dropout_mask(size: int, impl: str) -> Prepared:
    draw = jax.jit(lambda key: jax.random.bernoulli(key, 0.9, (size,)))
    key = jax.random.key(0, impl=impl)
    call = lambda: jax.block_until_ready(draw(key))
    return Prepared(
        samplers.calls(call), lambda: [mean_of(np.asarray(call()))]
    )


def looped(work: Any) -> Prepared:
    return kernel(work.make(jax), *work.data())


def updates(work: Updates) -> Prepared:
    jitted = jax.jit(work.make(jax), donate_argnums=0)
    start, *rows = map(jnp.asarray, work.data())
    fresh = lambda: copied(start)
    step = lambda carry: jitted(carry, *rows)
    sample = samplers.training(fresh, step, jax.block_until_ready)
    return Prepared(sample, lambda: [np.asarray(step(fresh()))[:: work.apart]])


def compile_loop(work: Length) -> Prepared:
    args = tuple(map(jnp.asarray, work.data()))

    def compile():
        function, tag = work.make(jax), next(_fresh)
        unseen = lambda *args: function(*args) if tag >= 0 else None
        return jax.jit(unseen).lower(*args).compile()

    return Prepared(once(compile))
