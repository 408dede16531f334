"""Losses: every option beside PyTorch's function of the same name."""

import functools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

import lucidfn.numpy as lnp
from lucidfn import nn

from .table import B, F, Fixed, FunctionCase, I

ff = nn.functional
REDUCTIONS = ("mean", "sum", "none")


def named(name: str, inputs: tuple[Any, ...], *, prepare: Any = None, order: int = 2,
          reductions: tuple[str, ...] = REDUCTIONS, **options: Any) -> Iterator[FunctionCase]:
    """Rows for a function that PyTorch has under the same name, with the same options."""
    shown = ", ".join(f"{k}={v}" for k, v in options.items())
    # One reduction in full is enough for the second order; the others are sums of it.
    for reduction in reductions:
        call = dict(options, reduction=reduction)
        yield FunctionCase(
            name, functools.partial(_ours, name, prepare, call), inputs,
            functools.partial(_theirs, name, prepare, call),
            order=order if reduction == "mean" else 1,
            id=f"{name}({shown + ', ' if shown else ''}{reduction})")


def _ours(name: str, prepare: Any, options: Any, *xs: Any) -> Any:
    return getattr(ff, name)(*(prepare(ff, *xs) if prepare else xs), **options)


def _theirs(name: str, prepare: Any, options: Any, T: Any, *xs: Any) -> Any:
    made = {k: T.tensor(v, dtype=xs[0].dtype) if k in ("weight", "pos_weight") else v
            for k, v in options.items()}
    f = T.nn.functional
    with warnings.catch_warnings():  # kl_div warns about its mean
        warnings.simplefilter("ignore")
        return getattr(f, name)(*(prepare(f, *xs) if prepare else xs), **made)


def signs(f: Any, *xs: Any) -> tuple[Any, ...]:
    """The last input, 0 or 1, as -1 or 1."""
    return (*xs[:-1], 2 * xs[-1] - 1)


def logs(f: Any, x: Any, *rest: Any) -> tuple[Any, ...]:
    return (f.log_softmax(x, -1), *rest)


def both_logs(f: Any, x: Any, y: Any) -> tuple[Any, ...]:
    return f.log_softmax(x, -1), f.log_softmax(y, -1)


LOGITS, LABELS = F(5, 4), I(5, hi=4)
SOME_IGNORED = Fixed(np.array([1, -100, 3, -100, 0], "int32"))
WEIGHT = (0.2, 1.5, 0.7, 3.0)
SHARES = F(5, 4, lo=0.05, hi=0.95)
POINTS = F(4, 3)


def classes() -> Iterator[FunctionCase]:
    yield from named("cross_entropy", (LOGITS, LABELS))
    yield from named("cross_entropy", (LOGITS, SOME_IGNORED), weight=WEIGHT)
    yield from named("cross_entropy", (LOGITS, LABELS), weight=WEIGHT, ignore_index=1)
    yield from named("cross_entropy", (LOGITS, SOME_IGNORED), label_smoothing=0.1)
    yield from named("cross_entropy", (LOGITS, SOME_IGNORED), weight=WEIGHT, label_smoothing=0.3)
    yield from named("cross_entropy", (LOGITS, SHARES))
    yield from named("cross_entropy", (LOGITS, SHARES), weight=WEIGHT, label_smoothing=0.2)
    yield from named("cross_entropy", (F(4), I(hi=4)), reductions=("mean", "none"))
    yield from named("nll_loss", (LOGITS, LABELS), prepare=logs)
    yield from named("nll_loss", (LOGITS, SOME_IGNORED), prepare=logs, weight=WEIGHT)
    yield from named("nll_loss", (LOGITS, LABELS), prepare=logs, weight=WEIGHT, ignore_index=2)
    for axis, labels in ((-1, I(2, 3, hi=4)), (1, I(2, 3, hi=4))):
        shape = (2, 3, 4) if axis == -1 else (2, 4, 3)
        for name in ("cross_entropy", "nll_loss"):
            yield FunctionCase(
                name, functools.partial(lambda f, axis, x, y: f(x, y, WEIGHT, axis=axis),
                                        getattr(ff, name), axis), (F(*shape), labels),
                functools.partial(lambda name, axis, T, x, y: getattr(T.nn.functional, name)(
                    x.movedim(axis, 1), y, T.tensor(WEIGHT, dtype=x.dtype)), name, axis),
                id=f"{name}(dense, axis={axis})")


