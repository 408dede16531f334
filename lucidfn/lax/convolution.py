"""Convolutions in any layout, brought to the one primitive by permuting axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lucidfn import ops
from lucidfn.array import wrap
from lucidfn.core.trace import shape_of, type_of
from lucidfn.errors import ShapeError
from lucidfn.lax._operands import apply, array, permuted, same_dtype, sizes
from lucidfn.lax.contraction import PrecisionLike, convert, wider
from lucidfn.ops.conv import dilated
from lucidfn.ops.shape import inverse
from lucidfn.ops.window import offsets, spread, taps

Padding = str | Sequence[tuple[int, int]]


class ConvDimensionNumbers(NamedTuple):
    """Where the axes of a convolution are: (batch, feature, *space) of the input, (out feature,
    in feature, *space) of the kernel, (batch, feature, *space) of the output."""

    lhs_spec: Sequence[int]
    rhs_spec: Sequence[int]
    out_spec: Sequence[int]


ConvGeneralDilatedDimensionNumbers = (
    None | ConvDimensionNumbers | tuple[str, str, str])


def conv_dimension_numbers(lhs_shape: Sequence[int], rhs_shape: Sequence[int],
                           dimension_numbers: Any) -> ConvDimensionNumbers:
    """The positions of axes from three strings such as ("NHWC", "HWIO", "NHWC").

    N and C name the batch and feature axes of input and output, O and I those of the kernel; every
    other letter a spatial axis. None means ("NCHW", "OIHW", "NCHW").
    """
    if isinstance(dimension_numbers, ConvDimensionNumbers):
        return dimension_numbers
    n = len(lhs_shape)
    if len(rhs_shape) != n:
        raise ShapeError(f"a convolution takes an input and a kernel of as many axes, got shapes "
                         f"{tuple(lhs_shape)} and {tuple(rhs_shape)}")
    if dimension_numbers is None:
        return ConvDimensionNumbers(*[tuple(range(n))] * 3)
    if not (isinstance(dimension_numbers, (list, tuple)) and len(dimension_numbers) == 3):
        raise TypeError(f"dimension_numbers must be None, three strings or ConvDimensionNumbers, "
                        f"got {dimension_numbers!r}")
    lhs, rhs, out = dimension_numbers
    specs = []
    for spec, first in ((lhs, "NC"), (rhs, "OI"), (out, "NC")):
        if len(spec) != n or len(set(spec)) != n or not set(first) <= set(spec):
            raise ValueError(f"{spec!r} must have one letter for each of {n} axes, with "
                             f"{first[0]} and {first[1]} among them")
        if set(spec) - set(first) != set(rhs) - set("OI"):
            raise ValueError(f"{dimension_numbers} name different spatial axes")
        # Spatial axes are taken in the kernel's order.
        space = [c for c in rhs if c not in "OI"]
        specs.append(tuple([spec.index(c) for c in (*first, *space)]))
    return ConvDimensionNumbers(*specs)


def padtype_to_pads(in_shape: Sequence[int], window_shape: Sequence[int],
                    window_strides: Sequence[int], padding: str) -> list[tuple[int, int]]:
    """(low, high) for each axis: none for "VALID"; for "SAME" as much as makes the output
    ceil(size / stride) long, the odd one at the end ("SAME_LOWER": at the beginning)."""
    kind = str(getattr(padding, "name", padding)).upper()
    if kind == "VALID":
        return [(0, 0)] * len(in_shape)
    if kind not in ("SAME", "SAME_LOWER"):
        raise ValueError(f"padding must be 'SAME', 'SAME_LOWER', 'VALID' or pairs (low, high), "
                         f"got {padding!r}")
    pads = []
    for n, k, s in zip(in_shape, window_shape, window_strides, strict=True):
        total = max(0, (-(-n // s) - 1) * s + k - n)
        pads.append((total // 2, total - total // 2) if kind == "SAME" else
                    (total - total // 2, total // 2))
    return pads


def _canonical(lhs: Any, rhs: Any, d: ConvDimensionNumbers) -> tuple[Any, Any]:
    """[N, *space, C] and [*window, C/G, O]."""
    n, c, *space = d.lhs_spec
    o, i, *window = d.rhs_spec
    return (permuted(lhs, (n, *space, c)), permuted(rhs, (*window, i, o)))


def _to_spec(out: Any, spec: Sequence[int]) -> Any:
    """[N, *space, C] to the layout of an output."""
    n, c, *space = spec
    return permuted(out, inverse((n, *space, c)))


def conv_general_dilated(lhs: Any, rhs: Any, window_strides: Sequence[int], padding: Padding,
                         lhs_dilation: Sequence[int] | None = None,
                         rhs_dilation: Sequence[int] | None = None,
                         dimension_numbers: Any = None, feature_group_count: int = 1,
                         batch_group_count: int = 1, precision: PrecisionLike = None,
                         preferred_element_type: Any = None, out_sharding: None = None) -> Any:
    """The convolution of machine learning (a correlation), over any number of spatial axes.

    lhs is the input, rhs the kernel; by default [N, C, *space] and [O, C/groups, *window]. Other
    layouts are given as in `conv_dimension_numbers`. padding is "SAME", "VALID" or pairs (low,
    high), which may be negative. lhs_dilation puts gaps between the input's elements, rhs_dilation
    between the kernel's. Groups split the features, or the batch.
    """
    raws, _ = same_dtype("conv_general_dilated", lhs, rhs)
    raws = [array(r) for r in raws]
    d = conv_dimension_numbers(shape_of(raws[0]), shape_of(raws[1]), dimension_numbers)
    raws, out_dtype = wider(raws, preferred_element_type)
    x, w = _canonical(raws[0], raws[1], d)
    n = len(shape_of(w)) - 2
    stride = sizes(window_strides, "window_strides")
    lhs_dilation = (1,) * n if lhs_dilation is None else sizes(lhs_dilation, "lhs_dilation")
    rhs_dilation = (1,) * n if rhs_dilation is None else sizes(rhs_dilation, "rhs_dilation")
    if isinstance(padding, str) and any(i != 1 for i in lhs_dilation):
        raise ValueError(f"padding={padding!r} is not defined with lhs_dilation {lhs_dilation}; "
                         "give pairs (low, high), or use lax.conv_transpose")
    if len(stride) != n or len(rhs_dilation) != n:
        raise ShapeError(f"lax.conv_general_dilated got {type_of(raws[0])}, window_strides "
                         f"{stride} and rhs_dilation {rhs_dilation}; there are {n} spatial axes")
    groups = feature_group_count
    _check_channels(raws[0], raws[1], d, groups * batch_group_count, groups)
    if batch_group_count > 1:
        x, groups = _batch_groups(x, batch_group_count, feature_group_count), batch_group_count
    out = apply(ops.conv, x, w, stride=stride, x_dilation=lhs_dilation, w_dilation=rhs_dilation,
                padding=_pads(padding, x, w, stride, rhs_dilation), groups=groups)
    return convert(wrap(_to_spec(array(out), d.out_spec)), out_dtype)


def _check_channels(lhs: Any, rhs: Any, d: ConvDimensionNumbers, groups: int,
                    feature_groups: int) -> None:
    """A mistaken layout shows here first: say which axis was read as what."""
    c, i, o = [shape_of(x)[at] for x, at in ((lhs, d.lhs_spec[1]), (rhs, d.rhs_spec[1]),
                                             (rhs, d.rhs_spec[0]))]
    if groups < 1 or c != i * feature_groups or o % groups:
        raise ShapeError(
            f"a convolution got the input {type_of(lhs)} as {_letters(d.lhs_spec, 'NC')} and the "
            f"kernel {type_of(rhs)} as {_letters(d.rhs_spec, 'OI')}, in {groups} groups; C = {c} "
            f"must be I * feature_group_count = {i} * {feature_groups}, and O = {o} a multiple of "
            "the number of groups. Other layouts are named in dimension_numbers, such as "
            "('NHWC', 'HWIO', 'NHWC')")


def _letters(spec: Sequence[int], first: str) -> str:
    space = {1: "H", 2: "HW", 3: "DHW"}.get(len(spec) - 2, "xyzuvwabcd"[:len(spec) - 2])
    return "".join(letter for _, letter in sorted(zip(spec, first + space, strict=True)))


def _pads(padding: Padding, x: Any, w: Any, stride: Sequence[int],
          dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
    if not isinstance(padding, str) and not hasattr(padding, "name"):
        pairs = [tuple([int(i) for i in pair]) for pair in padding]
        if any(len(p) != 2 for p in pairs):
            raise ShapeError(f"padding must be a string or pairs (low, high), got {padding!r}")
        return tuple(pairs)  # type: ignore[arg-type]
    window = [dilated(k, d) for k, d in zip(shape_of(w)[:-2], dilation, strict=True)]
    return tuple(padtype_to_pads(shape_of(x)[1:-1], window, stride, padding))  # type: ignore


def _batch_groups(x: Any, groups: int, feature_groups: int) -> Any:
    """Groups of the batch as groups of features: [G*N, *space, C] -> [N, *space, G*C]."""
    if feature_groups != 1 or shape_of(x)[0] % groups:
        raise ShapeError(f"batch_group_count={groups} must divide the batch {shape_of(x)[0]}, and "
                         f"feature_group_count be 1, not {feature_groups}")
    last = len(shape_of(x)) - 1
    return ops.merge_axes(ops.move_axis(ops.split_axis(x, 0, groups), 0, last), last)


def conv(lhs: Any, rhs: Any, window_strides: Sequence[int], padding: str,
         precision: PrecisionLike = None, preferred_element_type: Any = None) -> Any:
    """The convolution of [N, C, *space] with [O, C, *window]; see `conv_general_dilated`."""
    return conv_general_dilated(lhs, rhs, window_strides, padding,
                                preferred_element_type=preferred_element_type)


def conv_with_general_padding(lhs: Any, rhs: Any, window_strides: Sequence[int], padding: Padding,
                              lhs_dilation: Sequence[int] | None,
                              rhs_dilation: Sequence[int] | None, precision: PrecisionLike = None,
                              preferred_element_type: Any = None) -> Any:
    """`conv` with padding given by pairs, and dilations."""
    return conv_general_dilated(lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation,
                                preferred_element_type=preferred_element_type)


_CHANNELS_LAST = {2: ("NC", "IO", "NC"), 3: ("NHC", "HIO", "NHC"), 4: ("NHWC", "HWIO", "NHWC"),
                  5: ("NHWDC", "HWDIO", "NHWDC")}


def conv_transpose(lhs: Any, rhs: Any, strides: Sequence[int], padding: Padding,
                   rhs_dilation: Sequence[int] | None = None, dimension_numbers: Any = None,
                   transpose_kernel: bool = False, precision: PrecisionLike = None,
                   preferred_element_type: Any = None,
                   use_consistent_padding: bool = False) -> Any:
    """The transposed ("fractionally strided") convolution, channels last by default.

    "SAME" makes the output stride times as long as the input, "VALID" as long as it takes for a
    convolution of that stride to give the input's length. Pairs of padding apply to the dilated
    input, or with use_consistent_padding to the convolution that is transposed. transpose_kernel
    flips the kernel's spatial axes and swaps its features, which makes it the gradient of a
    convolution with the same kernel.
    """
    raws = [array(lhs), array(rhs)]
    rank = len(shape_of(raws[0]))
    if dimension_numbers is None:
        dimension_numbers = _CHANNELS_LAST.get(rank)
    d = conv_dimension_numbers(shape_of(raws[0]), shape_of(raws[1]), dimension_numbers)
    window = [shape_of(raws[1])[i] for i in d.rhs_spec[2:]]
    rhs_dilation = (1,) * len(window) if rhs_dilation is None else tuple(rhs_dilation)
    reach = [dilated(k, r) for k, r in zip(window, rhs_dilation, strict=True)]
    if isinstance(padding, str):
        pads = [_transpose_pads(k, s, padding) for k, s in zip(reach, strides, strict=True)]
    elif use_consistent_padding:
        pads = [(k - 1 - lo, k - 1 - hi) for k, (lo, hi) in zip(reach, padding, strict=True)]
    else:
        pads = [tuple(p) for p in padding]  # type: ignore[misc]
    if transpose_kernel:
        raws[1] = ops.flip(raws[1], axes=tuple(d.rhs_spec[2:]))
        d = d._replace(rhs_spec=(d.rhs_spec[1], d.rhs_spec[0], *d.rhs_spec[2:]))
    return conv_general_dilated(wrap(raws[0]), wrap(raws[1]), (1,) * len(window), pads,
                                tuple(strides), rhs_dilation, d,
                                preferred_element_type=preferred_element_type)


def _transpose_pads(k: int, stride: int, padding: str) -> tuple[int, int]:
    kind = padding.upper()
    if kind == "SAME":
        total = k + stride - 2
        low = k - 1 if stride > k - 1 else -(-total // 2)
    elif kind == "VALID":
        total, low = k + stride - 2 + max(k - stride, 0), k - 1
    else:
        raise ValueError(f"padding must be 'SAME', 'VALID' or pairs (low, high), got {padding!r}")
    return low, total - low


def conv_general_dilated_patches(lhs: Any, filter_shape: Sequence[int],
                                 window_strides: Sequence[int], padding: Padding,
                                 lhs_dilation: Sequence[int] | None = None,
                                 rhs_dilation: Sequence[int] | None = None,
                                 dimension_numbers: Any = None, precision: PrecisionLike = None,
                                 preferred_element_type: Any = None) -> Any:
    """The windows that a convolution sees: its output has a feature for each feature and place
    in the window, features first."""
    raw, n = array(lhs), len(filter_shape)
    d = conv_dimension_numbers(shape_of(raw), (1, 1, *filter_shape), dimension_numbers)
    batch, feature, *space = d.lhs_spec
    x = permuted(raw, (batch, *space, feature))
    stride = sizes(window_strides, "window_strides")
    lhs_dilation = (1,) * n if lhs_dilation is None else sizes(lhs_dilation)
    rhs_dilation = (1,) * n if rhs_dilation is None else sizes(rhs_dilation)
    window = tuple(filter_shape)
    reach = [dilated(k, r) for k, r in zip(window, rhs_dilation, strict=True)]
    pads = padtype_to_pads(shape_of(x)[1:-1], reach, stride, padding) if isinstance(
        padding, str) else [tuple(p) for p in padding]
    x = spread(x, ops.zero_like(x), ((0, 0), *pads, (0, 0)), (1, *lhs_dilation, 1))
    out = [max(0, (m - k) // s + 1) for m, k, s in
           zip(shape_of(x)[1:-1], reach, stride, strict=True)]
    shape = (shape_of(x)[0], *out, shape_of(x)[-1])
    take = lambda at: taps(x, (0, *at, 0), shape, (1, *stride, 1)) if 0 not in shape else (
        ops.zeros(shape, x.dtype))
    parts = [ops.reshape(take(at), shape=(*shape, 1)) for at in offsets(window, rhs_dilation)]
    patches = ops.merge_axes(ops.concatenate(*parts, axis=len(shape)), len(shape) - 1)
    out_raw = wrap(_to_spec(patches, d.out_spec))
    return out_raw if preferred_element_type is None else convert(
        out_raw, wider([raw], preferred_element_type)[1])
