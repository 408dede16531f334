"""Patterns of axes: rearrange, reduce, repeat; derivatives, jit, errors, and the package einops."""

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import einops, nn, testing
from lucidfn.einops import EinopsError, rearrange, reduce, repeat

X = np.arange(2 * 6 * 4 * 3, dtype="float64").reshape(2, 6, 4, 3)
REARRANGE = [
    ("b h w c -> b h w c", {}), ("b h w c -> c w h b", {}), ("b h w c -> b (h w) c", {}),
    ("b h w c -> (b h w c)", {}), ("b (h p) w c -> b h (w p) c", {"p": 2}),
    ("b (h p) (w q) c -> (b h w) (p q c)", {"p": 2, "q": 4}), ("b ... -> ... b", {}),
    ("... c -> c ...", {}), ("b ... c -> b (...) c", {}), ("... -> (...)", {}),
    ("b h w c -> b 1 h w c 1", {}), ("b (h p 1) w c -> p b h () w c", {"h": 3}),
    ("b h w c ... -> b (h w) (c ...)", {}), ("(a b) h w c -> a (b h) (w c)", {"a": 1}),
    ("long_name h w c -> h long_name (w c)", {}), ("  b  h w   c->b h  (w c) ", {}),
]
REDUCE = [
    ("b h w c -> b c", {}), ("b h w c ->", {}), ("b ... c -> b c", {}), ("... c -> c", {}),
    ("b h w c -> b () () c", {}), ("b (h p) (w q) c -> b h w c", {"p": 2, "q": 2}),
    ("b (h 2) (w 4) c -> c (h w) b", {}), ("b h w c -> c b", {}), ("... -> ...", {}),
    ("b h w c -> w (h c)", {}), ("... h w c -> ... c", {}),
]
REPEAT = [
    ("b h w c -> b h w c n", {"n": 2}), ("b h w c -> n b h w c", {"n": 3}),
    ("b h w c -> b (h two) w c", {"two": 2}), ("b h w c -> b (two h) w c", {"two": 2}),
    ("b ... -> b n ...", {"n": 1}), ("b h w c -> b (h 2) (w 3) c", {}),
    ("b (h p) w c -> h (b p n) w c", {"p": 2, "n": 2}),
]


@pytest.mark.peers
@pytest.mark.parametrize(("pattern", "sizes"), REARRANGE)
def test_rearrange_is_that_of_einops(pattern, sizes):
    peer = pytest.importorskip("einops")
    np.testing.assert_array_equal(rearrange(X, pattern, **sizes),
                                  peer.rearrange(X, pattern, **sizes))


@pytest.mark.peers
@pytest.mark.parametrize("how", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize(("pattern", "sizes"), REDUCE)
def test_reduce_is_that_of_einops(pattern, sizes, how):
    peer = pytest.importorskip("einops")
    x = np.cos(X) + 1
    np.testing.assert_allclose(reduce(x, pattern, how, **sizes),
                               peer.reduce(x, pattern, how, **sizes), rtol=1e-12)


@pytest.mark.peers
@pytest.mark.parametrize(("pattern", "sizes"), REPEAT)
def test_repeat_is_that_of_einops(pattern, sizes):
    peer = pytest.importorskip("einops")
    np.testing.assert_array_equal(repeat(X, pattern, **sizes), peer.repeat(X, pattern, **sizes))


# ------------------------------------------------------------------ by hand

def test_one_size_of_a_group_follows():
    """Lucid needed every size."""
    assert rearrange(X, "b (h p) w c -> b h p w c", p=2).shape == (2, 3, 2, 4, 3)
    assert rearrange(X, "b (h p q) w c -> (b h) p q w c", p=2, h=3).shape == (6, 2, 1, 4, 3)


def test_ones():
    """Lucid had no axes of 1."""
    x = X[:, :1]
    assert rearrange(x, "b 1 w c -> b w c").shape == (2, 4, 3)
    assert rearrange(x, "b () w c -> b w 1 c").shape == (2, 4, 1, 3)
    assert reduce(X, "b h w c -> b 1 1 c", "sum").shape == (2, 1, 1, 3)
    assert repeat(x, "b 1 w c -> b w c 5").shape == (2, 4, 3, 5)


def test_values():
    x = np.arange(6).reshape(2, 3)
    assert rearrange(x, "a b -> b a").tolist() == x.T.tolist()
    assert rearrange(x, "a (b c) -> (c b) a", c=3).tolist() == x.T.tolist()
    assert reduce(x, "a b -> b", "max").tolist() == [3, 4, 5]
    assert reduce(x, "a b -> ", "sum").tolist() == 15
    assert reduce(x > 2, "a b -> a", "any").tolist() == [False, True]
    assert reduce(x, "a b -> b", lambda v, axes: lnp.max(v, axes) * 2).tolist() == [6, 8, 10]
    assert repeat(x, "a b -> (a n) b", n=2).tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5]]
    assert reduce(x, "a b -> a", "mean").dtype == "float32"
    assert rearrange(x, "a b -> b a").dtype == x.dtype
    assert repeat(7, "-> n", n=3).tolist() == [7, 7, 7]
    assert einops.einsum is lnp.einsum


def test_lists_of_arrays():
    rows = [np.ones((3, 2)), np.zeros((3, 2))]
    assert rearrange(rows, "n h w -> h w n")[0, 0].tolist() == [1, 0]
    assert reduce(rows, "n h w -> h w", "mean").tolist() == [[0.5, 0.5]] * 3
    assert rearrange([[1, 2], [3, 4]], "a b -> b a").tolist() == [[1, 3], [2, 4]]


