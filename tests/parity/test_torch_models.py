"""Whole models beside PyTorch: loss and the gradient of every parameter, under jit."""

from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, random, tree

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

F, tF, tn = nn.functional, torch.nn.functional, torch.nn
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
precisions = pytest.mark.parametrize("dtype", sorted(TOLERANCE))


# ------------------------------------------------------------------ between the two

def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    out = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            out.update(flat(value, f"{prefix}{name}."))
        else:
            out[prefix + name] = np.asarray(value)
    return out


def as_torch(module: Any, name: str, array: np.ndarray) -> np.ndarray:
    """A parameter in the order of axes that the module has."""
    if isinstance(module, tn.ConvTranspose2d) and name == "weight":
        return array.transpose(2, 3, 0, 1)
    if isinstance(module, tn.Conv2d) and name == "weight":
        return array.transpose(3, 2, 0, 1)
    transposed = isinstance(module, (tn.Linear, tn.LSTM)) and array.ndim == 2
    return array.T if transposed else array


def compare(model: nn.Layer, peer: Any, dtype: str, loss: Any, peer_loss: Any,
            train: bool = False) -> None:
    """Equal losses and gradients; `loss` takes a function of the inputs, as the models are."""
    real = lambda tree_: tree.map(
        lambda a: a.astype(dtype) if a.dtype == np.float32 else a, tree_)
    params, state = (real(t) for t in model.init(random.key(0)))
    peer = peer.to(getattr(torch, dtype))
    modules = dict(peer.named_modules())
    for name, value in flat(params).items():
        where, _, own = name.rpartition(".")
        target = dict(peer.named_parameters())[name]
        target.data.copy_(torch.tensor(as_torch(modules[where], own, value)))
    value, grads = lf.jit(lf.value_and_grad(lambda p: loss(
        lambda *xs: model.apply(p, state, *xs, train=train)[0])))(params)
    expected = peer_loss(peer)
    expected.backward()
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(value, expected.item(), rtol=tolerance)
    ours = flat(grads)
    for name, p in peer.named_parameters():
        where, _, own = name.rpartition(".")
        wanted, got = p.grad.numpy(), as_torch(modules[where], own, ours[name])
        assert got.dtype == dtype, name
        assert np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max(), name


