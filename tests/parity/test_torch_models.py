"""Reference models beside their PyTorch twins, with PyTorch's weights: logits to 1e-5."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import lucidfn.numpy as lnp
from lucidfn import models, nn, random, tree
from lucidfn.api.inspect import eval_shape

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

from . import torch_models  # noqa: E402


def flat_names(x: Any, prefix: str = "") -> list[str]:
    if not isinstance(x, Mapping):
        return [prefix.removesuffix(".")]
    return [name for k, v in x.items() for name in flat_names(v, f"{prefix}{k}.")]


def put(x: dict[str, Any], name: str, value: Any) -> None:
    *path, leaf = name.split(".")
    for part in path:
        x = x.setdefault(part, {})
    x[leaf] = value


def from_torch(model: nn.Layer, module: Any, flattened: dict[str, tuple[int, ...]]) -> Any:
    """(params, state) of our model with the numbers of PyTorch's.

    Convolutions become [*window, C, O], matrices are transposed; the first matrix after a flatten
    (by name, with the [C, H, W] it flattens) reads its inputs channels-last.
    """
    params, state = eval_shape(lambda: model.init(random.key(0)))
    own: dict[str, Any] = {k: v.detach().numpy() for k, v in module.state_dict().items()}
    filled: list[dict[str, Any]] = [{}, {}]
    for out, wanted in zip(filled, (params, state), strict=True):
        for name in flat_names(wanted):
            value = own[name]
            if name in flattened:
                c, h, w = flattened[name]
                value = value.reshape(-1, c, h, w).transpose(0, 2, 3, 1).reshape(len(value), -1)
            value = np.moveaxis(value, (0, 1), (-1, -2)) if value.ndim > 1 else value
            put(out, name, lnp.asarray(np.array(value, order="C")))
    shapes = lambda t: tree.map(lambda x: tuple(x.shape), t)
    assert shapes(filled[0]) == shapes(params) and shapes(filled[1]) == shapes(state)
    return filled


def off_start(module: Any) -> Any:
    """The module with statistics as after some training, and weights of norms other than 1."""
    torch.manual_seed(0)
    for m in module.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(m.weight, 0.5, 1.5)
            torch.nn.init.normal_(m.bias, 0, 0.1)
    return module


CASES = {
    "LeNet-5": (models.LeNet5(), lambda: torch_models.LeNet5(), (3, 28, 28, 1),
                {"fc1.weight": (16, 4, 4)}),
    "ResNet-18 for CIFAR": (models.resnet18(10, "cifar"), lambda: torch_models.ResNet(
        torch_models.BasicBlock, (2, 2, 2, 2), 10, "cifar"), (2, 32, 32, 3), {}),
    "ResNet-18": (models.resnet18(), lambda: torch_models.ResNet(
        torch_models.BasicBlock, (2, 2, 2, 2), 1000, "imagenet"), (2, 96, 96, 3), {}),
    "ResNet-34": (models.resnet34(7, "cifar"), lambda: torch_models.ResNet(
        torch_models.BasicBlock, (3, 4, 6, 3), 7, "cifar"), (2, 16, 16, 3), {}),
    "ResNet-50": (models.resnet50(), lambda: torch_models.ResNet(
        torch_models.Bottleneck, (3, 4, 6, 3), 1000, "imagenet"), (2, 64, 64, 3), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_logits(name: str) -> None:
    logits(name, "float32", train=False, tolerance=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_training_in_double_precision(name: str) -> None:
    """Double, because the statistics of a few small images amplify rounding: the last stage of
    ResNet-50 normalises by eight numbers."""
    model, module, after = logits(name, "float64", train=True, tolerance=1e-10)
    _, state = model.init(random.key(0))
    buffers = module.state_dict()
    for key in flat_names(state):
        found = after
        for part in key.split("."):
            found = found[part]
        expected = buffers[key].numpy()
        assert np.abs(np.asarray(found) - expected).max() <= 1e-10 * np.abs(expected).max(), key


def logits(name: str, dtype: str, train: bool, tolerance: float) -> Any:
    model, make, shape, flattened = CASES[name]
    module = off_start(make()).train(train).to(getattr(torch, dtype))
    params, state = from_torch(model, module, flattened)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    with torch.no_grad():
        theirs = module(torch.from_numpy(x).movedim(-1, 1)).numpy()
    ours, after = model.apply(params, state, lnp.asarray(x), train=train)
    assert ours.dtype == dtype
    assert np.abs(np.asarray(ours) - theirs).max() <= tolerance * np.abs(theirs).max()
    return model, module, after
