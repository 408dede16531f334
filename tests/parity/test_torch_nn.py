"""Layers and functions beside PyTorch: outputs, every gradient, and running statistics.

Relative to the largest element of each array: 1e-5 in single precision, 1e-10 in double.
"""

import zlib
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import random, tree
from lucidfn.types import is_inexact

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

from nn_tables import FUNCTIONS, LAYERS  # noqa: E402
from nn_tables.table import FunctionCase, LayerCase, first, last  # noqa: E402

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
precisions = pytest.mark.parametrize("dtype", sorted(TOLERANCE))


def tensors(arrays: list[np.ndarray]) -> list[Any]:
    out = []
    for x in arrays:
        x = np.asarray(x)
        wide = x.dtype.kind in "iu"
        t = torch.from_numpy(np.array(x.astype("int64") if wide else x))
        out.append(t.requires_grad_() if t.is_floating_point() else t)
    return out


def leaves_of(x: Any) -> list[Any]:
    if isinstance(x, (tuple, list)):
        return [leaf for part in x for leaf in leaves_of(part)]
    if isinstance(x, dict):
        return [leaf for name in sorted(x) for leaf in leaves_of(x[name])]
    return [] if x is None else [x]


def agree(ours: Any, theirs: Any, tolerance: float, what: str) -> None:
    a = np.asarray(ours, "float64")
    b = np.asarray(theirs.detach().numpy() if hasattr(theirs, "detach") else theirs, "float64")
    assert a.shape == b.shape, f"{what}: ours {a.shape}, theirs {b.shape}"
    np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b), err_msg=what)
    fine = np.isfinite(b)
    np.testing.assert_array_equal(a[~fine], b[~fine], err_msg=what)
    scale = float(np.abs(b[fine]).max(initial=0))
    worst = float(np.abs(a - b)[fine].max(initial=0))
    assert worst <= tolerance * (scale or 1.0), f"{what}: {worst:.2e} beside {scale:.2e}"


def cotangents(outputs: list[Any]) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [np.asarray(rng.standard_normal(x.shape), np.asarray(x).dtype) for x in outputs]


def compare(ours: Any, arrays: list[Any], theirs: Any, their_arrays: list[Any], dtype: str,
            gradients: bool = True) -> list[Any]:
    """Outputs and gradients in the floating arrays; returns our gradients, None for the others."""
    moving = [i for i, x in enumerate(arrays) if is_inexact(x.dtype)]

    def run(*xs: Any) -> list[Any]:
        filled = list(arrays)
        for i, x in zip(moving, xs, strict=True):
            filled[i] = x
        return [x for x in tree.leaves(ours(*filled))]

    out, backward = lf.vjp(run, *[arrays[i] for i in moving])
    expected = leaves_of(theirs(*their_arrays))
    assert len(out) == len(expected)
    for i, (a, b) in enumerate(zip(out, expected, strict=True)):
        agree(a, b, TOLERANCE[dtype], f"output {i}")
    found = [None] * len(arrays)
    if not gradients:
        return found
    inexact = [i for i, x in enumerate(out) if is_inexact(x.dtype)]
    cts = cotangents([out[i] for i in inexact])
    given = [lnp.zeros(x.shape, x.dtype) if is_inexact(x.dtype) else
             np.zeros(x.shape, lf.float0) for x in out]
    for i, ct in zip(inexact, cts, strict=True):
        given[i] = lnp.asarray(ct)
    sum((expected[i] * torch.from_numpy(ct)).sum() for i, ct in zip(inexact, cts, strict=True)
        ).backward()
    for i, g in zip(moving, backward(given), strict=True):
        found[i] = g
    return found


@precisions
@pytest.mark.parametrize("case", [c for c in FUNCTIONS if c.torch], ids=str)
def test_function(case: FunctionCase, dtype: str) -> None:
    rng = np.random.default_rng(zlib.crc32(str(case).encode()))
    arrays = [lnp.asarray(x.make(rng, dtype)) for x in case.inputs]
    theirs = tensors(arrays)
    grads = compare(case.ours, arrays, lambda *xs: case.torch(torch, *xs), theirs, dtype,
                    case.gradients)
    for i, (g, t) in enumerate(zip(grads, theirs, strict=True)):
        if g is not None:
            expected = t.grad if t.grad is not None else torch.zeros_like(t)
            agree(g, expected, TOLERANCE[dtype], f"gradient in input {i}")


def default_call(module: Any, *xs: Any) -> Any:
    out = module(*[first(x) if x.ndim > 2 else x for x in xs])
    return last(out) if out.ndim > 2 else out


@precisions
@pytest.mark.parametrize("case", [c for c in LAYERS if c.torch], ids=str)
def test_layer(case: LayerCase, dtype: str) -> None:
    rng = np.random.default_rng(zlib.crc32(str(case).encode()))
    inputs = [lnp.asarray(x.make(rng, dtype)) for x in case.inputs]
    params, state = case.layer.init(random.key(1))
    # Off the special starts: the weight of a norm is 1 and its bias 0.
    params = tree.map(lambda p: lnp.asarray(
        np.asarray(p) + 0.1 * rng.standard_normal(p.shape)).astype(dtype), params)
    state = tree.map(lambda s: s.astype(dtype) if is_inexact(s.dtype) else s, state)
    leaves, treedef = tree.flatten(params)
    module = case.torch(torch.nn).to(getattr(torch, dtype))
    module.train(case.train)
    own = {k: torch.from_numpy(np.array(v)) for k, v in case.weights(params).items()}
    left = module.load_state_dict(own, strict=False)
    assert not left.unexpected_keys
    assert set(left.missing_keys) <= {name for name, _ in module.named_buffers()}
    call = case.call or default_call

    def ours(*xs: Any) -> Any:
        p = tree.unflatten(treedef, xs[:len(leaves)])
        return case.layer.apply(p, state, *xs[len(leaves):], train=case.train, **case.kwargs)[0]

    theirs = tensors(inputs)
    grads = compare(ours, [*leaves, *inputs], lambda *xs: call(module, *xs[len(leaves):]),
                    [*leaves, *theirs], dtype)
    named = dict(module.named_parameters())
    for name, g in case.weights(tree.unflatten(treedef, grads[:len(leaves)])).items():
        agree(g, named[name].grad, TOLERANCE[dtype], f"gradient of {name}")
    for i, (g, t) in enumerate(zip(grads[len(leaves):], theirs, strict=True)):
        if g is not None and t.grad is not None:
            agree(g, t.grad, TOLERANCE[dtype], f"gradient in input {i}")
    if case.train and case.layer.stateful:
        check_statistics(case, params, state, module, call, dtype)


def check_statistics(case: LayerCase, params: Any, state: Any, module: Any, call: Any,
                     dtype: str) -> None:
    """Running statistics after ten more steps on other data."""
    rng = np.random.default_rng(11)
    module.load_state_dict({k: torch.from_numpy(np.array(v))
                            for k, v in case.buffers(state).items()}, strict=False)
    for _ in range(10):
        inputs = [x.make(rng, dtype) for x in case.inputs]
        _, state = case.layer.apply(params, state, *map(lnp.asarray, inputs), train=True,
                                    **case.kwargs)
        call(module, *tensors(inputs))
    buffers = dict(module.named_buffers())
    for name, value in case.buffers(state).items():
        agree(value, buffers[name], TOLERANCE[dtype], f"buffer {name}")
