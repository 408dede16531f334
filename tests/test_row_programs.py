"""Whole programs cut into tiny blocks of rows: values, gradients, donated memory, effects."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_blocks import set_small
from spec_base import DTYPES
from test_random_programs import STEPS, program_of, scalar_of

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, ops, testing
from lucidfn.array import unwrap, wrap
from lucidfn.backends.numpy import compile as compiler
from lucidfn.backends.numpy.elementwise import along_rows
from lucidfn.core.record import record
from lucidfn.core.trace import type_of

# ------------------------------------------------------------------ whole programs, in tiny blocks

THREADS = [1, 2, 3]


@pytest.fixture(params=THREADS, ids=lambda n: f"{n}threads")
def tiny(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every program is worth blocks, and these are as small as can be."""
    with tiny_blocks(request.param):
        yield


@contextmanager
def tiny_blocks(threads: int, elements: int = 4) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, lf.config.override(num_threads=threads):
        set_small(patch, elements)
        patch.setattr(compiler, "REUSE_FROM", 0)
        yield


def draw(*shape: int, seed: int = 0, dtype: Any = "float32") -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(-1.5, 1.5, shape).astype(dtype)


def whole_numbers(high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng([high, *shape]).integers(0, high, shape).astype("int32")


def mlp(params: Any, x: Any) -> Any:
    for w, b in params[:-1]:
        x = lnp.tanh(x @ w + b)
    return x @ params[-1][0] + params[-1][1]


def mlp_params(*sizes: int, dtype: Any = "float32") -> list[Any]:
    return [(draw(m, n, seed=i, dtype=dtype), draw(n, seed=i, dtype=dtype))
            for i, (m, n) in enumerate(itertools.pairwise(sizes))]


def cross_entropy(logits: Any, labels: Any) -> Any:
    return -lnp.mean(lnp.sum(nn.functional.log_softmax(logits) *
                             nn.functional.one_hot(labels, logits.shape[-1]), -1))


def mlp_step(params: Any, x: Any, y: Any) -> Any:
    loss, grads = lf.value_and_grad(lambda p: cross_entropy(mlp(p, x), y))(params)
    return loss, lf.tree.map(lambda p, g: p - 0.1 * g, params, grads)


def adam_step(params: Any, mean: Any, square: Any, x: Any, y: Any) -> Any:
    loss, g = lf.value_and_grad(lambda p: cross_entropy(mlp(p, x), y))(params)
    mean = lf.tree.map(lambda m, d: 0.9 * m + 0.1 * d, mean, g)
    square = lf.tree.map(lambda v, d: 0.99 * v + 0.01 * d * d, square, g)
    params = lf.tree.map(lambda p, m, v: p - 0.1 * m / (lnp.sqrt(v) + 1e-3), params, mean, square)
    return loss, params, mean, square


def batch_norm(x: Any, scale: Any, shift: Any) -> Any:
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axes, keepdims=True)
    return (x - mean) / lnp.sqrt(variance + 1e-5) * scale + shift


