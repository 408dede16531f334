"""Losses: exactness, reductions, errors. Parity with PyTorch is in nn_tables."""

import inspect
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_tables import FUNCTIONS

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, testing
from lucidfn.errors import ShapeError
from lucidfn.nn import losses

INF, NAN = math.inf, math.nan
F32 = lambda x: np.asarray(x, "float32")
close = testing.assert_allclose

# ------------------------------------------------------------------ cross entropy is exact


def reference(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    x = np.asarray(logits, "float64")
    top = x.max(-1, keepdims=True)
    total = np.log(np.exp(x - top).sum(-1)) + top[..., 0]
    return total - np.take_along_axis(x, labels[..., None], -1)[..., 0]


@pytest.mark.parametrize("gap", [16.0, 17.0, 100.0, 1000.0, 3e38])
def test_cross_entropy_is_not_capped_and_its_gradient_not_dead(gap: float) -> None:
    """A loss of -log(softmax + 1e-7) ends at 16.118, with gradient 1e-6."""
    loss, grad = lf.value_and_grad(nn.losses.cross_entropy)(lnp.asarray([[0.0, gap]]), [0])
    close(loss, F32(gap))
    close(grad, F32([[-1.0, 1.0]]))


wild = st.one_of(st.floats(-1e4, 1e4, width=32), st.just(-INF), st.floats(-3, 3, width=32))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_cross_entropy_of_wild_logits(data: st.DataObject) -> None:
    n, classes = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    logits = F32(data.draw(st.lists(st.lists(wild, min_size=classes, max_size=classes),
                                    min_size=n, max_size=n)))
    labels = np.asarray(data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)))
    logits[np.arange(n), labels] = np.where(np.isinf(logits[np.arange(n), labels]), 0.0,
                                            logits[np.arange(n), labels])
    want = reference(logits, labels)
    got = losses.cross_entropy(logits, labels, reduction="none")
    close(got, F32(want), rtol=2e-6, atol=1e-6)
    grad = lf.grad(losses.cross_entropy)(lnp.asarray(logits), labels, reduction="sum")
    shifted = np.exp(np.float64(logits) - logits.max(-1, keepdims=True))
    expected = shifted / shifted.sum(-1, keepdims=True) - np.eye(classes)[labels]
    # The difference to 1e4 has an error of 1e-3, which is that of the exponential too.
    close(grad, F32(expected), rtol=0, atol=2e-6)


def test_classes_masked_by_minus_infinity() -> None:
    logits = lnp.asarray([[0.0, -INF, 1.0], [2.0, 0.5, -INF]])
    for target in ([0, 1], F32([[1, 0, 0], [0, 1, 0]]), F32([[0.5, 0, 0.5], [0.25, 0.75, 0]])):
        loss, grad = lf.value_and_grad(losses.cross_entropy)(logits, target)
        assert np.isfinite(loss) and np.isfinite(np.asarray(grad)).all()
        close(np.asarray(grad)[[0, 1], [1, 2]], F32([0.0, 0.0]))
    loss, grad = lf.value_and_grad(losses.cross_entropy)(logits, [1, 0])  # a masked label
    assert float(loss) == INF and np.isfinite(np.asarray(grad)).all()
    nothing = lnp.asarray([[-INF, -INF]])
    assert float(losses.cross_entropy(nothing, [0])) == INF


def test_recorded_program_of_cross_entropy_is_small() -> None:
    x, y = lnp.ones((8, 5)), lnp.zeros(8, "int32")
    program = lf.make_ir(lf.grad(losses.cross_entropy))(x, y)
    names = [e.primitive.name for e in program.equations]
    assert names.count("exp") == 1 and names.count("gather") == 1
    assert names.count("scatter_add") == 1  # softmax minus one-hot, without a one-hot array
    assert len(names) <= 42
    assert str(program).count("float32[8,5]") <= 12


def test_cross_entropy_of_a_class_weighted_mean() -> None:
    """The mean divides by the sum of the weights."""
    logits, labels = F32([[1, 2, 3], [3, 1, 2], [0, 0, 1]]), np.asarray([0, 2, 2])
    weight = F32([0.1, 1.0, 5.0])
    each = reference(logits, labels)
    want = (each * weight[labels]).sum() / weight[labels].sum()
    close(losses.cross_entropy(logits, labels, weight), F32(want), rtol=1e-6)
    close(losses.nll_loss(lnp.log(nn.softmax(logits)), labels, weight), F32(want), rtol=1e-5)


