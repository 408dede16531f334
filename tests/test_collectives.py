"""Collectives under `vmap(axis_name=...)`, against the same formula on the array of all lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import lax, nn
from lucidfn.testing import assert_allclose, check_grads

rng = np.random.default_rng(0)
X = rng.normal(size=(4, 4, 3))


def lanes(rows: Any) -> Any:
    """The same in every lane."""
    return lnp.broadcast_to(rows, (4, *rows.shape))


# (what a lane does, the same on all lanes at once)
CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "psum": (lambda x: lax.psum(x, "i"), lambda x: lanes(x.sum(0))),
    "pmean": (lambda x: lax.pmean(x, "i"), lambda x: lanes(x.mean(0))),
    "pmax": (lambda x: lax.pmax(x, "i"), lambda x: lanes(x.max(0))),
    "pmin": (lambda x: lax.pmin(x, "i"), lambda x: lanes(x.min(0))),
    "all_gather": (lambda x: lax.all_gather(x, "i", axis=1), lambda x: lanes(x.swapaxes(0, 1))),
    "all_gather last": (lambda x: lax.all_gather(x, "i", axis=-1),
                        lambda x: lanes(lnp.moveaxis(x, 0, -1))),
    "all_gather tiled": (lambda x: lax.all_gather(x, "i", tiled=True),
                         lambda x: lanes(x.reshape(16, 3))),
    "all_to_all": (lambda x: lax.all_to_all(x, "i", 0, 1), lambda x: x.transpose(1, 2, 0)),
    "all_to_all in place": (lambda x: lax.all_to_all(x, "i", 0, 0), lambda x: x.swapaxes(0, 1)),
    "all_to_all tiled": (lambda x: lax.all_to_all(x, "i", 0, 1, tiled=True),
                         lambda x: x.swapaxes(0, 1).reshape(4, 1, 12)),
    "ppermute": (lambda x: lax.ppermute(x, "i", [(0, 2), (3, 1)]),
                 lambda x: lnp.stack([0 * x[0], x[3], x[0], 0 * x[0]])),
    "pshuffle": (lambda x: lax.pshuffle(x, "i", [2, 0, 3, 1]),
                 lambda x: x[lnp.array([2, 0, 3, 1])]),
    "psum_scatter": (lambda x: lax.psum_scatter(x, "i"), lambda x: x.sum(0)),
    "psum_scatter tiled": (lambda x: lax.psum_scatter(lnp.tile(x, (2, 1)), "i", tiled=True),
                           lambda x: lnp.tile(x.sum(0), (2, 1)).reshape(4, 2, 3)),
    "pswapaxes": (lambda x: lax.pswapaxes(x, "i", 0), lambda x: x.swapaxes(0, 1)),
    "axis_index": (lambda x: x * lax.axis_index("i"), lambda x: x * lnp.arange(4)[:, None, None]),
    "axis_size": (lambda x: x * lax.axis_size("i"), lambda x: x * 4),
    "pmean of ints": (lambda x: x * lax.pmean(lax.axis_index("i"), "i"), lambda x: x * 1.5),
    "psum of bools": (lambda x: x * lax.psum(x[0, 0] > 0, "i"),
                      lambda x: x * (x[:, 0, 0] > 0).sum()),
}


def mapped(f: Callable[..., Any]) -> Callable[..., Any]:
    return lf.vmap(f, axis_name="i")


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name: str) -> None:
    lane, whole = CASES[name]
    loss = lambda y: lnp.sum(lnp.sin(y * y))
    for f in (lane, lf.jit(lane), lf.checkpoint(lane)):
        assert_allclose(mapped(f)(X), whole(X))
        assert_allclose(lf.jit(mapped(f))(X), whole(X))
        outside = lf.grad(lambda x, f=f: loss(mapped(f)(x)))
        assert_allclose(outside(X), lf.grad(lambda x: loss(whole(x)))(X))
        # Inside, the derivative is that of the sum over lanes of what is differentiated.
        inside = mapped(lf.grad(lambda x, f=f: loss(f(x))))
        assert_allclose(inside(X), outside(X))
        assert_allclose(lf.jit(inside)(X), outside(X))
    t = np.cos(X)
    pushed = mapped(lambda x, t: lf.jvp(lane, (x,), (t,))[1])(X, t)
    assert_allclose(pushed, lf.jvp(whole, (X,), (t,))[1])


@pytest.mark.parametrize("name", CASES)
def test_second_derivatives(name: str) -> None:
    lane, whole = CASES[name]
    loss = lambda y: lnp.sum(lnp.sin(y * y))
    want = lf.grad(lambda x: loss(lf.grad(lambda x: loss(whole(x)))(x)))(X)
    inside = mapped(lf.grad(lambda x: loss(lane(x))))
    assert_allclose(lf.grad(lambda x: loss(inside(x)))(X), want)
    assert_allclose(lf.jit(lf.grad(lambda x: loss(mapped(lf.jit(lf.grad(
        lambda x: loss(lane(x)))))(x))))(X), want)
    assert_allclose(mapped(lf.grad(lambda x: loss(lf.grad(lambda x: loss(lane(x)))(x))))(X), want)
    if not name.startswith("psum of"):
        check_grads(mapped(lane), (X,))


def test_values_that_do_not_vary() -> None:
    ones = lnp.ones((4, 3))
    f = lambda x: (x, lax.psum(ones, "i"), lax.pmax(ones, "i"), lax.all_gather(ones, "i"),
                   lax.psum_scatter(ones, "i"), lax.ppermute(ones, "i", [(0, 1)]),
                   lax.all_to_all(ones, "i", 0, 1))
    x, total, largest, gathered, block, moved, parts = mapped(f)(X)
    assert_allclose(total, np.full((4, 4, 3), 4.0))
    assert_allclose(largest, np.ones((4, 4, 3)))
    assert_allclose(gathered, np.ones((4, 4, 4, 3)))
    assert_allclose(block, np.full((4, 3), 4.0))
    assert_allclose(moved, np.ones((4, 4, 3)) * (np.arange(4) == 1)[:, None, None])
    assert_allclose(parts, np.ones((4, 3, 4)))
    assert lf.vmap(lambda x: lax.psum(x, "i"), axis_name="i", out_axes=None)(X).shape == (4, 3)


def test_python_numbers_stay_python_numbers() -> None:
    def f(x: Any) -> Any:
        assert lax.psum(1, "i") == 4 and type(lax.psum(1, "i")) is int
        assert lax.axis_size("i") == 4 and lax.pmean(3, "i") == 3.0
        return x
    mapped(f)(X)


def test_trees() -> None:
    out = mapped(lambda x: lax.psum({"a": x, "b": [x, None]}, "i"))(X)
    assert_allclose(out["b"][0], np.broadcast_to(X.sum(0), X.shape))
    assert out["b"][1] is None


def test_ties_share_the_derivative() -> None:
    x = lnp.array([1.0, 3.0, 3.0])
    assert lf.vmap(lf.grad(lambda x: lax.pmax(x, "i")), axis_name="i")(x).tolist() == [0, 1.5, 1.5]


# ------------------------------------------------------------------ several axes

def test_nested_axes_and_both_at_once() -> None:
    z = rng.normal(size=(2, 3, 6))
    twice = lambda f: lf.vmap(lf.vmap(f, axis_name="j"), axis_name="i")
    full = lambda y: np.broadcast_to(y, (2, 3, *y.shape))
    assert_allclose(twice(lambda x: lax.psum(x, ("i", "j")))(z), full(z.sum((0, 1))))
    assert_allclose(twice(lambda x: lax.pmax(x, ("i", "j")))(z), full(z.max((0, 1))))
    assert_allclose(twice(lambda x: lax.psum(x, "i"))(z), np.stack([z.sum(0)] * 2))
    assert_allclose(twice(lambda x: lax.all_gather(x, ("i", "j")))(z), full(z.reshape(6, 6)))
    assert_allclose(twice(lambda x: lax.all_gather(x, ("j", "i"), tiled=True))(z),
                    full(z.swapaxes(0, 1).reshape(36)))
    assert_allclose(twice(lambda x: x * 0 + lax.axis_index(("i", "j")))(z)[..., 0],
                    np.arange(6.0).reshape(2, 3))
    assert_allclose(twice(lambda x: lax.psum_scatter(x, ("i", "j")))(z),
                    z.sum((0, 1)).reshape(2, 3))
    assert_allclose(twice(lambda x: lax.psum_scatter(x, ("i", "j"), tiled=True))(z),
                    z.sum((0, 1)).reshape(2, 3, 1))
    assert_allclose(twice(lambda x: lax.all_to_all(x, ("i", "j"), 0, 0))(z),
                    z.reshape(6, 6).T.reshape(2, 3, 6))
    assert_allclose(twice(lambda x: lax.all_to_all(x, ("i", "j"), 0, 0, tiled=True))(z),
                    z.reshape(6, 6).T.reshape(2, 3, 6))
    assert twice(lambda x: x * lax.axis_size(("i", "j")))(z).shape == z.shape


def test_an_inner_axis_hides_an_outer_one_of_its_name() -> None:
    z = rng.normal(size=(2, 3))
    f = lf.vmap(lf.vmap(lambda x: lax.psum(x, "i"), axis_name="i"), axis_name="i")
    assert_allclose(f(z), np.broadcast_to(z.sum(1, keepdims=True), (2, 3)))


def test_an_unnamed_vmap_and_jit_between() -> None:
    z = rng.normal(size=(2, 3))
    inner = lf.jit(lf.vmap(lf.jit(lambda x: x * lax.psum(x, "i"))))
    assert_allclose(mapped(inner)(z), z * z.sum(0))
    assert_allclose(lf.vmap(lf.vmap(lambda x: x * lax.psum(x, "i"), axis_name="i"))(z),
                    z * z.sum(1, keepdims=True))


# ------------------------------------------------------------------ under other transformations

def test_a_jitted_function_is_recorded_for_each_size_and_needs_no_operand() -> None:
    index = lf.jit(lambda: lax.axis_index("i"))
    assert mapped(lambda x: x + index())(lnp.zeros(3)).tolist() == [0, 1, 2]
    assert mapped(lambda x: x + index())(lnp.zeros(2)).tolist() == [0, 1]
    size = lf.jit(lambda x: x * lax.axis_size("i"))
    assert mapped(size)(lnp.ones(3)).tolist() == [3, 3, 3]
    assert mapped(size)(lnp.ones(2)).tolist() == [2, 2]
    with pytest.raises(NameError, match="no axis named 'i'"):
        size(1.0)


def test_rules_of_the_users_own() -> None:
    @lf.custom_jvp
    def f(x: Any) -> Any:
        return lax.psum(x * x, "i")

    f.defjvp(lambda primals, tangents: (f(*primals), lax.psum(
        2 * primals[0] * tangents[0], "i")))

    @lf.custom_vjp
    def g(x: Any) -> Any:
        return lax.psum(x * x, "i")

    g.defvjp(lambda x: (g(x), x), lambda x, ct: (2 * x * lax.psum(ct, "i"),))
    x = lnp.array([1.0, 2.0, 3.0])
    for h in (f, g):
        assert mapped(h)(x).tolist() == [14.0] * 3
        for run in (h, lf.jit(h)):
            assert mapped(lf.grad(run))(x).tolist() == [6.0, 12.0, 18.0]
            assert lf.grad(lambda x, run=run: mapped(run)(x).sum())(x).tolist() == [6, 12, 18]
            assert lf.jit(lf.grad(lambda x, run=run: mapped(run)(x).sum()))(x).tolist() == [
                6, 12, 18]


def test_linearize_vjp_and_jacobians_inside() -> None:
    x = lnp.array([1.0, 2.0, 3.0])
    f = lambda x: x * lax.psum(x, "i")
    pull = mapped(lambda x: lf.vjp(f, x)[1](1.0)[0])
    assert_allclose(pull(x), 6.0 + 6.0 + 0 * x)
    push = mapped(lambda x: lf.linearize(f, x)[1](1.0))
    assert_allclose(push(x), 6.0 + 3 * x)
    assert_allclose(mapped(lf.jacrev(lambda x: lax.psum(x * lnp.ones(2), "i")))(x),
                    np.full((3, 2), 3.0))
    assert_allclose(mapped(lf.jacfwd(lambda x: lax.psum(x * lnp.ones(2), "i")))(x),
                    np.full((3, 2), 3.0))


def test_data_parallel_training_is_training_on_the_whole_batch() -> None:
    x, y = rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 5))
    w = rng.normal(size=3)
    loss = lambda w, x, y: lnp.mean((x @ w - y) ** 2)

    @lf.jit
    def step(w: Any, x: Any, y: Any) -> Any:
        return w - 0.1 * lax.pmean(lf.grad(loss)(w, x, y), "devices")

    parallel = lf.vmap(step, in_axes=(None, 0, 0), axis_name="devices", out_axes=None)
    assert_allclose(parallel(w, x, y), w - 0.1 * lf.grad(loss)(w, x.reshape(20, 3), y.reshape(20)))


def test_programs_have_no_collective_left() -> None:
    program = lf.make_ir(mapped(lf.jit(lambda x: lax.psum(x, "i"))))(lnp.ones(3))
    assert "psum" not in str(program) and "reduce_sum" in str(program)


# ------------------------------------------------------------------ in loops and branches

def in_scan(x: Any) -> Any:
    return lax.scan(lambda c, y: (c * 0.5 + lax.psum(y * c, "i"), lax.pmean(c, "i") * y), x,
                    lnp.arange(3.0))[1]


IN_CONTROL_FLOW: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "scan": (in_scan, lambda x: _scan_of_all(x)),
    "fori_loop": (lambda x: lax.fori_loop(0, 2, lambda i, c: c * lax.psum(c, "i"), x),
                  lambda x: (x * x.sum(0)) * (x * x.sum(0)).sum(0)),
    "cond": (lambda x: lax.cond(lax.psum(x[0, 0], "i") > -9, lambda x: x * lax.psum(x, "i"),
                                lambda x: x, x), lambda x: x * x.sum(0)),
    "a condition for each lane": (
        lambda x: lax.cond(lax.axis_index("i") > 1, lambda x: x * x, lambda x: lnp.sin(x),
                           lax.psum(x, "i") * x),
        lambda x: lnp.where(lnp.arange(4)[:, None, None] > 1, (x * x.sum(0)) ** 2,
                            lnp.sin(x * x.sum(0)))),
    "index in scan": (
        lambda x: x * lax.scan(lambda c, y: (c + lax.axis_index("i") * y, None), lnp.zeros(3),
                               lnp.arange(3.0))[0],
        lambda x: x * 3 * lnp.arange(4)[:, None, None]),
}


def _scan_of_all(x: Any) -> Any:
    c, rows = x, []
    for y in range(3):
        rows.append(lanes(c.mean(0) * y))
        c = c * 0.5 + lanes((c * y).sum(0))
    return lnp.stack(rows, 1)


@pytest.mark.parametrize("name", IN_CONTROL_FLOW)
def test_in_loops_and_branches(name: str) -> None:
    lane, whole = IN_CONTROL_FLOW[name]
    loss = lambda y: lnp.sum(lnp.sin(y * y))
    assert_allclose(mapped(lane)(X), whole(X))
    assert_allclose(lf.jit(mapped(lf.jit(lane)))(X), whole(X))
    want = lf.grad(lambda x: loss(whole(x)))(X)
    assert_allclose(lf.grad(lambda x: loss(mapped(lane)(x)))(X), want)
    assert_allclose(mapped(lf.grad(lambda x: loss(lane(x))))(X), want)
    assert_allclose(lf.jit(mapped(lf.grad(lambda x: loss(lane(x)))))(X), want)


def test_a_while_loop_that_all_lanes_leave_together() -> None:
    f = lambda x: lax.while_loop(lambda c: lax.psum(c.sum(), "i") > 1.0, lambda c: c / 2, x)
    x = lnp.array([[1.0], [2.0], [5.0]])
    assert mapped(f)(x).ravel().tolist() == [0.125, 0.25, 0.625]


def test_jet_goes_through_them() -> None:
    f = lambda x: lf.jet(lambda x: lax.psum(x * x, "i") * lax.pmax(x, "i"), (x,), ([1.0, 0.0],))[1]
    x = lnp.array([1.0, 2.0, 3.0])
    first, second = mapped(f)(x)
    assert first.tolist() == [12.0 * 3 + 14.0] * 3  # of sum(x^2) max(x), all x moving at once
    assert second.tolist() == [6.0 * 3 + 2 * 12.0] * 3


# ------------------------------------------------------------------ batch normalisation

@pytest.mark.parametrize(("layer", "shape"), [
    (nn.BatchNorm1d, (6, 3)), (nn.BatchNorm1d, (6, 5, 3)), (nn.BatchNorm2d, (6, 4, 4, 3)),
    (nn.BatchNorm3d, (6, 2, 2, 2, 3))])
@pytest.mark.parametrize("devices", [2, 6])
def test_batch_norm_over_lanes_is_that_of_the_whole_batch(layer: Any, shape: Any,
                                                          devices: int) -> None:
    x = rng.normal(size=shape)
    whole, local = layer(3), layer(3, axis_name="i")
    with lf.default_dtype("float64"):
        params, state = whole.init(lf.random.key(0))
    parts = x.reshape(devices, -1, *shape[1:])

    def run(x: Any) -> Any:
        y, new = lf.vmap(lambda x: local.apply(params, state, x, train=True), axis_name="i",
                         out_axes=(0, None))(x)
        return y.reshape(shape), new

    want, want_state = whole.apply(params, state, x, train=True)
    got, got_state = run(parts)
    assert_allclose(got, want)
    assert_allclose(got_state, want_state)
    slope = lf.grad(lambda x: lnp.sum(run(x)[0] ** 3))(parts)
    assert_allclose(slope.reshape(shape), lf.grad(lambda x: lnp.sum(
        whole.apply(params, state, x, train=True)[0] ** 3))(x))


@pytest.mark.parametrize(("layer", "shape"), [(nn.BatchNorm1d, (6, 3)),
                                              (nn.BatchNorm2d, (6, 4, 4, 3))])
@pytest.mark.parametrize("track", [True, False])
def test_batch_norm_of_one_example_a_lane(layer: Any, shape: Any, track: bool) -> None:
    x = rng.normal(size=shape)
    whole = layer(3, track_running_stats=track)
    local = layer(3, axis_name="i", track_running_stats=track)
    params, state = whole.init(lf.random.key(0))
    for train in (True, False):
        if not (train or track):
            continue
        f = lambda x, train=train: local.apply(params, state, x, train=train)[0]
        assert_allclose(mapped(f)(x), whole.apply(params, state, x, train=train)[0])
    with pytest.raises(NameError, match="no axis named 'i'"):
        local.apply(params, state, x, train=True)


# ------------------------------------------------------------------ errors

@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda x: lax.psum(x, "k"), NameError,
     r"lax.psum: there is no axis named 'k' here; in scope: 'i' \(size 4\)"),
    (lambda x: lax.axis_index(("i", "k")), NameError, "no axis named 'k'"),
    (lambda x: lax.psum(x, ("i", "i")), ValueError, "names an axis twice"),
    (lambda x: lax.psum(x, "i", axis_index_groups=[[0, 1], [2, 3]]), NotImplementedError,
     "Use two named axes"),
    (lambda x: lax.psum({"a": "text"}, "i"), TypeError, "leaves must be arrays or numbers"),
    (lambda x: lax.psum_scatter(x, "i", scatter_dimension=1), lf.ShapeError,
     "must have the 4 lanes of 'i', and it has 3"),
    (lambda x: lax.psum_scatter(x, "i", scatter_dimension=1, tiled=True), lf.ShapeError,
     "do not divide"),
    (lambda x: lax.psum_scatter(x, "i", scatter_dimension=2), lf.ShapeError, "got axis 2"),
    (lambda x: lax.all_to_all(x, "i", 1, 0), lf.ShapeError, "must have the 4 lanes"),
    (lambda x: lax.all_gather(x, "i", axis=3), lf.ShapeError, "got axis 3"),
    (lambda x: lax.ppermute(x, "i", [(0, 1), (0, 2)]), ValueError, "must differ"),
    (lambda x: lax.ppermute(x, "i", [(0, 4)]), ValueError, r"in \[0, 4\)"),
    (lambda x: lax.pshuffle(x, "i", [0, 1, 2]), ValueError, "does not order the 4 lanes"),
])
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mapped(call)(X)
    with pytest.raises(error, match=message):
        mapped(lf.jit(call))(X)


def test_outside_of_any_vmap() -> None:
    with pytest.raises(NameError, match="in scope: no named axis"):
        lf.jit(lambda x: lax.psum(x, "i"))(X)


def test_chunks_would_see_a_part_only() -> None:
    with pytest.raises(ValueError, match="one chunk only"):
        lf.vmap(lambda x: lax.psum(x, "i"), axis_name="i", chunk_size=2)(X)
    f = lf.vmap(lambda x: lax.psum(x, "i"), axis_name="i", chunk_size=4)
    assert_allclose(f(X)[0], X.sum(0))
