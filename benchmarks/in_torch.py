"""The sides of PyTorch: its own modules and optimizers, in both layouts of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import samplers
from benchmarks.harness import Prepared
from benchmarks.loops import Recurrent
from benchmarks.workloads import (
    Arrays,
    Outputs,
    Workload,
    mean_of,
    normal,
    weights,
    weights_from_outside,
)
from examples.torch_models import LeNet, ResNet18

LAST = torch.channels_last


class Attention(nn.Module):
    """One matrix for queries, keys and values, as is usual."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
        b, t, e = x.shape
        q, k, v = (
            y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x).split(e, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, e))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.norm1(x))
        return x + self.proj(F.gelu(self.fc(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, vocab_size: int, context_length: int, embed_dim: int, num_heads: int,
                 num_layers: int):  # fmt: skip
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, embed_dim)
        self.positions = nn.Embedding(context_length, embed_dim)
        self.blocks = [f"blocks_{i}" for i in range(num_layers)]
        for name in self.blocks:
            setattr(self, name, Block(embed_dim, num_heads))
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, tokens: Any) -> Any:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for name in self.blocks:
            x = getattr(self, name)(x)
        return self.norm(x) @ self.tokens.weight.T


class LSTMClassifier(nn.Module):
    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.lstm, self.fc = nn.LSTM(inputs, hidden, batch_first=True), nn.Linear(hidden, 10)

    def forward(self, x: Any) -> Any:
        return self.fc(self.lstm(x)[0][:, -1])


def mlp(widths: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []
    for i, o in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


MODELS: dict[str, Callable[..., nn.Module]] = {
    "lenet": LeNet, "resnet": ResNet18, "gpt": GPT, "mlp": mlp, "lstm": LSTMClassifier,
}  # fmt: skip
OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


# between our layout and that of PyTorch


def same_rows(name: str) -> bool:
    return name in ("tokens.weight", "positions.weight")


def to_torch(arrays: Arrays) -> dict[str, torch.Tensor]:
    """Windows [H, W, in, out] become [out, in, H, W], matrices [in, out] become [out, in]."""
    arrays = dict(arrays)
    if "fc1.weight" in arrays:  # LeNet-5: pixels in the order H, W, C become C, H, W
        rows = arrays["fc1.weight"].reshape(4, 4, 16, -1)
        arrays["fc1.weight"] = rows.transpose(2, 0, 1, 3).reshape(256, -1)
    for name in [name for name in arrays if ".q_proj." in name]:
        parts = [arrays.pop(name.replace("q_proj", x)) for x in ("q_proj", "k_proj", "v_proj")]
        arrays[name.replace("q_proj", "qkv")] = np.concatenate(parts, axis=-1)
    out = {}
    for name, array in arrays.items():
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif array.ndim == 2 and not same_rows(name):
            array = array.T
        out[name] = torch.from_numpy(np.array(array, order="C"))
    return out


def from_torch(tensors: dict[str, torch.Tensor]) -> Arrays:
    out = {}
    for name, tensor in tensors.items():
        array = tensor.detach().numpy()
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif array.ndim == 2 and not same_rows(name):
            array = array.T
        if ".qkv." in name:
            for proj, part in zip("qkv", np.split(array, 3, axis=-1), strict=True):
                out[name.replace("qkv", f"{proj}_proj")] = part
            continue
        if name == "fc1.weight":
            array = array.reshape(16, 4, 4, -1).transpose(1, 2, 0, 3).reshape(256, -1)
        out[name] = array
    return out


# training


class Trainer:
    """A model, its optimizer and a batch; a step changes them in place, as is usual here."""

    def __init__(self, work: Workload, layout: Any = None, dtype: str = "float32",
                 fused: bool | None = None, outside: bool = False):  # fmt: skip
        params, state = (weights_from_outside if outside else weights)(work)
        self.start = to_torch(params) | to_torch(state)
        self.model = MODELS[work.model](**work.sizes)
        self.model.load_state_dict(self.start)
        self.model.to(getattr(torch, dtype))
        options = {"lr" if k == "learning_rate" else k: v for k, v in work.options.items()}
        x, y = work.data(work.check if dtype == "float64" else None, dtype)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y).long()
        if x.ndim == 4:
            self.x = self.x.permute(0, 3, 1, 2).contiguous()
        elif work.vocab:
            self.x = self.x.long()
        if layout is not None:
            self.model.to(memory_format=layout)
            self.x = self.x.contiguous(memory_format=layout)
        fusion = {} if fused is None else {"fused": fused}
        self.optimizer = OPTIMIZERS[work.optimizer](self.model.parameters(), **options, **fusion)

    def step(self) -> Any:
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.model(self.x)
        loss = F.cross_entropy(logits.flatten(0, -2), self.y.flatten())
        loss.backward()
        self.optimizer.step()
        return loss

    def reset(self) -> None:
        """The first weights and an optimizer that has seen nothing, in the memory they have."""
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                tensor.copy_(self.start[name])
            for kept in self.optimizer.state.values():
                for tensor in kept.values():
                    tensor.zero_()

    def moments(self) -> Arrays:
        pick = lambda kept: kept.get("exp_avg", kept.get("momentum_buffer"))
        return from_torch(
            {n: pick(self.optimizer.state[p]) for n, p in self.model.named_parameters()}
        )

    def gradients(self) -> Arrays:
        return from_torch({n: p.grad for n, p in self.model.named_parameters()})

    def params(self) -> Arrays:
        return from_torch(dict(self.model.named_parameters()))