def test_cross_entropy_of_dense_predictions() -> None:
    """[N, d, C] with labels [N, d]; [N, C, d] with axis=1."""
    x = F32(np.random.default_rng(0).standard_normal((2, 5, 3)))
    y = np.asarray([[0, 1, 2, 0, 1], [2, 2, 1, 0, 0]])
    want = reference(x, y)
    close(losses.cross_entropy(x, y, reduction="none"), F32(want), rtol=1e-5)
    close(losses.cross_entropy(np.moveaxis(x, -1, 1), y, axis=1), F32(want.mean()), rtol=1e-5)
    soft = np.eye(3, dtype="float32")[y]
    close(losses.cross_entropy(np.moveaxis(x, -1, 1), np.moveaxis(soft, -1, 1), axis=1),
          F32(want.mean()), rtol=1e-5)


# ------------------------------------------------------------------ ignored labels

def test_ignored_labels_count_nowhere_and_never_raise() -> None:
    x = lnp.asarray([[1.0, 2.0], [3.0, 0.0], [5.0, 5.0]])
    y = np.asarray([1, 255, 0], "uint8")
    f = lambda x: losses.cross_entropy(x, y, ignore_index=255)
    close(f(x), losses.cross_entropy(x[np.asarray([0, 2])], [1, 0]))
    close(lf.jit(f)(x), f(x))
    close(lf.grad(f)(x)[1], F32([0.0, 0.0]))


@pytest.mark.parametrize("weight", [None, (1.0, 2.0)])
def test_mean_over_nothing_is_nan_with_derivative_zero(weight: Any) -> None:
    """As in PyTorch; a sum over nothing is 0."""
    x, y = lnp.ones((2, 2)), [-100, -100]
    loss, grad = lf.value_and_grad(losses.cross_entropy)(x, y, weight)
    assert np.isnan(loss)
    close(grad, np.zeros((2, 2), "float32"))
    assert float(losses.cross_entropy(x, y, weight, reduction="sum")) == 0.0


# ------------------------------------------------------------------ wrong labels

@pytest.mark.parametrize("run", [lambda f: f, lf.jit, lf.grad, lambda f: lf.jit(lf.grad(f))],
                         ids=["eager", "jit", "grad", "jit of grad"])
@pytest.mark.parametrize("label", [3, -1, 1000])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "multi_margin_loss"])
def test_label_out_of_range_raises(run: Any, label: int, name: str) -> None:
    f = run(lambda x, y: getattr(losses, name)(x, y))
    with pytest.raises(IndexError, match=rf"label {label} at \[1\] is out of range for 3 classes"):
        lf.block_until_ready(f(lnp.ones((2, 3)), lnp.asarray([0, label])))


def test_label_out_of_range_under_vmap_raises() -> None:
    with pytest.raises(IndexError, match="label 7"):
        lf.block_until_ready(lf.vmap(losses.cross_entropy)(lnp.ones((2, 3)), lnp.asarray([0, 7])))


@pytest.mark.parametrize("labels, error, message", [
    (np.eye(3, dtype="int32"), ShapeError, "one-hot labels must be floats"),
    (np.zeros((3, 1), "int32"), ShapeError, r"labels.squeeze\(-1\)"),
    (np.zeros(3, "float32"), TypeError, "class indices must be integers"),
    (np.zeros(3, bool), TypeError, "must be integers"),
    (np.zeros(4, "int32"), ShapeError, r"labels of shape \(4,\); expected labels of shape \(3,\)"),
    (np.zeros((3, 5), "float32"), ShapeError, "shapes must be equal"),
], ids=["one-hot", "column", "floats", "bools", "length", "probabilities"])
def test_labels_that_do_not_fit(labels: np.ndarray, error: type, message: str) -> None:
    for f in (losses.cross_entropy, lf.jit(losses.cross_entropy)):
        with pytest.raises(error, match=message):
            f(lnp.ones((3, 3)), labels)


def test_channels_first_logits_get_a_hint() -> None:
    x, y = lnp.ones((2, 10, 8, 8)), lnp.zeros((2, 8, 8), "int32")
    for name in ("cross_entropy", "nll_loss"):
        with pytest.raises(ShapeError, match=r"channels-first, with 10 classes.*axis=1"):
            getattr(losses, name)(x, y)
    assert losses.cross_entropy(x, y, axis=1).shape == ()


