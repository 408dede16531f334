"""The sides of lucidfn: models, optimizers and transformations as a user would write them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

import lucidfn as lf
import lucidfn.numpy as lnp
from benchmarks import samplers
from benchmarks.harness import Prepared, once, timed
from benchmarks.loops import Length, Updates
from benchmarks.workloads import Arrays, Checked, Outputs, Workload, mean_of, normal
from lucidfn import models, nn, optim, random, tree


class LSTMClassifier(nn.Composite):
    """The class of a sequence [N, T, C], from the last state of an LSTM."""

    inputs: int
    hidden: int
    classes: int = 10

    def children(self) -> dict[str, nn.Layer]:
        return {
            "lstm": nn.LSTM(self.inputs, self.hidden),
            "fc": nn.Linear(self.hidden, self.classes),
        }

    def forward(self, run: nn.Run, x: Any) -> Any:  # type: ignore[override]
        outputs, _ = run.lstm(x)
        return run.fc(outputs[:, -1])


def mlp(widths: tuple[int, ...]) -> nn.Layer:
    layers: list[Any] = []
    for i, o in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(i, o), nn.relu]
    return nn.Sequential(*layers[:-1])


MODELS: dict[str, Callable[..., nn.Layer]] = {
    "lenet": models.LeNet5,
    "resnet": lambda: models.resnet18(num_classes=10, stem="cifar"),
    "gpt": lambda **sizes: models.GPT(dropout=0.0, **sizes),
    "mlp": mlp,
    "lstm": LSTMClassifier,
}


def model_of(work: Workload) -> nn.Layer:
    return MODELS[work.model](**work.sizes)


def optimizer_of(work: Workload) -> optim.GradientTransformation:
    return getattr(optim, work.optimizer)(**work.options)


def by_name(values: Any) -> Arrays:
    """The leaves of nested dicts by their path, as NumPy arrays: {"conv1.weight": ...}."""
    pairs = tree.flatten_with_path(values)[0]
    return {".".join(key.key for key in path): np.asarray(leaf) for path, leaf in pairs}


def weights(work: Workload) -> tuple[Arrays, Arrays]:
    params, state = model_of(work).init(random.key(0))
    return by_name(params), by_name(state)


def step_of(work: Workload) -> Callable[..., Any]:
    """(params, state, opt_state, x, y) to the first three after a step, the loss and gradients."""
    model, tx = model_of(work), optimizer_of(work)

    def loss_fn(params, state, x, y):
        logits, state = model.apply(params, state, x, train=True)
        return nn.losses.cross_entropy(logits, y), state

    def step(params, state, opt_state, x, y):
        gradient = lf.value_and_grad(loss_fn, has_aux=True)
        (loss, state), grads = gradient(params, state, x, y)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), state, opt_state, loss, grads

    return step


def training_step(work: Workload) -> Callable[..., Any]:
    """The step that is timed: gradients stay inside."""
    step = step_of(work)
    return lambda *args: step(*args)[:4]


def beginning(work: Workload, dtype: str = "float32") -> tuple[Any, Any, Any]:
    """(params, state, opt_state) before the first step."""
    cast = lambda x: x.astype(dtype) if lnp.issubdtype(x.dtype, lnp.floating) else x
    params, state = tree.map(cast, model_of(work).init(random.key(0)))
    return params, state, optimizer_of(work).init(params)


def moments(opt_state: Any) -> Any:
    """Of Adam the mean of the gradients, of SGD their sum."""
    for part in opt_state:
        for name in ("mu", "trace"):
            if hasattr(part, name):
                return getattr(part, name)
    raise ValueError(f"no moments in {type(opt_state).__name__}")


def outputs(work: Workload, step: Callable[..., Any], jitted: bool = True) -> list[Any]:
    x, y = map(lnp.asarray, work.data())
    _, _, opt_state, loss = step(*beginning(work), x, y)
    x, y = map(lnp.asarray, work.data(work.check, "float64"))
    exact = lf.jit(step_of(work)) if jitted else step_of(work)
    params, _, _, exact_loss, grads = exact(*beginning(work, "float64"), x, y)
    return Outputs(
        np.asarray(loss), by_name(moments(opt_state)),
        np.asarray(exact_loss), by_name(grads), by_name(params),
    ).listed()  # fmt: skip


def donating(work: Workload) -> Callable[..., Any]:
    """The compiled step, which may reuse the memory of what it replaces."""
    return lf.jit(training_step(work), donate_argnums=(0, 1, 2))


def train(work: Workload, jitted: bool = True) -> Prepared:
    step = donating(work) if jitted else training_step(work)
    x, y = map(lnp.asarray, work.data())
    start = beginning(work)
    fresh = lambda: tree.map(lambda a: lnp.array(a, copy=True), start)
    sample = samplers.training(fresh, lambda carry: step(*carry, x, y)[:3])
    return Prepared(sample, lambda: outputs(work, step, jitted))


def train_on(work: Workload, device: str, jitted: bool = True, **settings: Any) -> Prepared:
    """The same on a device, where nothing waits for a step until the last."""
    within = lf.config.override(default_device=device, **settings)
    step = donating(work) if jitted else training_step(work)
    data, start = lf.device_put((work.data(), beginning(work)), device)
    fresh = lambda: tree.map(lambda a: lnp.array(a, copy=True), start)
    one = lambda carry: step(*carry, *data)[:3]

    def outputs() -> list[Any]:
        params, state, opt_state, first = step(*fresh(), *data)
        found = {name: array.copy() for name, array in by_name(moments(opt_state)).items()}
        second = step(params, state, opt_state, *data)[3]
        return Checked(np.asarray(first), found, np.asarray(second)).listed()

    prepare = within(samplers.training)
    return Prepared(within(prepare(fresh, one, lf.block_until_ready)), within(outputs))


def memory(work: Workload) -> Prepared:
    step, (x, y) = donating(work), map(lnp.asarray, work.data())
    return Prepared(
        samplers.peak_memory(lambda: beginning(work), lambda carry: step(*carry, x, y)[:3])
    )


_fresh = count()


def compile_step(work: Workload) -> Prepared:
    """Recording and compiling a step that no cache has seen."""
    x, y = map(lnp.asarray, work.data())
    start = beginning(work)

    def compile():
        step, tag = training_step(work), next(_fresh)
        unseen = lambda *args: step(*args) if tag >= 0 else None
        return lf.jit(unseen).lower(*start, x, y).compile()

    return Prepared(once(compile), lambda: [np.asarray(compile()(*start, x, y)[3])])


def per_example(work: Workload) -> Prepared:
    """One gradient for each example of the batch."""
    model = model_of(work)

    def loss_fn(params, x, y):
        return nn.losses.cross_entropy(model(params, x[None]), y[None])

    x, y = map(lnp.asarray, work.data())
    params = beginning(work)[0]
    gradients = lf.jit(lf.vmap(lf.grad(loss_fn), in_axes=(None, 0, 0)))
    call = lambda: gradients(params, x, y)
    few = lambda: {name: leaf[::64].copy() for name, leaf in by_name(call()).items()}
    return Prepared(samplers.calls(call), lambda: [few()])


def optimizer(work: Workload) -> Prepared:
    """The optimizer alone, on the parameters of a model."""
    tx = optimizer_of(work)
    params, _, opt_state = beginning(work)
    grads = tree.map(lambda p: lnp.asarray(1e-2 * normal(*p.shape)), params)

    def update(params, opt_state, grads):
        updates, opt_state = tx.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), opt_state

    step = lf.jit(update, donate_argnums=(0, 1))
    fresh = lambda: tree.map(lambda a: lnp.array(a, copy=True), (params, opt_state))
    sample = samplers.training(fresh, lambda carry: step(*carry, grads))
    return Prepared(sample, lambda: [by_name(step(*fresh(), grads)[0])])


def kernel(function: Callable[..., Any], *data: Any) -> Prepared:
    jitted = lf.jit(function)
    args = tree.map(lnp.asarray, data)
    call = lambda: jitted(*args)
    return Prepared(samplers.calls(call), lambda: [np.asarray(a) for a in tree.leaves(call())])


def with_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """(cotangent, *args) to the value and the gradients of all args."""

    def both(g, *args):
        y, pull = lf.vjp(function, *args)
        return y, pull(g)

    return both


def batch_norm_relu(x, weight, bias):
    return nn.relu(nn.functional.batch_norm(x, None, None, weight, bias, training=True)[0])


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "gelu": nn.gelu,
    "softmax": with_gradient(nn.softmax),
    "layer-norm": with_gradient(lambda x, w, b: nn.functional.layer_norm(x, w.shape, w, b)),
    "batch-norm-relu": with_gradient(batch_norm_relu),
}


def named_kernel(name: str, make: Callable[[], tuple[np.ndarray, ...]]) -> Prepared:
    return kernel(FUNCTIONS[name], *make())


def tree_of_scalars(size: int) -> Prepared:
    scalars = [lnp.asarray(np.float32(i)) for i in range(size)]
    add_one = lf.jit(lambda t: tree.map(lambda x: x + 1, t))
    call = lambda: add_one(scalars)
    return Prepared(timed(call), lambda: list(map(np.asarray, call())))


def dropout_mask(size: int, impl: str) -> Prepared:
    """True with probability 0.9; the other libraries draw other numbers, so only means compare."""
    draw = lf.jit(lambda key: random.bernoulli(key, 0.9, (size,)))
    key = random.key(0, impl=impl)
    return Prepared(
        samplers.calls(lambda: draw(key)), lambda: [mean_of(np.asarray(draw(key)))]
    )


def looped(work: Any) -> Prepared:
    """A program of `loops`, jitted."""
    return kernel(work.make(lf), *work.data())


def updates(work: Updates) -> Prepared:
    """The array is donated: it is the memory of the result."""
    jitted = lf.jit(work.make(lf), donate_argnums=0)
    start, *rows = map(lnp.asarray, work.data())
    fresh = lambda: lnp.array(start, copy=True)
    sample = samplers.training(fresh, lambda carry: jitted(carry, *rows))
    return Prepared(sample, lambda: [np.asarray(jitted(fresh(), *rows))[:: work.apart]])


def compile_loop(work: Length) -> Prepared:
    """The best of a few: a compilation takes about a millisecond, and leaves rubbish to collect."""
    args = tuple(map(lnp.asarray, work.data()))

    def compile() -> None:
        lf.jit(work.make(lf)).lower(*args).compile()

    def sample() -> float:
        seconds = []
        for _ in range(20):
            lf.clear_caches()
            seconds.append(once(compile)())
        return min(seconds)

    return Prepared(sample, note=lambda: f"{work.steps:,} steps")
