"""Policies of `checkpoint`: what is kept, what that costs in memory, and the same derivatives."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.testing import assert_allclose

P = lf.checkpoint_policies
WS = [np.random.default_rng(i).normal(size=(6, 6)) * 0.4 for i in range(3)]
X = np.random.default_rng(9).normal(size=(5, 6))


def layer(x: Any, w: Any) -> Any:
    h = lf.checkpoint_name(lnp.tanh(x @ w), "hidden")
    weights = lf.checkpoint_name(lnp.einsum("bi,bj->bij", h, h), "outer")
    return lnp.einsum("bij,bj->bi", lnp.sin(weights), x)


def attention(x: Any, w: Any) -> Any:
    return lnp.einsum("bi,bj,bj->bi", x @ w, lnp.sin(x), lnp.exp(-x * x))


def net(policy: Any, body: Any = layer) -> Any:
    step = body if policy is None else lf.checkpoint(body, policy=policy)

    def loss(ws: Any, x: Any) -> Any:
        for w in ws:
            x = step(x, w)
        return lnp.sum(x * x)

    return loss


POLICIES: dict[str, Any] = {
    "everything_saveable": P.everything_saveable, "nothing_saveable": P.nothing_saveable,
    "dots_saveable": P.dots_saveable,
    "dots_with_no_batch_dims_saveable": P.dots_with_no_batch_dims_saveable,
    "save_only_these_names": P.save_only_these_names("hidden"),
    "save_any_names_but_these": P.save_any_names_but_these("hidden"),
    "save_anything_except_these_names": P.save_anything_except_these_names("hidden"),
    "save_from_both_policies": P.save_from_both_policies(P.dots_saveable,
                                                         P.save_only_these_names("hidden")),
    "a function": lambda primitive, *types, **params: primitive.name == "tanh",
}


@pytest.mark.parametrize("name", POLICIES)
def test_derivatives_are_those_without_a_checkpoint(name: str) -> None:
    f, g = net(None), net(POLICIES[name])
    assert_allclose(g(WS, X), f(WS, X))
    want = lf.grad(f, (0, 1))(WS, X)
    assert_allclose(lf.grad(g, (0, 1))(WS, X), want)
    assert_allclose(lf.jit(lf.grad(g, (0, 1)))(WS, X), want)
    assert_allclose(lf.grad(lf.jit(g), (0, 1))(WS, X), want)
    second = lambda h: lf.grad(lambda x: lnp.sum(lf.grad(h, 1)(WS, x) ** 2))
    assert_allclose(second(g)(X), second(f)(X))
    assert_allclose(lf.jit(second(g))(X), second(f)(X))
    assert_allclose(lf.hvp(lambda x: g(WS, x), (X,), (X,)), lf.hvp(lambda x: f(WS, x), (X,), (X,)))
    rows = np.stack([X, 2 * X])
    per_row = lambda h: lf.vmap(lf.grad(h, 1), in_axes=(None, 0))
    assert_allclose(per_row(g)(WS, rows), per_row(f)(WS, rows))
    assert_allclose(lf.grad(lambda x: lnp.sum(lf.vmap(g, in_axes=(None, 0))(WS, x)))(rows),
                    per_row(f)(WS, rows))


def kept(policy: Any, body: Any = layer) -> list[str]:
    """What one layer keeps beside its arguments."""
    step = body if policy is None else lf.checkpoint(body, policy=policy)
    found = lf.saved_residuals(step, X, WS[0])
    return [r.origin for r in found if not r.origin.startswith("argument")]


def test_what_is_kept() -> None:
    assert kept(P.nothing_saveable) == []
    assert kept(P.everything_saveable) == kept(None)
    assert kept(P.dots_saveable) == ["dot_general"]
    assert kept(P.save_only_these_names("hidden")) == ["`hidden`"]
    assert kept(P.save_only_these_names("hidden", "outer")) == ["`hidden`", "`outer`"]
    assert kept(P.save_only_these_names("other")) == []
    assert kept(P.save_any_names_but_these("hidden")) == ["`outer`"]
    assert "`hidden`" not in kept(P.save_anything_except_these_names("hidden"))
    assert "tanh" not in kept(P.save_anything_except_these_names("hidden"))
    assert kept(P.save_anything_except_these_names()) == kept(None)


def test_dots_with_and_without_batch_axes() -> None:
    body = lambda x, w: lnp.sin(lnp.sin(x @ w)) + lnp.sin(lnp.einsum("bij,bj->bi", x[:, :, None]
                                                                    * w, x))
    assert len(kept(P.dots_saveable, body)) == 2
    assert len(kept(P.dots_with_no_batch_dims_saveable, body)) == 1


def test_policies_look_into_jitted_functions() -> None:
    inner = lf.jit(lambda x, w: lnp.sin(lf.checkpoint_name(lnp.sin(x @ w), "a")))
    body = lambda x, w: lnp.sin(inner(x, w))
    assert kept(P.save_only_these_names("a"), body) == ["`a`"]
    assert kept(P.dots_saveable, body) == ["dot_general"]


def test_names_are_the_identity() -> None:
    tree = {"a": X, "b": [1.0, "text"]}
    out = lf.checkpoint_name(tree, "n")
    assert_allclose(out["a"], X)
    assert out["b"][1] == "text"
    assert "checkpoint_name" not in lf.jit(lambda x: lf.checkpoint_name(x, "n") * 2).source(X)
    assert lf.grad(lambda x: lf.checkpoint_name(x * x, "n"))(3.0) == 6.0
    assert lf.vmap(lambda x: lf.checkpoint_name(x, "n"))(X).shape == X.shape
    with pytest.raises(TypeError, match="needs a name"):
        lf.checkpoint_name(X, 3)


# ------------------------------------------------------------------ memory

def peak(policy: Any) -> int:
    def body(x: Any, w: Any) -> Any:
        h = lf.checkpoint_name(lnp.cumsum(lnp.sin(lnp.cumsum(x, 1)), 1), "h")
        # cumsum over both axes: nothing here can run on blocks of rows.
        for _ in range(3):
            h = lnp.sin(lnp.cumsum(h, 0))
        return lnp.cumsum(h @ w, 0)

    step = body if policy is None else lf.checkpoint(body, policy=policy)

    def loss(ws: Any, x: Any) -> Any:
        for w in ws:
            x = step(x, w)
        return lnp.sum(x)

    ws = [np.ones((64, 64), "float32")] * 6
    return lf.jit(lf.grad(loss)).memory(ws, np.ones((256, 64), "float32")).peak


def test_memory_falls_as_the_policy_says() -> None:
    everything, nothing = peak(P.everything_saveable), peak(P.nothing_saveable)
    named, plain = peak(P.save_only_these_names("h")), peak(None)
    assert nothing < named < everything
    assert nothing < 0.6 * plain
    assert plain <= everything < 1.2 * plain
    one = 256 * 64 * 4  # an array of a layer; there are 6 layers
    assert 4 * one <= named - nothing <= 8 * one


def scanned(policy: Any) -> Any:
    def body(c: Any, _: Any) -> Any:
        for w in WS[:2]:
            c = lf.checkpoint_name(lnp.sin(c @ w), "hidden")
            c = lnp.cumsum(lnp.sin(c), 0)
        return c, None

    step = body if policy is None else lf.checkpoint(body, policy=policy)
    return lambda x: lnp.sum(lf.lax.scan(step, x, None, length=20)[0])


@pytest.mark.parametrize("name", POLICIES)
def test_scan_over_checkpointed_bodies(name: str) -> None:
    f, g = scanned(None), scanned(POLICIES[name])
    assert_allclose(lf.grad(g)(X), lf.grad(f)(X))
    assert_allclose(lf.jit(lf.grad(g))(X), lf.grad(f)(X))
    second = lambda h: lf.grad(lambda x: lnp.sum(lf.grad(h)(x) ** 2))
    assert_allclose(second(g)(X), second(f)(X))


def test_memory_of_scans_over_checkpointed_bodies() -> None:
    kept = {name: lf.saved_residuals(scanned(p), X).nbytes for name, p in POLICIES.items()}
    rows = 20 * X.nbytes  # one value of the body, for all steps
    assert kept["save_only_these_names"] - kept["nothing_saveable"] == 2 * rows
    assert kept["everything_saveable"] > kept["save_only_these_names"]
    peak = lambda p: lf.jit(lf.grad(scanned(p))).memory(X).peak
    assert peak(P.nothing_saveable) + rows < peak(P.save_only_these_names("hidden"))
    assert peak(P.save_only_these_names("hidden")) < peak(P.everything_saveable)


# ------------------------------------------------------------------ the table

def test_the_table_of_residuals() -> None:
    @lf.checkpoint(policy=P.save_only_these_names("h"))
    def f(params: Any, x: Any) -> Any:
        return lnp.sin(lf.checkpoint_name(lnp.sin(x * params["w"]), "h"))

    found = lf.saved_residuals(f, {"w": 2.0}, X)
    assert [(r.origin, r.type.shape) for r in found] == [
        ("argument `params['w']`", ()), ("argument `x`", (5, 6)), ("`h`", (5, 6))]
    assert found.nbytes == 4 + 2 * X.nbytes and found.made == X.nbytes
    text = str(found)
    assert "test_checkpoint_policies.py:" in text and "`h`" in text
    assert text.splitlines()[0].split() == ["type", "bytes", "what", "line"]
    assert "<td>" in found._repr_html_()


def test_print_saved_residuals(capsys: Any) -> None:
    lf.print_saved_residuals(lambda x: lnp.sin(x), lf.ShapeDtypeStruct((3,), "float32"))
    assert "float32[3]" in capsys.readouterr().out
    with pytest.raises(TypeError, match="no floating array"):
        lf.saved_residuals(lambda x: x, 3)


def test_equal_policies_share_a_program_and_others_do_not() -> None:
    assert P.save_only_these_names("a", "b") == P.save_only_these_names("b", "a")
    f = lambda policy: lf.jit(lf.grad(net(policy)))
    few, many = (f(p).program(WS, X) for p in (P.nothing_saveable, P.everything_saveable))
    assert len(str(few)) != len(str(many))


def module_level(x: Any) -> Any:
    return lnp.sin(x)


def test_pickling_keeps_the_policy() -> None:
    f = lf.checkpoint(module_level, policy=P.dots_saveable)
    again = pickle.loads(pickle.dumps(f))
    assert again.policy is P.dots_saveable and float(again(0.0)) == 0.0


@pytest.mark.parametrize(("make", "message"), [
    (lambda: lf.checkpoint(layer, policy="dots"), "policy must be a function"),
    (lambda: P.save_only_these_names(["a"]), "takes names"),
    (lambda: lf.grad(lf.checkpoint(lambda x: lnp.sin(lnp.sin(x)), policy=lambda *_, **__: None))(
        1.0), "must return True"),
])
def test_errors(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()