def data(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def labels(seed: int, high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape)


# ------------------------------------------------------------------ a U-Net

class Double(nn.Composite):
    inputs: int
    outputs: int

    def children(self) -> Any:  # biases before normalisation would have derivatives 0
        return {"c1": nn.Conv2d(self.inputs, self.outputs, 3, padding=1, bias=False),
                "n1": nn.BatchNorm2d(self.outputs),
                "c2": nn.Conv2d(self.outputs, self.outputs, 3, padding=1, bias=False),
                "n2": nn.BatchNorm2d(self.outputs)}

    def forward(self, run: nn.Run, x: Any) -> Any:
        return nn.silu(run.n2(run.c2(nn.silu(run.n1(run.c1(x))))))


class UNet(nn.Composite):
    def children(self) -> Any:
        return {"d1": Double(1, 4), "d2": Double(4, 8), "mid": Double(8, 16),
                "up": nn.ConvTranspose2d(16, 8, 2, stride=2), "u2": Double(16, 8),
                "reduce": nn.Conv2d(8, 4, 1), "u1": Double(8, 4), "out": nn.Conv2d(4, 3, 1)}

    def forward(self, run: nn.Run, x: Any) -> Any:
        first = run.d1(x)
        second = run.d2(F.avg_pool2d(first, 2))
        y = run.up(run.mid(F.avg_pool2d(second, 2)))
        y = run.u2(lnp.concatenate([second, y], -1))
        y = F.interpolate(run.reduce(y), scale_factor=2, mode="bilinear")
        return run.out(run.u1(lnp.concatenate([first, y], -1)))


def double(inputs: int, outputs: int) -> Any:
    class Peer(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c1 = tn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            self.n1 = tn.BatchNorm2d(outputs)
            self.c2 = tn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.n2 = tn.BatchNorm2d(outputs)

        def forward(self, x: Any) -> Any:
            return tF.silu(self.n2(self.c2(tF.silu(self.n1(self.c1(x))))))

    return Peer()


class UNetPeer(tn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.d1, self.d2, self.mid = double(1, 4), double(4, 8), double(8, 16)
        self.up, self.u2 = tn.ConvTranspose2d(16, 8, 2, stride=2), double(16, 8)
        self.reduce, self.u1 = tn.Conv2d(8, 4, 1), double(8, 4)
        self.out = tn.Conv2d(4, 3, 1)

    def forward(self, x: Any) -> Any:
        first = self.d1(x)
        second = self.d2(tF.avg_pool2d(first, 2))
        y = self.up(self.mid(tF.avg_pool2d(second, 2)))
        y = self.u2(torch.cat([second, y], 1))
        y = tF.interpolate(self.reduce(y), scale_factor=2, mode="bilinear")
        return self.out(self.u1(torch.cat([first, y], 1)))


@precisions
def test_unet(dtype: str) -> None:
    x, y = data(0, 2, 8, 12, 1).astype(dtype), labels(1, 3, 2, 8, 12)
    weight = [1.0, 2.0, 0.5]
    peer_x, peer_y = torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(y)
    compare(UNet(), UNetPeer(), dtype, lambda f: F.cross_entropy(f(x), y, weight=weight),
            lambda f: tF.cross_entropy(f(peer_x), peer_y, torch.tensor(weight, dtype=peer_x.dtype)),
            train=True)


# ------------------------------------------------------------------ recurrent, with attention

class Translator(nn.Composite):
    def children(self) -> Any:
        return {"embed": nn.Embedding(11, 6, padding_idx=0),
                "encoder": nn.LSTM(6, 8, bidirectional=True), "decoder": nn.LSTM(6, 16),
                "query": nn.Linear(16, 16), "out": nn.Linear(32, 11)}

    def forward(self, run: nn.Run, source: Any, target: Any) -> Any:
        encoded, states = run.encoder(run.embed(source))
        start = [lnp.swapaxes(s, 0, 1).reshape(1, -1, 16) for s in states]
        decoded, _ = run.decoder(run.embed(target), tuple(start))
        scores = nn.softmax(lnp.einsum("bth,bsh->bts", run.query(decoded), encoded))
        context = lnp.einsum("bts,bsh->bth", scores, encoded)
        return run.out(lnp.concatenate([decoded, context], -1))


class TranslatorPeer(tn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = tn.Embedding(11, 6, padding_idx=0)
        self.encoder = tn.LSTM(6, 8, bidirectional=True, batch_first=True)
        self.decoder = tn.LSTM(6, 16, batch_first=True)
        self.query, self.out = tn.Linear(16, 16), tn.Linear(32, 11)

    def forward(self, source: Any, target: Any) -> Any:
        encoded, states = self.encoder(self.embed(source))
        start = [s.transpose(0, 1).reshape(1, -1, 16) for s in states]
        decoded, _ = self.decoder(self.embed(target), tuple(start))
        scores = torch.softmax(torch.einsum("bth,bsh->bts", self.query(decoded), encoded), -1)
        context = torch.einsum("bts,bsh->bth", scores, encoded)
        return self.out(torch.cat([decoded, context], -1))


@precisions
def test_recurrent_translation_with_attention(dtype: str) -> None:
    source, target, y = labels(2, 11, 3, 7), labels(3, 11, 3, 5), labels(4, 11, 3, 5)
    a, b, peer_y = (torch.tensor(t) for t in (source, target, y))
    compare(Translator(), TranslatorPeer(), dtype,
            lambda f: F.cross_entropy(f(source, target), y, ignore_index=0),
            lambda f: tF.cross_entropy(f(a, b).transpose(1, 2), peer_y, ignore_index=0))


# ------------------------------------------------------------------ a residual network

class Block(nn.Composite):
    inputs: int
    outputs: int
    stride: int = 1

    def children(self) -> Any:
        return {"c1": nn.Conv2d(self.inputs, self.outputs, 3, self.stride, 1, bias=False),
                "g1": nn.GroupNorm(4, self.outputs),
                "c2": nn.Conv2d(self.outputs, self.outputs, 3, padding=1, bias=False),
                "g2": nn.GroupNorm(4, self.outputs),
                "around": nn.Conv2d(self.inputs, self.outputs, 1, self.stride)}

    def forward(self, run: nn.Run, x: Any) -> Any:
        return nn.silu(run.g2(run.c2(nn.silu(run.g1(run.c1(x))))) + run.around(x))


def block(inputs: int, outputs: int, stride: int = 1) -> Any:
    class Peer(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c1 = tn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.g1 = tn.GroupNorm(4, outputs)
            self.c2 = tn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.g2 = tn.GroupNorm(4, outputs)
            self.around = tn.Conv2d(inputs, outputs, 1, stride)

        def forward(self, x: Any) -> Any:
            return tF.silu(self.g2(self.c2(tF.silu(self.g1(self.c1(x))))) + self.around(x))

    return Peer()


@precisions
def test_residual_network_with_group_norm(dtype: str) -> None:
    x, y = data(5, 4, 12, 10, 3).astype(dtype), labels(6, 5, 4)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Block(8, 8), Block(8, 16, 2),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(16),
                          nn.Linear(16, 5))
    peer = tn.Sequential(tn.Conv2d(3, 8, 3, padding=1), block(8, 8), block(8, 16, 2),
                         tn.AdaptiveAvgPool2d(1), tn.Flatten(), tn.LayerNorm(16),
                         tn.Linear(16, 5))
    peer_x, peer_y = torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(y)
    compare(model, peer, dtype, lambda f: F.cross_entropy(f(x), y, label_smoothing=0.1),
            lambda f: tF.cross_entropy(f(peer_x), peer_y, label_smoothing=0.1))
