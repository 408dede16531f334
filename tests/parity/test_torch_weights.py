"""Weights of PyTorch modules here, and ours there: names, layouts, and the same outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nn_tables import LAYERS
from nn_tables.table import LayerCase

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import io, models, nn, random, tree
from lucidfn.types import bfloat16

from . import torch_models as theirs

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")
RNG = np.random.default_rng(3)


def randomised(module: Any) -> Any:
    """Off the special starts, running statistics too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, x in module.state_dict().items():
            if x.is_floating_point():
                noise = torch.randn(x.shape, generator=generator)
                x.copy_(0.5 + noise.abs() if name.endswith("running_var") else x + 0.05 * noise)
    return module.eval()


def close(ours: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    ours, wanted = np.asarray(ours), wanted.detach().numpy()
    assert np.abs(ours - wanted).max() <= tolerance * np.abs(wanted).max()


# ------------------------------------------------------------------ every layer that torch has

# GroupedQueryAttention is no module of torch; residual networks have their own names there.
TWINS = [c for c in LAYERS if c.torch and type(c.layer).__module__.startswith("lucidfn.nn.layers")
         and not isinstance(c.layer, nn.GroupedQueryAttention)]


@pytest.mark.parametrize("case", TWINS, ids=str)
def test_layer(case: LayerCase) -> None:
    params, state = case.layer.init(random.key(1))
    params = tree.map(lambda p: p + 0.1 * random.normal(random.key(2), p.shape), params)
    exported = io.to_torch(case.layer, params, state)
    assert all(x.flags.c_contiguous for x in exported.values())
    wanted = case.weights(params) | case.buffers(state)
    assert sorted(exported) == sorted(wanted)
    for name, x in wanted.items():
        np.testing.assert_array_equal(exported[name], x)
    back = io.from_torch(exported, case.layer)
    assert tree.structure(back) == tree.structure((params, state))
    for a, b in zip(tree.leaves(back), tree.leaves((params, state)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    module = case.torch(torch.nn)
    module.load_state_dict({k: torch.from_numpy(v) for k, v in exported.items()}, strict=True)
    io.from_torch(module.state_dict(), case.layer)


# ------------------------------------------------------------------ models

@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_resnet18(stem: str, tmp_path: Path) -> None:
    peer = randomised(theirs.ResNet(theirs.BasicBlock, (2, 2, 2, 2), 7, stem))
    x = RNG.normal(size=(2, 64, 48, 3) if stem == "imagenet" else (2, 16, 16, 3)).astype("float32")
    wanted = peer(torch.tensor(x.transpose(0, 3, 1, 2)))
    model, params, state = models.resnet18_from_torch(peer.state_dict())
    assert model == models.resnet18(7, stem)
    close(model.apply(params, state, x)[0], wanted)
    # Ours there again: nothing is lost, and PyTorch takes it.
    exported = io.to_torch(model, params, state)
    for name, tensor in peer.state_dict().items():
        np.testing.assert_array_equal(exported[name], tensor.numpy())
    lf.save(tmp_path / "m.safetensors", exported)
    again = models.resnet18_from_torch(tmp_path / "m.safetensors")
    close(model.apply(*again[1:], x)[0], wanted)


def test_files_from_before_batches_were_counted() -> None:
    peer = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    old = {k: v for k, v in peer.state_dict().items() if not k.endswith("num_batches_tracked")}
    _, state = io.from_torch(old, nn.Sequential(nn.BatchNorm1d(3)))
    assert int(state["0"]["num_batches_tracked"]) == 0


def test_resnet50_and_34() -> None:
    for block, depths, convert in ((theirs.Bottleneck, (3, 4, 6, 3), models.resnet50_from_torch),
                                   (theirs.BasicBlock, (3, 4, 6, 3), models.resnet34_from_torch)):
        peer = randomised(theirs.ResNet(block, depths, 5, "cifar"))
        x = RNG.normal(size=(1, 8, 8, 3)).astype("float32")
        model, params, state = convert(peer.state_dict())
        close(model.apply(params, state, x)[0], peer(torch.tensor(x.transpose(0, 3, 1, 2))))


def test_lenet5() -> None:
    peer = theirs.LeNet5()
    x = RNG.normal(size=(3, 28, 28, 1)).astype("float32")
    params, state = models.lenet5_from_torch(peer.state_dict())
    wanted = peer(torch.tensor(x.transpose(0, 3, 1, 2)))
    close(models.LeNet5().apply(params, state, x)[0], wanted)
    exported = io.to_torch(models.LeNet5(), params, flatten={"fc1": (16, 4, 4)})
    peer.load_state_dict({k: torch.from_numpy(v) for k, v in exported.items()})
    assert torch.equal(peer(torch.tensor(x.transpose(0, 3, 1, 2))), wanted)


# GPT-2 with the names of Hugging Face's transformers, whose Conv1D keeps weights as [in, out].

class Conv1D(torch.nn.Module):
    def __init__(self, outputs: int, inputs: int):
        super().__init__()
        self.weight = torch.nn.Parameter(0.02 * torch.randn(inputs, outputs))
        self.bias = torch.nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Any) -> Any:
        return x @ self.weight + self.bias


class Attention(torch.nn.Module):
    def __init__(self, embed: int, heads: int, context: int):
        super().__init__()
        self.heads = heads
        self.c_attn, self.c_proj = Conv1D(3 * embed, embed), Conv1D(embed, embed)
        mask = torch.tril(torch.ones(context, context, dtype=torch.bool))
        self.register_buffer("bias", mask.view(1, 1, context, context))
        self.register_buffer("masked_bias", torch.tensor(-1e4))

    def forward(self, x: Any) -> Any:
        n, t, e = x.shape
        q, k, v = (y.view(n, t, self.heads, -1).transpose(1, 2)
                   for y in self.c_attn(x).split(e, dim=2))
        scores = q @ k.transpose(2, 3) / (e // self.heads) ** 0.5
        scores = scores.masked_fill(~self.bias[:, :, :t, :t], -torch.inf)
        return self.c_proj((torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(n, t, e))


class MLP(torch.nn.Module):
    def __init__(self, embed: int):
        super().__init__()
        self.c_fc, self.c_proj = Conv1D(4 * embed, embed), Conv1D(embed, 4 * embed)

    def forward(self, x: Any) -> Any:
        return self.c_proj(torch.nn.functional.gelu(self.c_fc(x), approximate="tanh"))


class Block(torch.nn.Module):
    def __init__(self, embed: int, heads: int, context: int):
        super().__init__()
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(embed), torch.nn.LayerNorm(embed)
        self.attn, self.mlp = Attention(embed, heads, context), MLP(embed)

    def forward(self, x: Any) -> Any:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(torch.nn.Module):
    def __init__(self, vocab: int, context: int, embed: int, heads: int, depth: int):
        super().__init__()
        self.wte, self.wpe = torch.nn.Embedding(vocab, embed), torch.nn.Embedding(context, embed)
        self.h = torch.nn.ModuleList(Block(embed, heads, context) for _ in range(depth))
        self.ln_f = torch.nn.LayerNorm(embed)

    def forward(self, tokens: Any) -> Any:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


class GPT2(torch.nn.Module):
    def __init__(self, tied: bool, *sizes: int):
        super().__init__()
        self.transformer = Transformer(*sizes)
        self.lm_head = torch.nn.Linear(sizes[2], sizes[0], bias=False)
        if tied:
            self.lm_head.weight = self.transformer.wte.weight

    def forward(self, tokens: Any) -> Any:
        return self.lm_head(self.transformer(tokens))


@pytest.mark.parametrize("tied", [True, False])
def test_gpt2(tied: bool, tmp_path: Path) -> None:
    peer = randomised(GPT2(tied, 31, 16, 24, 3, 2))
    tokens = RNG.integers(0, 31, (2, 11))
    wanted = peer(torch.tensor(tokens))
    model, params, state = models.gpt2_from_torch(peer.state_dict(), num_heads=3)
    assert model == models.GPT(31, 16, 24, 3, 2, tied=tied)
    close(model.apply(params, state, lnp.asarray(tokens, "int32"))[0], wanted)
    torch.save(peer.state_dict(), tmp_path / "gpt2.pt")
    again = models.gpt2_from_torch(tmp_path / "gpt2.pt", num_heads=3)
    assert tree.structure(again[1]) == tree.structure(params)


def test_gpt2_without_the_head() -> None:
    """The names of GPT2Model, and of the file that is published."""
    peer = randomised(GPT2(True, 31, 16, 64, 1, 1))
    model, params, state = models.gpt2_from_torch(peer.transformer.state_dict())
    assert model.tied and model.num_heads == 1
    tokens = RNG.integers(0, 31, (1, 5))
    close(model.apply(params, state, tokens)[0], peer(torch.tensor(tokens)))


# ------------------------------------------------------------------ names, dtypes, files

def test_names_of_ones_own() -> None:
    class Net(nn.Composite):
        def children(self) -> Any:
            return {"body": nn.Sequential(nn.Conv2d(3, 4, 3), nn.relu, nn.Flatten()),
                    "head": nn.Linear(4 * 2 * 3, 5)}

        def forward(self, run: nn.Run, x: Any) -> Any:
            return run.head(run.body(x))

    peer = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(),
                               torch.nn.Linear(24, 5))
    names, flatten = {"body": "", "head": "3"}, {"head": (4, 2, 3)}
    params, state = io.from_torch(peer.state_dict(), Net(), names=names, flatten=flatten)
    x = RNG.normal(size=(2, 4, 5, 3)).astype("float32")
    close(Net().apply(params, state, x)[0], peer(torch.tensor(x.transpose(0, 3, 1, 2))))
    exported = io.to_torch(Net(), params, names=names, flatten=flatten)
    peer.load_state_dict({k: torch.from_numpy(v) for k, v in exported.items()})


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_dtypes_are_kept(dtype: str, tmp_path: Path) -> None:
    peer = torch.nn.Linear(3, 2).to(getattr(torch, dtype))
    torch.save({"state_dict": peer.state_dict(), "epoch": 3}, tmp_path / "x.pth")
    params, _ = io.from_torch(tmp_path / "x.pth", nn.Linear(3, 2))
    assert params["weight"].dtype == (bfloat16 if dtype == "bfloat16" else dtype)
    np.testing.assert_array_equal(np.asarray(params["weight"]).astype("float64"),
                                  peer.weight.detach().double().numpy().T)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "harmed",))

    torch.save({"weight": Harm()}, tmp_path / "x.pt")
    with pytest.raises(Exception, match="(?i)weights.only"):
        io.from_torch(tmp_path / "x.pt", nn.Linear(3, 2))
    assert not (tmp_path / "harmed").exists()
