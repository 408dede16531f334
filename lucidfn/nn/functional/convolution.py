"""Convolutions (correlations, as everywhere in machine learning) and their transposes.

Data is channels-last, [N, *space, C] or one example [*space, C]; kernels of both directions are
[*window, C / groups, O], from C input to O output channels in contiguous groups. PyTorch has
[O, C / groups, *window] for `conv2d`, a permutation of axes, and [C, O / groups, *window] for
`conv_transpose2d`: there the groups, which our O holds, also move into C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lucidfn import ops
from lucidfn.array import promote, wrap
from lucidfn.core.trace import shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.ops.conv import dilated

Sizes = int | Sequence[int]
Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]
Fail = Callable[[str], Exception]  # makes the error of a message

LAYOUTS = {1: "N L C", 2: "N H W C", 3: "N D H W C"}


# ------------------------------------------------------------------ hyperparameters

def is_int(x: Any) -> bool:
    return isinstance(x, (int, np.integer)) and not isinstance(x, bool)


def per_axis(fail: Fail, name: str, value: Any, axes: int, least: int) -> Ints:
    """A hyperparameter with one entry for each axis, from an integer or a tuple of them."""
    given = (value,) * axes if is_int(value) else value
    fits = (isinstance(given, (tuple, list)) and len(given) == axes
            and all(is_int(v) and v >= least for v in given))
    if not fits:
        several = f" or {axes} of them" if axes > 1 else ""
        raise fail(f"got {name}={value!r}; expected an integer of at least {least}{several}")
    return tuple([int(v) for v in given])


def check_size(fail: Fail, name: str, value: Any, least: int = 1) -> None:
    if not is_int(value) or value < least:
        raise fail(f"got {name}={value!r}; expected an integer of at least {least}")


def conv_pads(fail: Fail, padding: Any, window: Ints, stride: Ints, dilation: Ints) -> Pads:
    """(low, high) for each axis. "same" puts the odd element at the end."""
    if padding == "valid":
        return ((0, 0),) * len(window)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise fail(f"got padding='same' with stride {stride}; it is defined for stride 1 only: "
                       "give the padding as integers")
        total = [d * (k - 1) for k, d in zip(window, dilation, strict=True)]
        return tuple([(t // 2, t - t // 2) for t in total])
    if isinstance(padding, str):
        raise fail(f"got padding={padding!r}; expected 'same', 'valid' or integers")
    return tuple([(p, p) for p in per_axis(fail, "padding", padding, len(window), 0)])


def check_groups(fail: Fail, groups: Any, inputs: int, outputs: int) -> None:
    if not is_int(groups) or groups < 1 or inputs % groups or outputs % groups:
        raise fail(f"got groups={groups!r}; it must divide the {inputs} input and the {outputs} "
                   "output channels")


def check_output_padding(fail: Fail, extra: Ints, stride: Ints, dilation: Ints) -> None:
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise fail(f"got output_padding {extra}; it must be smaller than the stride {stride} or "
                   f"the dilation {dilation}")


def failing(name: str) -> Fail:
    return lambda message: ValueError(f"{name} {message}")


# ------------------------------------------------------------------ operands

def operands(name: str, axes: int, x: Any, weight: Any, bias: Any,
             groups: int) -> tuple[list[Any], bool]:
    """x, weight and the bias if any, raw and of one dtype; and whether it is weak."""
    raws, weak = promote(x, weight, *([] if bias is None else [bias]))
    problem = mismatch(axes, raws, groups)
    if problem:
        layout = LAYOUTS[axes].split()
        window = ", ".join([*layout[1:-1], "C/groups", "O"])
        raise ShapeError(f"{name} got x {type_of(raws[0])} as [{', '.join(layout)}] and weight "
                         f"{type_of(raws[1])} as [{window}] with groups={groups!r}; {problem}")
    check_groups(failing(name), groups, shape_of(raws[0])[-1], shape_of(raws[1])[-1])
    return raws, weak


def mismatch(axes: int, raws: Sequence[Any], groups: int) -> str:
    """What is wrong with the shapes; empty if nothing is."""
    x, w = shape_of(raws[0]), shape_of(raws[1])
    if len(w) != axes + 2 or len(x) not in (axes + 1, axes + 2):
        return (f"x must have {axes + 2} axes ({axes + 1} for one example), the weight "
                f"{axes + 2}")
    if is_int(groups) and x[-1] != w[-2] * groups:
        first = len(x) - axes - 1
        hint = "" if x[first] != w[-2] * groups else (
            f"; x looks channels-first: lnp.moveaxis(x, {first}, -1) makes it channels-last")
        return (f"x has {x[-1]} channels on the last axis, and the weight takes "
                f"{w[-2]} * {groups}{hint}")
    if min(w[:-2]) < 1:
        return "the window is empty"
    if len(raws) > 2 and shape_of(raws[2]) != (w[-1],):
        return f"the bias {type_of(raws[2])} must be [O], with {w[-1]} elements"
    return ""


def apply_conv(raws: Sequence[Any], weak: bool, axes: int, **params: Any) -> Any:
    """The primitive and the bias, for a batch or for one example."""
    x, w, *bias = raws
    single = len(shape_of(x)) == axes + 1
    if single:
        x = ops.reshape(x, shape=(1, *shape_of(x)))
    out = ops.conv(x, w, **params)
    if bias:
        out = ops.add(out, bias[0])
    return wrap(ops.reshape(out, shape=shape_of(out)[1:]) if single else out, weak)


# ------------------------------------------------------------------ convolutions

def convolve(name: str, axes: int, x: Any, weight: Any, bias: Any, stride: Sizes,
             padding: str | Sizes, dilation: Sizes, groups: int) -> Any:
    """conv1d, conv2d and conv3d."""
    fail = failing(name)
    raws, weak = operands(name, axes, x, weight, bias, groups)
    window = shape_of(raws[1])[:-2]
    stride = per_axis(fail, "stride", stride, axes, 1)
    dilation = per_axis(fail, "dilation", dilation, axes, 1)
    pads = conv_pads(fail, padding, window, stride, dilation)
    space = shape_of(raws[0])[-1 - axes:-1]
    padded = tuple([n + lo + hi for n, (lo, hi) in zip(space, pads, strict=True)])
    reach = tuple([dilated(k, d) for k, d in zip(window, dilation, strict=True)])
    if any(k > n for k, n in zip(reach, padded, strict=True)):
        raise ShapeError(
            f"{name} got x {type_of(raws[0])} as [{', '.join(LAYOUTS[axes].split())}] and a window "
            f"{window} that spans {reach}, larger than the padded space {padded}; take larger "
            "data, more padding, or a smaller window")
    return apply_conv(raws, weak, axes, stride=stride, padding=pads, x_dilation=(1,) * axes,
                      w_dilation=dilation, groups=groups)


def conv1d(x: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: str | Sizes = 0,
           dilation: Sizes = 1, groups: int = 1) -> Any:
    """Convolution of x [N, L, C] with weight [K, C / groups, O], as `conv2d`."""
    return convolve("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(x: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: str | Sizes = 0,
           dilation: Sizes = 1, groups: int = 1) -> Any:
    """Convolution of x [N, H, W, C] with weight [KH, KW, C / groups, O], plus bias [O].

    out[n, p, o] = sum over k, c of x[n, p stride + k dilation - padding, c] weight[k, c, o], with
    zeros outside of x; channel o sees the C / groups channels of its group. padding is a number
    for both ends of each axis, or "valid" (none), or "same" (the output is as large as x; stride 1
    only). x may be one example, without N. ShapeError where shapes do not fit, ValueError for other
    arguments. The size of each axis becomes
    (n + 2 padding - dilation (k - 1) - 1) // stride + 1 (arXiv:1603.07285).

    >>> import lucidfn.numpy as lnp
    >>> conv2d(lnp.ones((1, 8, 8, 3)), lnp.ones((3, 3, 3, 5)), stride=2, padding=1).shape
    (1, 4, 4, 5)
    """
    return convolve("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


def conv3d(x: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: str | Sizes = 0,
           dilation: Sizes = 1, groups: int = 1) -> Any:
    """Convolution of x [N, D, H, W, C] with weight [KD, KH, KW, C / groups, O], as `conv2d`."""
    return convolve("conv3d", 3, x, weight, bias, stride, padding, dilation, groups)


# ------------------------------------------------------------------ transposed convolutions

def convolve_transposed(name: str, axes: int, x: Any, weight: Any, bias: Any, stride: Sizes,
                        padding: Sizes, output_padding: Sizes, groups: int,
                        dilation: Sizes) -> Any:
    """conv_transpose1d, 2d and 3d: a convolution of the stretched x with the flipped window."""
    fail = failing(name)
    (x, weight, *rest), weak = operands(name, axes, x, weight, bias, groups)
    window, space = shape_of(weight)[:-2], shape_of(x)[-1 - axes:-1]
    stride = per_axis(fail, "stride", stride, axes, 1)
    dilation = per_axis(fail, "dilation", dilation, axes, 1)
    padding = per_axis(fail, "padding", padding, axes, 0)
    extra = per_axis(fail, "output_padding", output_padding, axes, 0)
    check_output_padding(fail, extra, stride, dilation)
    sizes = transposed_sizes(space, window, stride, padding, extra, dilation)
    if min(sizes) < 1:
        raise ShapeError(f"{name} got x {type_of(x)} as [{', '.join(LAYOUTS[axes].split())}] and a "
                         f"window {window}; the output would be {sizes}: take less padding than "
                         f"{padding}, or larger data")
    ends = [dilated(k, d) - 1 - p for k, d, p in zip(window, dilation, padding, strict=True)]
    flipped = ops.flip(weight, axes=tuple(range(axes)))
    return apply_conv((x, flipped, *rest), weak, axes, stride=(1,) * axes, x_dilation=stride,
                      padding=tuple([(e, e + o) for e, o in zip(ends, extra, strict=True)]),
                      w_dilation=dilation, groups=groups)


def transposed_sizes(space: Ints, window: Ints, stride: Ints, padding: Ints, extra: Ints,
                     dilation: Ints) -> Ints:
    """The output's space axes of a transposed convolution."""
    return tuple([
        (n - 1) * s - 2 * p + dilated(k, d) + e for n, k, s, p, e, d in
        zip(space, window, stride, padding, extra, dilation, strict=True)])


