"""The models as plain functions of arrays, for libraries with the names of NumPy: JAX and MLX.

A model is `apply(o, sizes, params, state, x) -> (logits, state)`. Parameters are in our layout, by
name. `o` has the array functions and, of each library's own: conv, average_pool, take, recur.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

EPS = 1e-5


def linear(p: Any, name: str, x: Any) -> Any:
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def lenet(o: Any, sizes: Any, p: Any, state: Any, x: Any) -> Any:
    for name in ("conv1", "conv2"):
        y = o.conv(x, p[f"{name}.weight"], 1, 0) + p[f"{name}.bias"]
        x = o.average_pool(o.np.tanh(y))
    x = x.reshape(x.shape[0], -1)
    x = o.np.tanh(linear(p, "fc1", x))
    return linear(p, "fc3", o.np.tanh(linear(p, "fc2", x))), state


def mlp(o: Any, sizes: Any, p: Any, state: Any, x: Any) -> Any:
    last = len(sizes["widths"]) - 2
    for i in range(last + 1):
        x = linear(p, str(2 * i), x)
        x = o.np.maximum(x, 0) if i < last else x
    return x, state


def batch_norm(o: Any, p: Any, state: Any, name: str, x: Any) -> Any:
    """Standardised by the batch; `state` gets the running statistics."""
    axes = tuple(range(x.ndim - 1))
    mean = o.np.mean(x, axes)
    var = o.np.mean(o.np.square(x - mean), axes)
    count = x.size // x.shape[-1]
    for key, value in (("mean", mean), ("var", var * (count / (count - 1)))):
        old = state[f"{name}.running_{key}"]
        state[f"{name}.running_{key}"] = 0.9 * old + 0.1 * o.stopped(value)
    scale = o.rsqrt(var + EPS) * p[f"{name}.weight"]
    return (x - mean) * scale + p[f"{name}.bias"]


def resnet(o: Any, sizes: Any, p: Any, state: Any, x: Any) -> Any:
    state = dict(state)

    def conv_norm(conv: str, norm: str, x: Any, stride: int = 1, padding: int = 1) -> Any:
        return batch_norm(o, p, state, norm, o.conv(x, p[f"{conv}.weight"], stride, padding))

    relu = lambda x: o.np.maximum(x, 0)
    x = relu(conv_norm("conv1", "bn1", x))
    for name in [f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)]:
        shortcut, stride = x, 1
        if f"{name}.downsample.0.weight" in p:
            stride = 2
            shortcut = conv_norm(f"{name}.downsample.0", f"{name}.downsample.1", x, 2, 0)
        y = relu(conv_norm(f"{name}.conv1", f"{name}.bn1", x, stride))
        x = relu(conv_norm(f"{name}.conv2", f"{name}.bn2", y) + shortcut)
    return linear(p, "fc", o.np.mean(x, (1, 2))), state


def layer_norm(o: Any, p: Any, name: str, x: Any) -> Any:
    return standardised(o, x) * p[f"{name}.weight"] + p[f"{name}.bias"]


def standardised(o: Any, x: Any) -> Any:
    centred = x - o.np.mean(x, -1, keepdims=True)
    return centred * o.rsqrt(o.np.mean(o.np.square(centred), -1, keepdims=True) + EPS)


def gelu(o: Any, x: Any) -> Any:
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))
    return 0.5 * x * (1 + o.np.tanh(inner))


def attention(o: Any, p: Any, name: str, x: Any, heads: int) -> Any:
    b, t, e = x.shape
    q, k, v = (
        o.np.swapaxes(linear(p, f"{name}.{c}_proj", x).reshape(b, t, heads, -1), 1, 2)
        for c in "qkv"
    )
    scores = (q @ o.np.swapaxes(k, 2, 3)) / math.sqrt(e // heads)
    causal = o.np.tri(t, dtype=o.bool_)
    y = o.softmax(o.np.where(causal, scores, -math.inf)) @ v
    return linear(p, f"{name}.out_proj", o.np.swapaxes(y, 1, 2).reshape(b, t, e))


def gpt(o: Any, sizes: Any, p: Any, state: Any, tokens: Any) -> Any:
    x = p["tokens.weight"][tokens] + p["positions.weight"][: tokens.shape[1]]
    for i in range(sizes["num_layers"]):
        b = f"blocks_{i}"
        y = layer_norm(o, p, f"{b}.norm1", x)
        x = x + attention(o, p, f"{b}.attention", y, sizes["num_heads"])
        y = linear(p, f"{b}.fc", layer_norm(o, p, f"{b}.norm2", x))
        x = x + linear(p, f"{b}.proj", gelu(o, y))
    return layer_norm(o, p, "norm", x) @ p["tokens.weight"].T, state


def lstm(o: Any, sizes: Any, p: Any, state: Any, x: Any) -> Any:
    weight, bias = p["lstm.weight_hh_l0"], p["lstm.bias_ih_l0"] + p["lstm.bias_hh_l0"]
    inputs = o.np.swapaxes(x @ p["lstm.weight_ih_l0"] + bias, 0, 1)

    def cell(carry: Any, gates: Any) -> Any:
        h, c = carry
        i, f, g, out = o.np.split(gates + h @ weight, 4, axis=-1)
        c = o.sigmoid(f) * c + o.sigmoid(i) * o.np.tanh(g)
        return o.sigmoid(out) * o.np.tanh(c), c

    zero = o.np.zeros((x.shape[0], sizes["hidden"]), x.dtype)
    return linear(p, "fc", o.recur(cell, (zero, zero), inputs)[0]), state


def cross_entropy(o: Any, logits: Any, labels: Any) -> Any:
    return o.np.mean(o.logsumexp(logits) - o.take_label(logits, labels))


MODELS: dict[str, Callable[..., Any]] = {
    "lenet": lenet, "resnet": resnet, "gpt": gpt, "mlp": mlp, "lstm": lstm,
}  # fmt: skip