def train(work: Workload, layout: Any = None, fused: bool | None = None) -> Prepared:
    trainer = Trainer(work, LAST if layout == "channels_last" else layout, fused=fused)
    sample = samplers.training(trainer.reset, lambda _: (trainer.step(), None)[1])

    def outputs() -> list[Any]:
        trainer.reset()
        loss = trainer.step().detach().numpy()
        exact = Trainer(work, dtype="float64")
        exact_loss = exact.step().detach().numpy()
        return Outputs(
            loss, trainer.moments(), exact_loss, exact.gradients(), exact.params()
        ).listed()

    return Prepared(sample, outputs)


def memory(work: Workload, layout: Any = None) -> Prepared:
    trainer = Trainer(work, LAST if layout == "channels_last" else layout, outside=True)
    trainer.start = {}  # a second copy of the weights, that nobody needs here
    step = lambda _: (trainer.step(), None)[1]
    return Prepared(samplers.peak_memory(lambda: None, step))


def per_example(work: Workload) -> Prepared:
    trainer = Trainer(work)

    def loss_fn(params, x, y):
        logits = torch.func.functional_call(trainer.model, params, (x[None],))
        return F.cross_entropy(logits, y[None])

    params = {name: p.detach() for name, p in trainer.model.named_parameters()}
    gradients = torch.func.vmap(torch.func.grad(loss_fn), in_dims=(None, 0, 0))
    call = lambda: gradients(params, trainer.x, trainer.y)

    def few() -> Arrays:
        leaves = {name: leaf[::64].numpy() for name, leaf in call().items()}
        return {n: a.transpose(0, 2, 1) if a.ndim == 3 else a for n, a in leaves.items()}

    return Prepared(samplers.calls(call), lambda: [few()])


def optimizer(work: Workload, fused: bool | None = None) -> Prepared:
    trainer = Trainer(work, fused=fused)
    for name, p in trainer.model.named_parameters():
        shape = tuple(to_ours(p).shape)
        p.grad = to_torch({name: 1e-2 * normal(*shape)})[name]
    sample = samplers.training(trainer.reset, lambda _: trainer.optimizer.step())

    def outputs() -> list[Any]:
        trainer.reset()
        trainer.optimizer.step()
        return [trainer.params()]

    return Prepared(sample, outputs)


def to_ours(p: torch.Tensor) -> np.ndarray:
    return from_torch({"": p})[""]


# kernels


def gelu(x: np.ndarray) -> Prepared:
    tensor = torch.from_numpy(x)
    call = lambda: F.gelu(tensor, approximate="tanh")
    return Prepared(samplers.calls(call), lambda: [call().numpy()])


def with_gradient(function: Callable[..., Any], g: torch.Tensor, *args: torch.Tensor) -> Any:
    leaves = [arg.requires_grad_() for arg in args]

    def call() -> list[torch.Tensor]:
        y = function(*leaves)
        return [y.detach(), *torch.autograd.grad(y, leaves, g)]

    return call


def batch_norm_relu(x: Any, weight: Any, bias: Any) -> Any:
    return F.relu(F.batch_norm(x, None, None, weight, bias, training=True))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "softmax": lambda x: F.softmax(x, -1),
    "layer-norm": lambda x, w, b: F.layer_norm(x, w.shape, w, b),
    "batch-norm-relu": batch_norm_relu,
}


def named_kernel(name: str, make: Callable[[], tuple[np.ndarray, ...]],
                 layout: Any = None) -> Prepared:  # fmt: skip
    if name == "gelu":
        return gelu(*make())
    convert, back = torch.from_numpy, lambda t: t
    if name == "batch-norm-relu":
        memory_format = LAST if layout == "channels_last" else torch.contiguous_format
        turn = lambda t: t.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
        convert = lambda a: turn(torch.from_numpy(a)) if a.ndim == 4 else torch.from_numpy(a)
        back = lambda t: t.permute(0, 2, 3, 1) if t.ndim == 4 else t
    call = with_gradient(FUNCTIONS[name], *map(convert, make()))
    return Prepared(samplers.calls(call), lambda: [back(t).numpy() for t in call()])


def dropout_mask(size: int, inplace: bool = False) -> Prepared:
    """torch.bernoulli of a tensor of probabilities, or `bernoulli_` as dropout itself does."""
    keep = torch.full((size,), 0.9)
    call = lambda: torch.empty(size).bernoulli_(0.9) if inplace else torch.bernoulli(keep)
    return Prepared(samplers.calls(call), lambda: [mean_of(call().numpy())])


# loops


def recurrent(work: Recurrent) -> Prepared:
    """PyTorch's own layer, over sequences [steps, batch, inputs]."""
    layer = {"rnn": nn.RNN, "lstm": nn.LSTM}[work.kind](work.inputs, work.hidden)
    params, xs, g = work.data()
    layer.load_state_dict(to_torch({f"{name}_l0": a for name, a in params.items()}))
    names, leaves = zip(*layer.named_parameters(), strict=True)
    xs, g = torch.from_numpy(xs), torch.from_numpy(g)
    call = with_gradient(lambda *_: layer(xs)[0], g, *leaves)

    def outputs() -> list[Any]:
        ys, *slopes = call()
        return [ys.numpy(), from_torch(dict(zip(names, slopes, strict=True)))]

    return Prepared(samplers.calls(call), outputs)