def conv_transpose1d(x: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes = 0,
                     output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1) -> Any:
    """Transposed convolution of x [N, L, C] with weight [K, C / groups, O], as
    `conv_transpose2d`."""
    return convolve_transposed("conv_transpose1d", 1, x, weight, bias, stride, padding,
                               output_padding, groups, dilation)


def conv_transpose2d(x: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes = 0,
                     output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1) -> Any:
    """Transposed convolution of x [N, H, W, C] with weight [KH, KW, C / groups, O], plus bias [O].

    Each element spreads over a window of the output: out[n, p stride + k dilation - padding, o]
    collects x[n, p, c] weight[k, c, o], which is the derivative of a convolution in its input. The
    size of each axis becomes (n - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1
    (arXiv:1603.07285); output_padding, smaller than the stride or the dilation, chooses among the
    sizes that a strided convolution maps to n. x may be one example, without N. ShapeError where
    shapes do not fit, ValueError for other arguments.

    >>> import lucidfn.numpy as lnp
    >>> x, weight = lnp.ones((1, 4, 4, 3)), lnp.ones((3, 3, 3, 5))
    >>> conv_transpose2d(x, weight, stride=2, padding=1, output_padding=1).shape
    (1, 8, 8, 5)
    """
    return convolve_transposed("conv_transpose2d", 2, x, weight, bias, stride, padding,
                               output_padding, groups, dilation)


def conv_transpose3d(x: Any, weight: Any, bias: Any = None, stride: Sizes = 1, padding: Sizes = 0,
                     output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1) -> Any:
    """Transposed convolution of x [N, D, H, W, C] with weight [KD, KH, KW, C / groups, O], as
    `conv_transpose2d`."""
    return convolve_transposed("conv_transpose3d", 3, x, weight, bias, stride, padding,
                               output_padding, groups, dilation)


__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
           "conv_transpose3d"]