def conv_net(p: Any, x: Any, y: Any) -> Any:
    x = lf.lax.conv_general_dilated(x, p["k1"], (1, 1), "SAME",
                                    dimension_numbers=("NHWC", "HWIO", "NHWC"))
    x = nn.functional.relu(batch_norm(x, p["s1"], p["b1"]))
    x = lf.lax.reduce_window(x, -lnp.inf, lf.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = lf.lax.conv_general_dilated(x, p["k2"], (2, 2), "SAME",
                                    dimension_numbers=("NHWC", "HWIO", "NHWC"))
    x = lf.lax.reduce_window(x, 0.0, lf.lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "SAME")
    return cross_entropy(lnp.mean(x, (1, 2)) @ p["w"], y)


def conv_params() -> Any:
    return {"k1": draw(3, 3, 2, 4), "s1": draw(4), "b1": draw(4, seed=1), "k2": draw(2, 2, 4, 3),
            "w": draw(3, 5)}


def attention(p: Any, x: Any, heads: int = 2) -> Any:
    b, t, c = x.shape
    q, k, v = lnp.split(x @ p["qkv"], 3, axis=-1)
    q, k, v = [z.reshape(b, t, heads, c // heads).transpose(0, 2, 1, 3) for z in (q, k, v)]
    scores = q @ k.transpose(0, 1, 3, 2) / (c // heads) ** 0.5
    mask = lnp.tril(lnp.ones((t, t), bool))
    out = nn.functional.softmax(lnp.where(mask, scores, -1e9)) @ v
    return out.transpose(0, 2, 1, 3).reshape(b, t, c) @ p["out"]


def language_model(p: Any, tokens: Any, targets: Any) -> Any:
    x = p["table"][tokens]
    x = x + attention(p, x)
    x = (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + 1e-3) * p["scale"]
    return cross_entropy((x @ p["table"].T).reshape(-1, 11), targets.reshape(-1))


def language_params() -> Any:
    return {"table": draw(11, 6), "qkv": draw(6, 18), "out": draw(6, 6), "scale": draw(6)}


def lstm(p: Any, xs: Any) -> Any:
    """Unrolled, over the middle axis."""
    h = c = lnp.zeros((xs.shape[0], 4))
    for t in range(xs.shape[1]):
        i, f, g, o = lnp.split(xs[:, t] @ p["x"] + h @ p["h"] + p["b"], 4, axis=-1)
        c = nn.functional.sigmoid(f) * c + nn.functional.sigmoid(i) * lnp.tanh(g)
        h = nn.functional.sigmoid(o) * lnp.tanh(c)
    return h


def square_loss(f: Any) -> Any:
    return lambda p, *xs: lnp.mean(f(p, *xs) ** 2)


def gradient_and_value(f: Any) -> Any:
    return lambda *args: lf.value_and_grad(f)(*args)


def dropout_step(w: Any, x: Any, key: Any) -> Any:
    def loss(w: Any) -> Any:
        h = lnp.tanh(x @ w)
        keep = lf.random.bernoulli(key, 0.5, h.shape)
        return lnp.sum(lnp.where(keep, h / 0.5, 0.0) ** 2)
    return lf.value_and_grad(loss)(w)


def integers_and_masks(x: Any, y: Any) -> Any:
    """No sums of floats: every bit must agree."""
    even = (x % 2 == 0) & (y > 0)
    return (lnp.where(even, x << 1, y // 3), even.any(1), x.sum(0), lnp.cumsum(y, 1),
            lnp.sort(x, 1), lnp.argmax(y, 1), (x ^ y).max(1), x.T, lnp.flip(y, 1), ~even)


def bits_of_floats(x: Any, y: Any) -> Any:
    z = lnp.maximum(x, y) * 2.0 - lnp.where(x > 0, x, -y)
    return (z, lnp.sqrt(x), 1.0 / y, lnp.sign(x), z.T, x[:, ::2] * y[:, 1::2], -x, lnp.abs(y),
            x.max(1), y.min(1, keepdims=True) + x, lnp.isnan(x), lnp.isfinite(z), (z + x).ravel(),
            lnp.concatenate([x, z], 1), lnp.pad(z, ((0, 0), (1, 2))))


SPECIAL = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, 1e-40, 3e38], "float32")


def special(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(SPECIAL, (7, 6))


def mixed_dtypes(x: Any, half: Any, double: Any, n: Any) -> Any:
    low = half.astype("float32") * x
    return (low @ low.T.astype("float32")[:, :3], (x * n).sum(0), double * x.astype("float64"),
            lnp.exp(half), (double @ double.T).astype("float16"), half + half[0], half.sum(0))


def complex_numbers(x: Any, y: Any) -> Any:
    z = lnp.exp(x * 1j) @ y
    return z, lnp.abs(z), z.real.sum(0), lnp.fft.fft(x, axis=1), lnp.conj(z).T


def linear_algebra(a: Any, b: Any) -> Any:
    s = a @ a.transpose(0, 2, 1) + 3 * lnp.eye(3)
    return (lnp.linalg.cholesky(s), lnp.linalg.solve(s, b), lnp.linalg.det(a),
            lnp.linalg.eigvalsh(s), lnp.linalg.slogdet(s)[1].sum(), lnp.einsum("bij,bjk->ik", a, b))


def deep_phases(x: Any, w: Any) -> Any:
    """Each layer is normalised over the batch: a phase for each."""
    for _ in range(4):
        x = lnp.tanh(batch_norm(x @ w, 1.0, 0.1)) + x.sum() * 1e-3
    return x, x.mean(0), x.max()


def both_ways(x: Any, w: Any) -> Any:
    """The batch against itself: whole and cut at once."""
    similar = x @ x.T
    near = nn.functional.softmax(similar, -1) @ x
    return near @ w, (similar - similar.T).sum(1), x[::-1] + near, lnp.roll(x, 1, 0) - x


def sorted_and_taken(x: Any, index: Any) -> Any:
    values, at = lf.lax.top_k(x, 3)
    rows = x[index]
    return (values, at, rows, lnp.take_along_axis(x, lnp.argsort(x, 1), 1),
            x.at[index].add(rows * 2.0), x[:, 1:3], x.at[:, 2].set(0.5))


def per_example(p: Any, x: Any, y: Any) -> Any:
    one = lambda a, b: cross_entropy(mlp(p, a[None]), b[None])
    grads = lf.vmap(lambda a, b: lf.grad(
        lambda q: cross_entropy(mlp(q, a[None]), b[None]))(p))(x, y)
    return lf.vmap(one)(x, y), grads, lf.tree.map(lambda g: (g ** 2).sum(), grads)


def control_flow(x: Any, w: Any) -> Any:
    inner = lf.jit(lambda h: lnp.tanh(h @ w))
    return lf.grad(lambda v: lnp.sum(lf.checkpoint(lambda h: inner(inner(h)))(v) ** 2))(x), inner(x)


PROGRAMS: dict[str, Any] = {
    "mlp": (mlp_step, mlp_params(5, 8, 8, 3), draw(7, 5), whole_numbers(3, 7)),
    "mlp13": (mlp_step, mlp_params(5, 6, 3), draw(13, 5), whole_numbers(3, 13)),
    "mlp batch = hidden": (mlp_step, mlp_params(8, 8, 8, 8), draw(8, 8), whole_numbers(8, 8)),
    "mlp batch 1": (mlp_step, mlp_params(5, 6, 3), draw(1, 5), whole_numbers(3, 1)),
    "mlp batch 0": (lambda p, x: mlp(p, x).sum(0), mlp_params(5, 6, 3), draw(0, 5)),
    "adam": (adam_step, mlp_params(5, 8, 3), mlp_params(5, 8, 3),
             lf.tree.map(np.abs, mlp_params(5, 8, 3)), draw(7, 5), whole_numbers(3, 7)),
    "conv": (gradient_and_value(conv_net), conv_params(), draw(7, 6, 6, 2), whole_numbers(5, 7)),
    "attention": (gradient_and_value(square_loss(attention)), language_params(), draw(3, 4, 6)),
    "language": (gradient_and_value(language_model), language_params(), whole_numbers(11, 3, 4),
                 whole_numbers(11, 3, 4)),
    "lstm": (gradient_and_value(square_loss(lstm)),
             {"x": draw(3, 16), "h": draw(4, 16), "b": draw(16)}, draw(7, 5, 3)),
    "dropout": (dropout_step, draw(5, 6), draw(7, 5), lf.random.key(3)),
    "integers": (integers_and_masks, whole_numbers(50, 7, 6), whole_numbers(9, 7, 6) - 4),
    "floats": (bits_of_floats, draw(7, 6), draw(7, 6, seed=1)),
    "special": (bits_of_floats, special(0), special(1)),
    "mixed": (mixed_dtypes, draw(7, 4), draw(7, 4, dtype="float16"), draw(7, 4, dtype="float64"),
              whole_numbers(5, 7, 1)),
    "bfloat16": (lambda x, w: (lnp.tanh(x @ w) * 2.0, (x - 0.5).sum(0), x.max(1)),
                 draw(7, 4, dtype=DTYPES["f"][-1]), draw(4, 5, dtype=DTYPES["f"][-1])),
    "complex": (complex_numbers, draw(7, 4), draw(4, 3).astype("complex64")),
    "linear algebra": (linear_algebra, draw(7, 3, 3), draw(7, 3, 2)),
    "phases": (deep_phases, draw(13, 4), draw(4, 4)),
    "both ways": (both_ways, draw(7, 4), draw(4, 3)),
    "both ways, square": (both_ways, draw(4, 4), draw(4, 4, seed=1)),
    "sorted": (sorted_and_taken, draw(7, 5), np.array([0, 3, 3, 6, 1, 1, 2], "int32")),
    "per example": (per_example, mlp_params(4, 6, 3), draw(7, 4), whole_numbers(3, 7)),
    "control flow": (control_flow, draw(7, 4), draw(4, 4)),
    "scalars": (lambda x, a: (x * a + 1, (x > a).sum(), a * 2, x[0] * a), draw(7, 4),
                np.float32(0.5)),
    "one row": (lambda x, y: (x + y, (x * y).sum(), x.T @ y), draw(1, 6), draw(1, 6, seed=1)),
    "nothing": (lambda x, y: (x + y, x.sum(0), x.T @ y), draw(0, 6), draw(0, 6)),
    "columns of nothing": (lambda x, y: (x + y, x.sum(1), x @ y.T), draw(7, 0), draw(7, 0)),
}
EXACT = {"integers", "floats", "special"}


def arrays_of(args: Any) -> Any:
    return lf.tree.map(lnp.array, args)


def assert_same(got: Any, want: Any, name: str) -> None:
    for a, b in zip(lf.tree.leaves(got), lf.tree.leaves(want), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        if name in EXACT:
            np.testing.assert_array_equal(a, b, err_msg=name)
            if a.dtype.kind == "f":
                number = ~np.isnan(a)
                np.testing.assert_array_equal(np.signbit(a)[number], np.signbit(b)[number],
                                              err_msg=name)
            continue
        tol = 8 * testing.tolerance(a.dtype).value
        size = float(np.max(np.abs(b.astype("complex128")), initial=1.0))
        testing.assert_allclose(a, b, tol, tol * size, what=name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_in_tiny_blocks_keep_their_values(tiny: None, name: str) -> None:
    f, *args = PROGRAMS[name]
    args = arrays_of(args)
    want = f(*args)
    compiled = lf.jit(f)
    first, second = compiled(*args), compiled(*args)
    assert_same(first, want, name)
    for a, b in zip(lf.tree.leaves(first), lf.tree.leaves(second), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), "not the same from run to run"


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_in_blocks_of_many_sizes(name: str) -> None:
    f, *args = PROGRAMS[name]
    args = arrays_of(args)
    want = f(*args)
    for threads, elements in [(1, 24), (2, 40), (4, 64), (5, 1)]:
        with tiny_blocks(threads, elements):
            assert_same(lf.jit(f)(*args), want, name)


# ------------------------------------------------------------------ random programs

ROWS = [(6,), (6, 3), (6, 1), (3, 6), (6, 6), (1, 3), (3,), (), (2, 6)]


def random_inputs(seed: int, dtype: np.dtype, odd: bool) -> list[np.ndarray]:
    """Three arrays, most of them with six rows; some with NaN, infinities and signed zeros."""
    rng = np.random.default_rng(seed)
    found = []
    for shape in [ROWS[i] for i in rng.integers(0, len(ROWS), 3)]:
        x = rng.uniform(-1.5, 1.5, shape)
        if odd and shape:
            x = np.where(rng.random(shape) < 0.2, rng.choice(SPECIAL, shape), x)
        with np.errstate(over="ignore"):
            found.append(np.asarray(x, dtype))
    return found


@settings(max_examples=150)
@given(STEPS, st.integers(0, 50), st.sampled_from(["float32", "float64"]), st.booleans(),
       st.integers(1, 3), st.integers(0, 7))
def test_random_programs_in_blocks(steps: Any, seed: int, dtype: str, odd: bool, threads: int,
                                   donated: int) -> None:
    """Compiled twice: what is donated may be overwritten, all else stays as it was."""
    xs = random_inputs(seed, np.dtype(dtype), odd)
    program = record(program_of(steps), [type_of(x) for x in xs])
    want = program(*xs)
    given_up = [i for i in range(3) if donated >> i & 1]
    with tiny_blocks(threads), np.errstate(all="ignore"):
        compiled = compiler.compile_program(program, given_up)
        for order in "CF":
            values = [np.array(x, order=order) for x in xs]
            got = compiled(*values)
            for i, (x, y) in enumerate(zip(values, xs, strict=True)):
                assert i in given_up or x.tobytes() == y.tobytes(), f"input {i} was written to"
            tol = 8 * testing.tolerance(np.dtype(dtype)).value
            for a, b in zip(got, want, strict=True):
                a, b = np.asarray(a), np.asarray(b)
                assert (a.shape, a.dtype) == (b.shape, b.dtype)
                testing.assert_allclose(a, b, tol, tol, what=compiled.source)


@settings(max_examples=40)
@given(STEPS, st.integers(0, 50), st.integers(1, 3))
def test_gradients_of_random_programs_in_blocks(steps: Any, seed: int, threads: int) -> None:
    xs = [wrap(x) for x in random_inputs(seed, np.dtype("float64"), False)]
    gradient = lf.value_and_grad(scalar_of(steps), (0, 1, 2))
    want = gradient(*xs)
    with tiny_blocks(threads):
        testing.assert_allclose(lf.jit(gradient)(*xs), want, 1e-9, 1e-9)


# Steps of networks over a batch: layers, normalisations, sums over the batch and back.
LAYERS: list[Any] = [
    lambda x, p, n: lnp.tanh(x @ p["w"] + p["b"]),
    lambda x, p, n: (x - x.mean(0)) / (x.std(0) + 1.0) * p["b"],
    lambda x, p, n: nn.functional.softmax(x, 1) + x.sum(1, keepdims=True) * 0.1,
    lambda x, p, n: x * nn.functional.sigmoid(x.sum(0)),
    lambda x, p, n: lnp.concatenate(lnp.split(x, 2, axis=1)[::-1], 1),
    lambda x, p, n: x.reshape(n * 2, 2).reshape(n, 2, 2).transpose(0, 2, 1).reshape(n, 4),
    lambda x, p, n: x + p["table"][lnp.argmax(lf.lax.stop_gradient(x), 1)],
    lambda x, p, n: x @ (x.T @ x) * 0.05,
    lambda x, p, n: lnp.tanh((x @ x.T) @ x) - lnp.flip(x, 1),
    lambda x, p, n: lnp.where(x > 0, x, 0.1 * x) @ p["w"].T,
    lambda x, p, n: lnp.cumsum(x, 1) * 0.3 + x[:, :1],
    lambda x, p, n: (x.T * 0.5).T + lnp.roll(x, 1, 0),
    lambda x, p, n: lnp.einsum("bi,bj->bij", x, lnp.tanh(x)).sum(1) @ p["w"],
    lambda x, p, n: x.at[:, 1].add(p["b"][0]) + lnp.pad(x[:, :2], ((0, 0), (1, 1))),
    lambda x, p, n: lnp.sin(x.reshape(-1)[: n * 4]).reshape(n, 4) + x.max(),
    lambda x, p, n: lf.lax.conv_general_dilated(
        x[:, :, None], p["w"][:3, None, :1], (1,), "SAME",
        dimension_numbers=("NWC", "WIO", "NWC"))[:, :, 0],
    lambda x, p, n: lnp.sort(x, 1) + lnp.linalg.norm(x, axis=1, keepdims=True),
    lambda x, p, n: (x + x.reshape(4, n).T) * 0.5,
    lambda x, p, n: lf.vmap(lambda row: row * (row @ p["w"]).sum() * 0.2)(x),
]


def network_step(kinds: list[int], n: int) -> Any:
    """A loss with its gradients and an update, and one value of each layer."""
    def loss(p: Any, x: Any) -> Any:
        kept = []
        for k in kinds:
            x = LAYERS[k](x, p, n)
            kept.append(x)
        return lnp.mean(lnp.tanh(x) ** 2), kept[:: 2]

    def step(p: Any, m: Any, x: Any) -> Any:
        (value, kept), (dp, dx) = lf.value_and_grad(loss, (0, 1), has_aux=True)(p, x)
        m = lf.tree.map(lambda a, g: 0.9 * a + g, m, dp)
        return value, kept, lf.tree.map(lambda a, b: a - 0.1 * b, p, m), m, x - dx

    return step


def network_params(dtype: str) -> Any:
    return {"w": draw(4, 4, dtype=dtype), "b": draw(4, dtype=dtype),
            "table": draw(4, 4, seed=3, dtype=dtype)}


@settings(max_examples=60)
@given(st.lists(st.integers(0, len(LAYERS) - 1), min_size=1, max_size=5),
       st.sampled_from([2, 4, 7, 13]), st.integers(1, 3), st.sampled_from([1, 16, 64]),
       st.booleans())
def test_training_steps_of_random_networks(kinds: list[int], n: int, threads: int, elements: int,
                                           donate: bool) -> None:
    """Steps that give up their state, against the same in plain evaluation."""
    step = network_step(kinds, n)
    state = (network_params("float64"), lf.tree.map(np.zeros_like, network_params("float64")),
             draw(n, 4, dtype="float64"))
    want, got = arrays_of(state), arrays_of(state)
    with tiny_blocks(threads, elements):
        compiled = lf.jit(step, donate_argnums=(0, 1, 2) if donate else ())
        for _ in range(3):
            value, kept, *want = step(*want)
            value_, kept_, *got = compiled(*got)
            testing.assert_allclose((value_, kept_, got), (value, kept, want), 1e-8, 1e-8)


# ------------------------------------------------------------------ memory that is given up

def views_beside_results(x: Any, y: Any) -> Any:
    """An output that is a view of x must be read before another one takes the memory of x."""
    inner = lnp.tanh(y)
    flipped, doubled = lnp.flip(x, 1), x * 2
    return flipped, doubled, y + inner


def parts_beside_results(x: Any, y: Any) -> Any:
    inner = lnp.tanh(y)
    left, right = lnp.split(x, 2, axis=1)
    return left, right, x * 2, y + inner, left * right, lf.lax.dynamic_slice(x, (0, 3), (8, 4))


def view_read_after_its_store(x: Any, y: Any) -> Any:
    flipped = lnp.flip(x, 1)
    return flipped, flipped + 1, y * 2


def transposed_and_multiplied(x: Any, y: Any) -> Any:
    a = x + 1
    b, c = a.T, a * y
    return lnp.tanh(b), c, a.sum(0), b @ c


GIVEN_UP: dict[str, Any] = {
    "twice": lambda x, y: (x * 2 + x, y + x),
    "transposed": lambda x, y: (x * 2, x.T, y + 1),
    "whole and cut": lambda x, y: (x @ x.T + x, x @ y, x * y),
    "plus transposed": lambda x, y: (lnp.tanh(x) + x.T, y - x),
    "swapped": lambda x, y: (y, x), "swapped, scaled": lambda x, y: (y * 1.5, x * 1.5),
    "equal outputs": lambda x, y: (x + 1, x + 1, x, x.sum()),
    "backwards": lambda x, y: (x[::-1] + x, y[::-1]),
    "mean": lambda x, y: (x - x.mean(0), x.mean(0), x.reshape(4, 2, 8), x.T @ y),
    "slices": lambda x, y: (x[:, 1:5], x * 2, x[:, ::2] + 1),
    "stopped": lambda x, y: (lf.lax.stop_gradient(x), x * 2, lf.lax.stop_gradient(x).T),
    "converted": lambda x, y: (x.astype("float32"), x * 2, x.astype("float64")),
    "broadcast": lambda x, y: (lnp.broadcast_to(x, (2, 8, 8)), x * 2, y),
    "rows taken": lambda x, y: (x[lnp.array([1, 1, 0, 7, 3, 2, 5, 6])], x * 2, x.at[:2].add(y[:2])),
    "column set": lambda x, y: (x.at[:, 0].set(y[:, 0]), x * 2),
    "selected": lambda x, y: (lnp.where(x > 0, x, y), lnp.where(y > 0, x, 0.0), x * y),
    "views": views_beside_results, "parts": parts_beside_results,
    "view read later": view_read_after_its_store, "products": transposed_and_multiplied,
}


@pytest.mark.parametrize("name", GIVEN_UP)
@pytest.mark.parametrize("donated", [(0,), (1,), (0, 1)], ids=str)
def test_donated_memory_is_overwritten_when_nobody_reads_it(name: str,
                                                            donated: tuple[int, ...]) -> None:
    f = GIVEN_UP[name]
    data = [draw(8, 8), draw(8, 8, seed=1)]
    want = f(*arrays_of(data))
    for (threads, elements), order in itertools.product([(1, 4), (2, 16), (3, 16), (2, 1000)],
                                                        "CF"):
        with tiny_blocks(threads, elements):
            compiled = lf.jit(f, donate_argnums=donated)
            for _ in range(2):
                args = [wrap(np.array(x, order=order)) for x in data]
                assert_same(compiled(*args), want, name)
                for i in {0, 1} - set(donated):
                    np.testing.assert_array_equal(args[i], data[i])


def test_donation_reuses_the_memory_of_a_state() -> None:
    params, state = draw(40, 50), draw(40, 50, seed=1)
    step = lambda p, m, g: (p - 0.1 * m, 0.9 * m + g)
    with tiny_blocks(2):
        compiled = lf.jit(step, donate_argnums=(0, 1))
        args = [wrap(params.copy()), wrap(state.copy())]
        places = {x.value.ctypes.data for x in args}
        out = compiled(*args, draw(40, 50, seed=2))
        assert {x.value.ctypes.data for x in out} == places
    assert_same(out, step(params, state, draw(40, 50, seed=2)), "step")


def test_views_of_donated_memory_stay_as_they_were(tiny: None) -> None:
    x = draw(8, 6)
    kept, view = x.copy(), x[2:5]
    got = lf.jit(lambda a, b: (a * 2, b + 1), donate_argnums=0)(wrap(x), wrap(view))
    assert_same(got, (kept * 2, kept[2:5] + 1), "views")
    np.testing.assert_array_equal(view, kept[2:5])


# ------------------------------------------------------------------ inputs of every kind

def layouts(x: np.ndarray) -> Iterator[np.ndarray]:
    """The same values, in memory of other kinds."""
    yield np.asfortranarray(x)
    wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    wide[::2, 1::3] = x
    yield wide[::2, 1::3]
    yield np.ascontiguousarray(x[::-1])[::-1]
    frozen = x.copy()
    frozen.flags.writeable = False
    yield frozen
    odd = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    assert not odd.flags.aligned
    yield odd


def test_inputs_in_any_memory(tiny: None) -> None:
    x, y = draw(7, 6), draw(7, 6, seed=1)
    want = bits_of_floats(lnp.array(x), lnp.array(y))
    compiled = lf.jit(bits_of_floats)
    step = lf.jit(lambda a, b: (a * 2.0 - b, (a * b).sum(0)), donate_argnums=0)
    for a, b in zip(layouts(x), layouts(y), strict=True):
        assert_same(compiled(wrap(a), wrap(b)), want, "floats")
        before = a.copy()
        assert_same(step(wrap(a), wrap(b)), (x * 2.0 - y, (x * y).sum(0)), "step")
        np.testing.assert_array_equal(a, before, err_msg="this memory is not ours")


def test_gradients_through_jit_in_blocks(tiny: None) -> None:
    p = arrays_of(network_params("float64"))
    for first in range(0, len(LAYERS), 3):
        def loss(w: Any, x: Any, first: int = first) -> Any:
            for layer in LAYERS[first:first + 3]:
                x = layer(x, {**p, "w": w}, 7)
            return lnp.sum(lnp.tanh(x) ** 2)
        testing.check_grads(lf.jit(loss), (p["w"], draw(7, 4, dtype="float64")), order=1)


def test_effects_stay_in_order(tiny: None) -> None:
    seen: list[str] = []
    note = lambda name, x: lf.debug.callback(lambda _: seen.append(name), x)

    @lf.jit
    def f(x: Any, w: Any) -> Any:
        h = lnp.tanh(x @ w)
        note("sum", h.sum(0))
        note("input", w)
        note("difference", (h - h.sum(0)).sum())
        note("rows", x)
        return h

    f(draw(7, 4), draw(4, 4))
    assert seen == ["sum", "input", "difference", "rows"]


def test_sums_of_small_floats_do_not_stagnate() -> None:
    """Sums over blocks are not rounded to 16 bits after each of them."""
    for dtype in ("float16", DTYPES["f"][-1]):
        x = lnp.ones((5000, 2), dtype)
        with tiny_blocks(2):
            np.testing.assert_array_equal(lf.jit(lambda v: (v * 1.0).sum(0))(x), [5000, 5000]
                                          if dtype == "float16" else [4992, 4992])


def test_large_programs_run_in_blocks_as_they_are() -> None:
    """Without changed limits: a step on real sizes, with a batch that no block size divides."""
    args = arrays_of((mlp_params(64, 128, 128, 10), draw(1009, 64), whole_numbers(10, 1009)))
    with lf.config.override(num_threads=2):
        compiled = lf.jit(mlp_step)
        assert "def rows0" in compiled.source(*args)
        assert_same(compiled(*args), mlp_step(*args), "mlp")


@pytest.mark.parametrize("shape", [(64, 24, 24, 6), (512, 32), (33, 7), (8192, 1, 3)])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_row_of_few_elements_is_repeated(shape: tuple[int, ...], swapped: bool) -> None:
    x, row = draw(*shape), draw(shape[-1])
    args = (row, x) if swapped else (x, row)
    want = np.subtract(*args)
    np.testing.assert_array_equal(along_rows(np.subtract, *args), want)
    np.testing.assert_array_equal(along_rows(np.subtract, *args, out=x), want)
    turned = np.asfortranarray(draw(*shape))
    np.testing.assert_array_equal(along_rows(np.add, turned, row), turned + row)


def test_the_source_repeats_a_bias_of_few_channels() -> None:
    f = lf.jit(lambda x, b: lnp.tanh(x + b))
    x, b = draw(16, 24, 24, 6), draw(6)
    assert "along_rows(add, " in f.source(x, b)
    np.testing.assert_array_equal(f(x, b), lnp.tanh(lnp.add(x, b)))


@pytest.mark.parametrize("fill", [-np.inf, np.nan, -0.0, 2.5])
def test_a_small_mask_that_is_repeated(fill: float) -> None:
    x, mask = draw(4, 8, 16, 16), np.tril(np.ones((16, 16), bool))
    x[0, 0, 0, :3] = np.nan, -0.0, np.inf
    got = np.asarray(lf.jit(lambda m, x: lnp.where(m, x, fill))(mask, x))
    want = np.where(mask, x, np.float32(fill))
    np.testing.assert_array_equal(got.view("int32"), want.view("int32"))


@pytest.mark.parametrize(("x", "y", "contract", "batch"), [
    ((5, 1, 3), (5, 1, 4), ((1,), (1,)), ((0,), (0,))),
    ((3, 5, 1), (1, 4, 5), ((2,), (0,)), ((1,), (2,))),
    ((3, 1, 1, 2), (1, 4, 1), ((1, 2), (2, 0)), ((), ())),
    ((1,), (1,), ((0,), (0,)), ((), ())),
])
def test_a_sum_of_one_term_is_a_product(x: Any, y: Any, contract: Any, batch: Any) -> None:
    dot = lambda a, b: wrap(ops.dot_general(unwrap(a), unwrap(b), contract=contract, batch=batch))
    a, b = lnp.asarray(draw(*x)), lnp.asarray(draw(*y, seed=1))
    got = lf.jit(dot)(a, b)
    np.testing.assert_array_equal(got, dot(a, b))
    letters = iter("abcdefgh")
    left, right = [next(letters) for _ in x], [next(letters) for _ in y]
    for i, j in zip((*contract[0], *batch[0]), (*contract[1], *batch[1]), strict=True):
        right[j] = left[i]
    out = [left[i] for i in batch[0]] + [c for i, c in enumerate(left) if i not in (
        *contract[0], *batch[0])] + [c for i, c in enumerate(right) if i not in (
            *contract[1], *batch[1])]
    want = np.einsum(f"{''.join(left)},{''.join(right)}->{''.join(out)}", a, b)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert "dot" not in lf.jit(dot).source(a, b)


@pytest.mark.parametrize("scale", [1.0, 60.0, 200.0])
def test_softmax_of_large_blocks(scale: float) -> None:
    """Rows are not shifted where none of them needs it; either way the result is the same."""
    for dtype, tol in (("float64", 1e-13), ("float32", 3e-5 if scale > 1 else 1e-6)):
        x = (scale * draw(3000, 50)).astype(dtype)
        x[7], x[9, 3], x[11, 4], x[13] = -np.inf, np.nan, np.inf, -500.0
        with np.errstate(all="ignore"):
            wide = x.astype("float64")
            weights = np.exp(wide - np.where(np.isneginf(x.max(1)), 0, wide.max(1))[:, None])
            total = weights.sum(1, keepdims=True)
            want = weights / np.where(total == 0, 1, total)
        for f in (nn.softmax, lf.jit(nn.softmax)):
            np.testing.assert_allclose(f(lnp.asarray(x)), want, rtol=tol, atol=1e-30)


def test_gradients_of_each_example_are_written_where_they_stay() -> None:
    """Outer products as large as the weights: no block of them is made first."""
    w, x = draw(300, 200), draw(40, 300)
    per_example = lf.jit(lf.vmap(lf.grad(lambda w, x: lnp.sum(lnp.tanh(x @ w))), (None, 0)))
    got = per_example(w, x)
    np.testing.assert_allclose(got, np.stack([np.outer(v, 1 - np.tanh(v @ w) ** 2) for v in x]),
                               rtol=2e-5, atol=1e-6)
    assert "multiply(" in per_example.source(w, x) and "dot_general" not in per_example.source(w, x)