def yes_and_no() -> Iterator[FunctionCase]:
    binary = (SHARES, SHARES)
    yield from named("binary_cross_entropy", binary)
    yield from named("binary_cross_entropy", binary, weight=WEIGHT)
    logits = (F(5, 4, lo=-6, hi=6), SHARES)
    name = "binary_cross_entropy_with_logits"
    yield from named(name, logits)
    yield from named(name, logits, weight=WEIGHT)
    yield from named(name, logits, pos_weight=WEIGHT)
    yield from named(name, logits, weight=(0.1, 1.0, 2.0, 0.5), pos_weight=WEIGHT)
    yield FunctionCase(name, lambda x, y: ff.binary_cross_entropy_with_logits(x, y * 1.0),
                       (F(6, lo=-9, hi=9), B(6)),
                       lambda T, x, y: T.nn.functional.binary_cross_entropy_with_logits(
                           x, y.to(x.dtype)), id="hard targets")
    yield from named("multilabel_soft_margin_loss", logits)
    yield from named("multilabel_soft_margin_loss", logits, weight=WEIGHT)
    yield from named("soft_margin_loss", (F(5, 4), I(5, 4, hi=2)), prepare=signs)
    for options in ({}, {"alpha": -1.0, "gamma": 1.5}, {"alpha": 0.6, "gamma": 0.0}):
        yield FunctionCase("sigmoid_focal_loss",
                           functools.partial(lambda o, x, t: ff.sigmoid_focal_loss(x, t, **o),
                                             options), logits,
                           functools.partial(focal, **options), id=f"sigmoid_focal_loss({options})")


def focal(T: Any, x: Any, t: Any, alpha: float = 0.25, gamma: float = 2.0) -> Any:
    """The formula of arXiv:1708.02002."""
    p = T.sigmoid(x)
    ce = T.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none")
    loss = ce * (1 - (p * t + (1 - p) * (1 - t))) ** gamma
    return loss * (alpha * t + (1 - alpha) * (1 - t)) if alpha >= 0 else loss


def numbers() -> Iterator[FunctionCase]:
    pair = (F(4, 3, lo=-2, hi=2), F(4, 3, lo=-2, hi=2))
    weighted = (*pair, F(4, 3, lo=0.1, hi=2))
    for name in ("mse_loss", "l1_loss", "huber_loss"):
        yield from named(name, pair)
        yield FunctionCase(
            name, functools.partial(lambda f, x, y, w: f(x, y, weight=w), getattr(ff, name)),
            weighted, functools.partial(lambda name, T, x, y, w: getattr(T.nn.functional, name)(
                x, y, weight=w), name), id=f"{name}(weight)")
    yield from named("huber_loss", pair, delta=0.3)
    yield from named("smooth_l1_loss", pair)
    yield from named("smooth_l1_loss", pair, beta=2.5)
    yield from named("smooth_l1_loss", pair, beta=0.0)
    variance = (*pair, F(4, 3, lo=0.2, hi=2))
    yield from named("gaussian_nll_loss", variance)
    yield from named("gaussian_nll_loss", variance, full=True, eps=1e-3)
    yield from named("gaussian_nll_loss", (*pair, F(4, lo=0.2, hi=2)), reductions=("mean",))
    yield from named("gaussian_nll_loss", (*pair, F(4, 1, lo=0.2, hi=2)), reductions=("mean",))
    # The variance is raised to eps but differentiated as it is, so differences do not see it.
    yield from named("gaussian_nll_loss", (*pair, F(4, 3, lo=0.5, hi=1)), reductions=("sum",),
                     eps=0.4)
    counts = (F(4, 3, lo=0.1, hi=2), F(4, 3, lo=0, hi=6))
    yield from named("poisson_nll_loss", counts)
    yield from named("poisson_nll_loss", counts, full=True)
    yield from named("poisson_nll_loss", counts, log_input=False, full=True, eps=1e-2)
    yield FunctionCase("log_cosh_loss", ff.log_cosh_loss, pair,
                       lambda T, x, y: T.log(T.cosh(x - y)).mean())
    yield FunctionCase("hinge_loss", ff.hinge_loss, pair,
                       lambda T, x, y: (1 - x * y).clamp_min(0).mean())
    yield FunctionCase("dice_loss", ff.dice_loss, (SHARES, SHARES), lambda T, x, y: (
        1 - (2 * (x * y).sum(1) + 1e-6) / (x.sum(1) + y.sum(1) + 1e-6)).mean())