def test_axes_named_as_arguments():
    assert rearrange(X, "b (x y) w c -> b x y w c", x=2).shape == (2, 2, 3, 4, 3)
    assert rearrange(X, pattern="b h w c -> (b h w c)").shape == (144,)
    assert reduce(X, "b h w c -> b", reduction="sum").shape == (2,)


@pytest.mark.parametrize("f", [
    lambda x: rearrange(x, "b (h p) c -> (b h) (c p)", p=2),
    lambda x: reduce(x, "b (h p) c -> c h", "mean", p=2),
    lambda x: reduce(x, "b h c -> h", "max"),
    lambda x: reduce(x, "b h c -> c", "prod"),
    lambda x: repeat(x, "b h c -> h (c n) b", n=2),
])
def test_transformations(f):
    x = np.cos(np.arange(24.0)).reshape(2, 4, 3)
    testing.check_grads(f, (x,), order=2)
    testing.check_batch(f, (np.stack([x, x[::-1]]),))
    testing.check_jit(f, (x,))


def test_programs_have_no_more_steps_than_needed():
    count = lambda pattern, **sizes: len(lf.make_ir(
        lambda x: rearrange(x, pattern, **sizes))(X).equations)
    assert count("b h w c -> b h w c") == 0
    assert count("b h w c -> b (h w) c") == 1
    assert count("b h w c -> c b h w") == 1
    assert count("b (h p) w c -> (b p) (h w) c", p=2) == 3


# ------------------------------------------------------------------ layers and errors

def test_layers():
    layer = nn.Rearrange("b (h p) w c -> b h (p w c)", p=2)
    assert repr(layer) == "Rearrange('b (h p) w c -> b h (p w c)', p=2)"
    assert layer == nn.Rearrange("b (h p) w c -> b h (p w c)", p=2) != nn.Rearrange("a -> a")
    assert hash(layer) == hash(nn.Rearrange("b (h p) w c -> b h (p w c)", p=2))
    assert layer({}, X).shape == (2, 3, 24)
    pool = nn.Reduce("b (h p) w c -> b h w c", "max", p=3)
    assert repr(pool) == "Reduce('b (h p) w c -> b h w c', 'max', p=3)"
    model = nn.Sequential(layer, nn.Linear(24, 2), nn.Reduce("b h c -> b c", "mean"))
    params, _ = model.init(lf.random.key(0))
    assert model(params, X).shape == (2, 2)
    with pytest.raises(EinopsError, match="one arrow"):
        nn.Rearrange("b h w c")
    with pytest.raises(TypeError, match="expected a string"):
        nn.Rearrange(3)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: rearrange(X, "b h w c"), "one arrow"),
    (lambda: rearrange(X, "a -> b -> c"), "one arrow"),
    (lambda: rearrange(X, "b h w -> b (h w)"), r"shape \[2, 6, 4, 3\].*has 3 axes"),
    (lambda: rearrange(X, "a b h w c ... -> a"), "lacks"),
    (lambda: rearrange(X, "a b h w c ... -> (a b h w c) ..."), "5 axes or more"),
    (lambda: rearrange(X, "b h w c -> b h w"), "lacks 'c'; reduce leaves axes out"),
    (lambda: rearrange(X, "b h w c -> b h w c d"), "has 'd' more; repeat makes new axes"),
    (lambda: reduce(X, "b h w c -> b d", "sum"), "has 'd' more"),
    (lambda: repeat(X, "b h w c -> b n", n=2), "lacks 'h' 'w' 'c'"),
    (lambda: rearrange(X, "b h w h -> b h w"), "'h' twice on one side"),
    (lambda: rearrange(X, "... ... -> ..."), "'...' twice"),
    (lambda: rearrange(X, "b (h (w c)) -> b h w c"), r"in which '\(' has no place"),
    (lambda: rearrange(X, "b (h w c -> b h w c"), "parenthesis stays open"),
    (lambda: rearrange(X, "b h) w c -> b h w c"), r"in which '\)' has no place"),
    (lambda: rearrange(X, "b h, w c -> b h w c"), "',' has no place"),
    (lambda: rearrange(X, "b h w c .. -> b h w c"), r"'\.' has no place"),
    (lambda: rearrange(X, "b (...) -> b ..."), "cannot stand in parentheses on the left"),
    (lambda: rearrange(X, "b h w c -> b h w c ..."), "must stand on the left side too"),
    (lambda: rearrange(X, "b h w (c 3) -> b h w c"), "lacks '3'"),
    (lambda: rearrange(X, "b (h p) w c -> b h p w c"), "give all but one of a group, h="),
    (lambda: rearrange(X, "b (h p) w c -> b h p w c", p=4), r"axis of 6 has the sizes 'h' = \?"),
    (lambda: rearrange(X, "b h w c -> b (h w c)", h=5), "axis of 6 has the sizes 'h' = 5"),
    (lambda: rearrange(X, "b h 1 c -> b h c"), "says 1 where the size is 4"),
    (lambda: rearrange(X, "b h w c -> b h w c", z=2), "size of 'z', which does not stand in it"),
    (lambda: rearrange(X, "b h w c -> b h w c", h="6"), "h='6', expected the size"),
    (lambda: rearrange(X, "b (h p) w c -> b h p w c", p=-2), "p=-2, expected the size"),
    (lambda: repeat(X, "b h w c -> b h w c n"), "new axis 'n' needs a size: n="),
    (lambda: reduce(X, "b h w c -> b", "median"), "got the reduction 'median', expected one of"),
    (lambda: rearrange([np.ones(2), np.ones(2)], "n m k -> n (m k)"), "has 3 axes"),
])
def test_errors(call, message):
    with pytest.raises(EinopsError, match=message):
        call()