@pytest.mark.parametrize("call, error, message", [
    (lambda: losses.cross_entropy(lnp.ones((2, 3)), [0, 1], weight=[1.0, 2.0]), ShapeError,
     "each of the 3 classes"),
    (lambda: losses.cross_entropy(lnp.ones((2, 3)), [0, 1], label_smoothing=1.5), ValueError,
     r"label_smoothing=1.5; it must be in \[0, 1\]"),
    (lambda: losses.cross_entropy(lnp.ones((2, 3)), lnp.ones((2, 3)), ignore_index=1), ValueError,
     "only class indices can be ignored"),
    (lambda: losses.cross_entropy(1.0, 0), ShapeError, "axis of classes"),
    (lambda: losses.mse_loss(lnp.ones((4, 1)), lnp.ones(4)), ShapeError,
     "compare every element with every other"),
    (lambda: losses.mse_loss(lnp.ones(3) * 1j, lnp.ones(3)), TypeError, "real"),
    (lambda: losses.huber_loss(lnp.ones(3), lnp.ones(3), delta=0), ValueError, "delta=0"),
    (lambda: losses.smooth_l1_loss(lnp.ones(3), lnp.ones(3), beta=-1), ValueError, "beta=-1"),
    (lambda: losses.binary_cross_entropy(lnp.asarray([3.0]), lnp.ones(1)), ValueError,
     "binary_cross_entropy_with_logits"),
    (lambda: losses.gaussian_nll_loss(lnp.ones(3), lnp.ones(3), -lnp.ones(3)), ValueError,
     "negative variance"),
    (lambda: losses.gaussian_nll_loss(lnp.ones(3), lnp.ones(3), lnp.ones(2)), ShapeError, "var"),
    (lambda: losses.multi_margin_loss(lnp.ones((2, 3)), [0, 1], p=3), ValueError, "p=3"),
    (lambda: losses.cosine_embedding_loss(lnp.ones((2, 3)), lnp.ones((2, 3)), 1), ShapeError,
     r"must have shape \(2,\)"),
    (lambda: nn.functional.cdist(lnp.ones(3), lnp.ones(3)), ShapeError, "P, M"),
    (lambda: nn.functional.pdist(lnp.ones(3)), ShapeError, "N, M"),
    (lambda: losses.ctc_loss(lnp.ones((3, 2, 4)), [[1], [1]], [4, 3], [1, 1]), ValueError,
     r"input_lengths from 3 to 4; they must be in \[0, 3\]"),
    (lambda: losses.ctc_loss(lnp.ones((3, 2, 4)), [[1], [1]], [3, 3], [1, 2]), ValueError,
     "target_lengths"),
    (lambda: losses.ctc_loss(lnp.ones((3, 2, 4)), [[1], [4]], [3, 3], [1, 1]), IndexError,
     "label 4"),
    (lambda: losses.ctc_loss(lnp.ones((3, 2, 4)), [1, 1, 1], [3, 3], [1, 1]), ShapeError,
     "add up to 2"),
    (lambda: losses.ctc_loss(lnp.ones((3, 2, 4)), [[1], [1]], [3, 3], [1, 1], blank=4), ValueError,
     "blank=4"),
    (lambda: losses.ctc_loss(lnp.ones(4), [1], 1, 1), ShapeError, "T, N, C"),
    (lambda: losses.ctc_loss(lnp.ones((3, 2, 4)), [[1.0], [1.0]], [3, 3], [1, 1]), TypeError,
     "targets"),
])
def test_wrong_arguments(call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        lf.block_until_ready(call())


# ------------------------------------------------------------------ reductions

X, Y = F32([[0.2, 0.7], [0.9, 0.4]]), F32([[0.1, 0.6], [0.3, 0.8]])
ROWS = {case.name: case for case in reversed(FUNCTIONS)}  # the first of each name
REDUCED = [n for n in losses.__all__ if "reduction" in inspect.signature(
    getattr(losses, n)).parameters]


def called(name: str, **options: Any) -> Any:
    """The function on the arrays of its first row in the tables."""
    rng = np.random.default_rng(0)
    inputs = [lnp.asarray(x.make(rng, "float32")) for x in ROWS[name].inputs]
    if name == "ctc_loss":
        inputs = [nn.log_softmax(inputs[0]), [[1, 2], [3, 1], [2, 2], [1, 1]], [6, 5, 6, 3],
                  [2, 2, 1, 0]]
    return getattr(losses, name)(*inputs, **options)


@pytest.mark.parametrize("name", REDUCED)
def test_reduction_none_is_accepted_and_unknown_ones_are_not(name: str) -> None:
    each = called(name, reduction="none")
    close(called(name, reduction=None), each, rtol=0, atol=0)
    assert each.ndim >= 1
    close(called(name, reduction="sum"), lnp.sum(each), rtol=1e-6)
    if name != "ctc_loss":  # whose mean is over labels first
        close(called(name, reduction="mean"), lnp.mean(each), rtol=1e-6)
    with pytest.raises(ValueError, match=f"{name} got reduction='average'.*'mean', 'sum', 'none'"):
        called(name, reduction="average")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", [n for n in REDUCED if n != "ctc_loss"])
def test_half_precision_is_computed_in_single(name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    inputs = [lnp.asarray(x.make(rng, "float32")) for x in ROWS[name].inputs]
    half = [x.astype(dtype) if x.dtype == "float32" else x for x in inputs]
    wide = [x.astype("float32") if x.dtype == dtype else x for x in half]
    got = getattr(losses, name)(*half)
    assert got.dtype == dtype
    close(got, getattr(losses, name)(*wide).astype(dtype), rtol=0, atol=0)
    assert lf.grad(lambda x: getattr(losses, name)(x, *half[1:], reduction="sum"))(
        half[0]).dtype == dtype


def test_sum_of_many_halves_does_not_overflow_before_the_mean() -> None:
    x = lnp.full((4096,), 300.0, "float16")
    assert float(losses.mse_loss(x, lnp.zeros_like(x), "mean")) == INF  # 90000 is no float16
    assert float(losses.l1_loss(x, lnp.zeros_like(x))) == 300.0


# ------------------------------------------------------------------ stability

@pytest.mark.parametrize("name, want", [
    ("binary_cross_entropy_with_logits", [1000.0, 0.0, 0.0, 1000.0]),
    ("soft_margin_loss", [1000.0, 0.0, 0.0, 1000.0])])
def test_losses_of_huge_logits(name: str, want: list[float]) -> None:
    x = lnp.asarray([1000.0, -1000.0, 1000.0, -1000.0])
    t = lnp.asarray([0.0, 0.0, 1.0, 1.0])
    t = 2 * t - 1 if name == "soft_margin_loss" else t
    close(getattr(losses, name)(x, t, reduction="none"), F32(want))
    grad = lf.grad(lambda x: getattr(losses, name)(x, t, reduction="sum"))(x)
    close(grad, F32([1.0, 0.0, 0.0, -1.0]))


def test_small_losses_keep_their_digits() -> None:
    x, t = lnp.asarray([-30.0, 30.0]), lnp.asarray([0.0, 1.0])
    close(losses.binary_cross_entropy_with_logits(x, t, reduction="none"),
          F32([9.3576e-14, 9.3576e-14]), rtol=1e-4)
    close(losses.log_cosh(lnp.asarray([1e-4, 300.0])), F32([5e-9, 300.0 - math.log(2)]), rtol=1e-5)
    near = lf.grad(losses.log_cosh_loss)(lnp.asarray([0.999999, 1.000001]), lnp.zeros(2), "sum")
    close(near, F32(np.tanh([0.999999, 1.000001])), rtol=1e-5)


def test_binary_cross_entropy_at_certainty() -> None:
    """Logarithms end at -100, and nothing is NaN."""
    p, t = lnp.asarray([0.0, 0.0, 1.0, 1.0]), lnp.asarray([0.0, 1.0, 0.0, 1.0])
    loss = losses.binary_cross_entropy(p, t, reduction="none")
    close(loss, F32([0.0, 100.0, 100.0, 0.0]))
    grad = lf.grad(lambda p: losses.binary_cross_entropy(p, t, reduction="sum"))(p)
    assert np.isfinite(np.asarray(grad)).all()
    traced = lf.jit(losses.binary_cross_entropy)(lnp.asarray([1.5]), lnp.ones(1) * 0.5)
    assert np.isnan(traced)  # where values are not known


def test_divergence_of_classes_without_probability() -> None:
    x, t = lnp.asarray([[0.0, -INF]]), lnp.asarray([[1.0, 0.0]])
    loss, grad = lf.value_and_grad(losses.kl_div)(x, t, "sum")
    assert float(loss) == 0.0
    close(grad, F32([[-1.0, 0.0]]))


def test_squares_of_huge_errors_are_not_formed() -> None:
    x = lnp.asarray([1e30])
    for f in (losses.huber_loss, losses.smooth_l1_loss):
        loss, grad = lf.value_and_grad(f)(x, lnp.zeros(1))
        close(loss, F32(1e30))
        close(grad, F32([1.0]))


def test_distances_at_zero_have_derivative_zero() -> None:
    x = lnp.ones((3, 2))
    for f in (lambda x: nn.functional.cdist(x, x), nn.functional.pdist,
              lambda x: nn.functional.pairwise_distance(x, x, eps=0.0)):
        close(lf.grad(lambda x, f=f: lnp.sum(f(x)))(x), np.zeros((3, 2), "float32"))
    zero = lf.grad(lambda x: lnp.sum(nn.functional.cosine_similarity(x, x)))(lnp.zeros((1, 2)))
    assert np.isfinite(np.asarray(zero)).all()


def test_variance_below_eps_is_differentiated_as_it_is() -> None:
    """PyTorch raises it without recording; so the model can still learn to raise it."""
    v = lnp.asarray([1e-9])
    grad = lf.grad(lambda v: losses.gaussian_nll_loss(lnp.zeros(1), lnp.ones(1), v, eps=0.1))(v)
    close(grad, F32([0.5 * (1 / 0.1 - 1 / 0.01)]), rtol=1e-5)


# ------------------------------------------------------------------ ctc

def test_ctc_targets_that_cannot_be_aligned() -> None:
    lp = nn.log_softmax(lnp.asarray(np.random.default_rng(0).standard_normal((3, 2, 4))))
    targets, times, lengths = [[1, 1], [1, 2]], [2, 3], [2, 2]  # 1 1 needs a blank between
    each = losses.ctc_loss(lp, targets, times, lengths, reduction="none")
    assert float(each[0]) == INF and np.isfinite(each[1])
    zeroed = losses.ctc_loss(lp, targets, times, lengths, reduction="none", zero_infinity=True)
    assert float(zeroed[0]) == 0.0 and float(zeroed[1]) == float(each[1])
    grad = lf.grad(lambda x: losses.ctc_loss(x, targets, times, lengths, zero_infinity=True,
                                             reduction="sum"))(lp)
    assert np.isfinite(np.asarray(grad)).all() and not np.asarray(grad[:, 0]).any()


def test_ctc_sums_over_all_alignments() -> None:
    rng = np.random.default_rng(1)
    lp = np.asarray(nn.log_softmax(lnp.asarray(rng.standard_normal((4, 3)), "float64")))

    def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
        kept = [c for i, c in enumerate(path) if not i or c != path[i - 1]]
        return tuple(c for c in kept if c)

    for target in ((), (1,), (1, 1), (1, 2), (2, 1, 2)):
        paths = [p for p in np.ndindex(3, 3, 3, 3) if collapsed(p) == target]
        total = sum(math.exp(sum(lp[t, c] for t, c in enumerate(p))) for p in paths)
        got = losses.ctc_loss(lp, np.asarray(target or (0,)), 4, len(target), reduction="none")
        close(got, np.asarray(-math.log(total)), rtol=1e-12)


def test_ctc_of_empty_inputs_and_targets() -> None:
    lp = lnp.log(lnp.full((2, 3, 2), 0.5))
    each = losses.ctc_loss(lp, [[1], [1], [1]], [0, 0, 2], [0, 1, 0], reduction="none")
    close(each, F32([0.0, INF, 2 * math.log(2)]))


def test_ctc_lengths_may_be_traced() -> None:
    lp = nn.log_softmax(lnp.asarray(np.random.default_rng(0).standard_normal((5, 2, 4))))
    args = (lp, lnp.asarray([[1, 2], [3, 0]]), lnp.asarray([5, 4]), lnp.asarray([2, 1]))
    close(lf.jit(losses.ctc_loss)(*args), losses.ctc_loss(*args), rtol=1e-6)
    with pytest.raises(ShapeError, match=r"\[N, S\] while a function is traced"):
        lf.jit(losses.ctc_loss)(lp, lnp.asarray([1, 2, 3]), *args[2:])


# ------------------------------------------------------------------ names of optax

def test_names_of_optax_are_losses_of_each_example() -> None:
    x, y = F32([[1, 2], [3, 1]]), np.asarray([0, 1])
    close(losses.softmax_cross_entropy_with_integer_labels(x, y), F32(reference(x, y)), rtol=1e-6)
    close(losses.softmax_cross_entropy(x, np.eye(2, dtype="int32")[y]), F32(reference(x, y)),
          rtol=1e-6)
    with pytest.raises(IndexError, match="label -100"):
        losses.softmax_cross_entropy_with_integer_labels(x, [-100, 0])
    close(losses.l2_loss(F32([2.0]), F32([1.0])), F32([0.5]))
    close(losses.squared_error(F32([2.0])), F32([4.0]))