def divergences() -> Iterator[FunctionCase]:
    for reduction in (*REDUCTIONS, "batchmean"):
        yield from named("kl_div", (LOGITS, SHARES), prepare=logs, reductions=(reduction,))
        yield from named("kl_div", (LOGITS, LOGITS), prepare=both_logs, reductions=(reduction,),
                         log_target=True)


def margins() -> Iterator[FunctionCase]:
    three = (POINTS, POINTS, POINTS)
    for options in ({}, {"margin": 2.0, "swap": True}, {"p": 1.0}, {"p": 3.0, "eps": 1e-3}):
        yield from named("triplet_margin_loss", three, **options)
    yield from named("margin_ranking_loss", (F(5), F(5), I(5, hi=2)), prepare=signs)
    yield from named("margin_ranking_loss", (F(5), F(5), I(5, hi=2)), prepare=signs, margin=0.7)
    yield from named("hinge_embedding_loss", (POINTS, I(4, 3, hi=2)), prepare=signs)
    yield from named("hinge_embedding_loss", (POINTS, I(4, 3, hi=2)), prepare=signs, margin=0.3)
    vectors = (POINTS, POINTS, I(4, hi=2))
    yield from named("cosine_embedding_loss", vectors, prepare=signs)
    yield from named("cosine_embedding_loss", vectors, prepare=signs, margin=0.4)
    yield from named("cosine_embedding_loss", (F(3), F(3), I(hi=2)), prepare=signs,
                     reductions=("mean",))
    yield from named("multi_margin_loss", (LOGITS, LABELS))
    yield from named("multi_margin_loss", (LOGITS, LABELS), p=2, margin=0.5, weight=WEIGHT)
    several = Fixed(np.array([[1, 3, -1, 0], [0, -1, 1, 2], [3, 2, 1, 0], [-1, 2, 2, 2],
                              [2, 0, 1, -1]], "int32"))
    yield from named("multilabel_margin_loss", (LOGITS, several))
    yield from named("multilabel_margin_loss", (F(4), Fixed(np.array([2, 0, -1, 1], "int32"))),
                     reductions=("mean",))


PADDED = np.array([[1, 2, 2], [3, 1, 0], [2, 2, 2], [1, 0, 0]], "int32")
TIMES, LENGTHS = np.array([6, 5, 6, 3], "int32"), np.array([3, 2, 3, 0], "int32")


