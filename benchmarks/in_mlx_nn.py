"""Training steps as users of MLX write them: `mlx.nn`, its optimizers, `mx.compile`, one state.

Attributes have our names, so that a parameter is the same leaf on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.optimizers import Optimizer
from mlx.utils import tree_flatten, tree_map

from benchmarks import samplers
from benchmarks.harness import Prepared
from benchmarks.in_mlx import optimizer_of
from benchmarks.workloads import Arrays, Checked, Workload, weights

DEVICES = {"mlx:cpu": mx.cpu, "gpu": mx.gpu}


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.pool = nn.AvgPool2d(2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(256, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.pool(mx.tanh(self.conv1(x)))
        x = self.pool(mx.tanh(self.conv2(x)))
        x = mx.tanh(self.fc1(x.flatten(1)))
        return self.fc3(mx.tanh(self.fc2(x)))


def conv_norm(i: int, o: int, window: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(i, o, window, stride, padding=window // 2, bias=False)
    return [conv, nn.BatchNorm(o)]


class Block(nn.Module):
    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = conv_norm(i, o, 3, stride)
        self.conv2, self.bn2 = conv_norm(o, o, 3, 1)
        self.downsample = conv_norm(i, o, 1, stride) if stride > 1 else []

    def __call__(self, x: mx.array) -> mx.array:
        y = nn.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        for layer in self.downsample:
            x = layer(x)
        return nn.relu(y + x)


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_norm(3, 64, 3, 1)
        self.layer1 = [Block(64, 64, 1), Block(64, 64, 1)]
        self.layer2 = [Block(64, 128, 2), Block(128, 128, 1)]
        self.layer3 = [Block(128, 256, 2), Block(256, 256, 1)]
        self.layer4 = [Block(256, 512, 2), Block(512, 512, 1)]
        self.fc = nn.Linear(512, 10)

    def __call__(self, x: mx.array) -> mx.array:
        x = nn.relu(self.bn1(self.conv1(x)))
        for block in [*self.layer1, *self.layer2, *self.layer3, *self.layer4]:
            x = block(x)
        return self.fc(mx.mean(x, axis=(1, 2)))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Linear(width, width) for _ in range(4)
        )

    def __call__(self, x: mx.array) -> mx.array:
        b, t, e = x.shape
        q, k, v = (
            proj(x).reshape(b, t, self.heads, -1).transpose(0, 2, 1, 3)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        y = mx.fast.scaled_dot_product_attention(
            q, k, v, scale=(e // self.heads) ** -0.5, mask="causal"
        )
        return self.out_proj(y.transpose(0, 2, 1, 3).reshape(b, t, e))


class GPTBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def __call__(self, x: mx.array) -> mx.array:
        x = x + self.attention(self.norm1(x))
        return x + self.proj(nn.gelu_approx(self.fc(self.norm2(x))))


class GPT(nn.Module):
    def __init__(self, vocab_size: int, context_length: int, embed_dim: int, num_heads: int,
                 num_layers: int):  # fmt: skip
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, embed_dim)
        self.positions = nn.Embedding(context_length, embed_dim)
        self.names = [f"blocks_{i}" for i in range(num_layers)]
        for name in self.names:
            self[name] = GPTBlock(embed_dim, num_heads)
        self.norm = nn.LayerNorm(embed_dim)

    def __call__(self, tokens: mx.array) -> mx.array:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for name in self.names:
            x = self[name](x)
        return self.tokens.as_linear(self.norm(x))


MODELS: dict[str, Callable[..., nn.Module]] = {"lenet": LeNet, "resnet": ResNet18, "gpt": GPT}

# ------------------------------------------------------------------ our layout and MLX's


def order(name: str, rank: int, back: bool = False) -> tuple[int, ...]:
    """The permutation of axes that makes MLX's layout of ours, or the one `back`."""
    if rank == 4:
        return (1, 2, 3, 0) if back else (3, 0, 1, 2)
    embedding = name in ("tokens.weight", "positions.weight")
    return (1, 0) if rank == 2 and not embedding else tuple(range(rank))


def given(model: nn.Module, work: Workload) -> nn.Module:
    """The model with our weights."""
    values = {name: a for part in weights(work) for name, a in part.items()}
    leaves = [(name, mx.array(a.transpose(order(name, a.ndim)))) for name, a in values.items()]
    wanted = {name for name, _ in tree_flatten(model.parameters())}
    model.load_weights([(name, a) for name, a in leaves if name in wanted])
    return model


def moments(optimizer: Optimizer) -> Arrays:
    """Of Adam the mean of the gradients, of SGD their sum, in our layout."""
    state = dict(tree_flatten(optimizer.state))
    kind = ".m" if any(name.endswith(".m") for name in state) else ".v"
    found = {name.removesuffix(kind): a for name, a in state.items() if name.endswith(kind)}
    return {
        name: np.array(a).transpose(order(name, a.ndim, back=True)) for name, a in found.items()
    }


# ------------------------------------------------------------------ training


def restore(live: Any, saved: Any) -> None:
    """Put saved arrays back into nested dicts and lists, which stay the same objects."""
    for key, value in saved.items() if isinstance(saved, dict) else enumerate(saved):
        if isinstance(value, dict | list):
            restore(live[key], value)
        else:
            live[key] = value


def train(work: Workload, device: str, compiled: bool) -> Prepared:
    mx.set_default_device(DEVICES[device])
    model = given(MODELS[work.model](**work.sizes), work)
    optimizer = optimizer_of(work)
    optimizer.init(model.trainable_parameters())
    gradient = nn.value_and_grad(model, lambda x, y: nn.losses.cross_entropy(
        model(x), y, reduction="mean"))  # fmt: skip
    state = [model.state, optimizer.state]

    def plain(x: mx.array, y: mx.array) -> mx.array:
        loss, grads = gradient(x, y)
        optimizer.update(model, grads)
        return loss

    step = mx.compile(plain, inputs=state, outputs=state) if compiled else plain
    x, y = map(mx.array, work.data())
    mx.eval(state, x, y)
    beginning = tree_map(lambda a: a, [dict(model.parameters()), optimizer.state])

    def one(_: Any) -> mx.array:
        loss = step(x, y)
        mx.async_eval(loss, state)
        return loss

    def outputs() -> list[Any]:
        restore(state, beginning)
        first = np.array(step(x, y))
        found = moments(optimizer)
        return Checked(first, found, np.array(step(x, y))).listed()

    wait = lambda _: mx.eval(state)
    return Prepared(samplers.training(lambda: restore(state, beginning), one, wait), outputs)