def sequences() -> Iterator[FunctionCase]:
    lengths = {"input_lengths": TIMES, "target_lengths": LENGTHS}

    def alignment(targets: np.ndarray, shape: tuple[int, ...], times: Any, lengths: Any,
                  reductions: Any = REDUCTIONS, **options: Any) -> Iterator[FunctionCase]:
        def prepare(f: Any, x: Any) -> tuple[Any, ...]:
            t = targets if f is ff else tensor(x, targets)
            a, b = (times, lengths) if f is ff else (tensor(x, times), tensor(x, lengths))
            return f.log_softmax(x, -1), t, a, b

        yield from named("ctc_loss", (F(*shape),), prepare=prepare, reductions=reductions,
                         **options)

    def tensor(x: Any, value: Any) -> Any:
        return x.new_tensor(value.tolist()).long()

    yield from alignment(PADDED, (6, 4, 4), TIMES, LENGTHS)
    flat = np.concatenate([row[:n] for row, n in zip(PADDED, LENGTHS, strict=True)])
    yield from alignment(flat, (6, 4, 4), TIMES, LENGTHS, ("mean",))
    yield from alignment(PADDED % 3, (6, 4, 4), TIMES, LENGTHS, ("mean",), blank=3)
    yield from alignment(PADDED[0], (6, 4), np.array(6), np.array(3), ("mean", "none"))
    short = {**lengths, "input_lengths": np.array([6, 5, 4, 3], "int32")}
    yield from alignment(PADDED, (6, 4, 4), short["input_lengths"], LENGTHS, ("sum",),
                         zero_infinity=True)


def for_each_example() -> Iterator[FunctionCase]:
    """optax's names."""
    yield FunctionCase("softmax_cross_entropy", ff.softmax_cross_entropy, (LOGITS, SHARES),
                       lambda T, x, y: T.nn.functional.cross_entropy(x, y, reduction="none"))
    name = "softmax_cross_entropy_with_integer_labels"
    yield FunctionCase(name, getattr(ff, name), (LOGITS, LABELS),
                       lambda T, x, y: T.nn.functional.cross_entropy(x, y, reduction="none"))
    name = "sigmoid_binary_cross_entropy"
    yield FunctionCase(name, getattr(ff, name), (LOGITS, SHARES), lambda T, x, y: (
        T.nn.functional.binary_cross_entropy_with_logits(x, y, reduction="none")))
    yield FunctionCase("squared_error", ff.squared_error, (POINTS, POINTS),
                       lambda T, x, y: (x - y) ** 2)
    yield FunctionCase("l2_loss", ff.l2_loss, (POINTS,), lambda T, x: 0.5 * x ** 2)
    yield FunctionCase("log_cosh", ff.log_cosh, (POINTS, POINTS),
                       lambda T, x, y: T.log(T.cosh(x - y)))


def metrics() -> Iterator[FunctionCase]:
    logits, labels = F(40, 6), I(40, hi=6)
    guesses = I(40, hi=6)

    def right(T: Any, x: Any, y: Any, k: int) -> Any:
        return (x.topk(k, -1).indices == y[:, None]).any(-1).to(T.float32).mean()

    yield FunctionCase("accuracy", ff.accuracy, (logits, labels),
                       lambda T, x, y: right(T, x, y, 1), gradients=False)
    yield FunctionCase("top_k_accuracy", functools.partial(ff.top_k_accuracy, k=3),
                       (logits, labels), lambda T, x, y: right(T, x, y, 3), gradients=False)
    yield FunctionCase("confusion_matrix", lambda p, y: ff.confusion_matrix(p, y, 6),
                       (guesses, labels), lambda T, p, y: (y * 6 + p).bincount(minlength=36)
                       .reshape(6, 6), gradients=False)
    for name in ("precision", "recall", "f1_score"):
        for average in ("macro", "micro", "weighted", "none"):
            yield FunctionCase(
                name, functools.partial(
                    lambda f, average, p, y: lnp.asarray(f(p, y, 6, average)), getattr(ff, name),
                    average), (guesses, labels), gradients=False, id=f"{name}({average})")


CASES = [*classes(), *yes_and_no(), *numbers(), *divergences(), *margins(), *sequences(),
         *for_each_example(), *metrics()]
