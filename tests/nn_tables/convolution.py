"""Convolutions and their transposes, over the options and how they interact."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lucidfn import nn

from .table import F, FunctionCase, LayerCase, first, last


def torch_transposed(w: Any, groups: int) -> Any:
    """[*window, C/G, O] to PyTorch's [C, O/G, *window] of a transposed convolution."""
    n = w.ndim - 2
    split = w.reshape((*w.shape[:-1], groups, w.shape[-1] // groups))  # *window, C/G, G, O/G
    order = (n + 1, n, n + 2, *range(n))
    moved = split.transpose(order) if isinstance(w, np.ndarray) else split.permute(order)
    return moved.reshape((moved.shape[0] * moved.shape[1], *moved.shape[2:]))


def transposed_weights(groups: int) -> Callable[[Any], dict[str, np.ndarray]]:
    def convert(params: Mapping[str, Any]) -> dict[str, np.ndarray]:
        out = {name: np.asarray(value) for name, value in params.items()}
        return {**out, "weight": torch_transposed(out["weight"], groups)}

    return convert


def conv(axes: int, shape: tuple[int, ...], *args: Any, **options: Any) -> LayerCase:
    name = f"Conv{axes}d"
    return LayerCase(getattr(nn, name)(*args, **options), (F(*shape),),
                     torch=lambda t: getattr(t, name)(*args, **options), call=quiet,
                     id=nn_id(name, args, options))


def quiet(module: Any, x: Any) -> Any:
    """PyTorch warns that "same" with an even window copies the data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using padding='same'")
        return last(module(first(x)))


def transposed(axes: int, shape: tuple[int, ...], *args: Any, **options: Any) -> LayerCase:
    name = f"ConvTranspose{axes}d"
    return LayerCase(getattr(nn, name)(*args, **options), (F(*shape),),
                     torch=lambda t: getattr(t, name)(*args, **options),
                     weights=transposed_weights(options.get("groups", 1)),
                     id=nn_id(name, args, options))


def nn_id(name: str, args: Any, options: Any) -> str:
    return f"{name}({', '.join([*map(str, args), *[f'{k}={v}' for k, v in options.items()]])})"


def conv_function(axes: int, **options: Any) -> dict[str, Any]:
    """Our conv and PyTorch's as functions of x, weight and perhaps a bias."""
    name = f"conv{axes}d"
    return {"name": name,
            "ours": lambda *xs: getattr(nn.functional, name)(*xs, **options),
            "torch": lambda T, x, w, *b: last(getattr(T.nn.functional, name)(
                first(x), w.movedim((-1, -2), (0, 1)), *b, **options))}


def transposed_function(axes: int, **options: Any) -> dict[str, Any]:
    name, groups = f"conv_transpose{axes}d", options.get("groups", 1)
    return {"name": name,
            "ours": lambda *xs: getattr(nn.functional, name)(*xs, **options),
            "torch": lambda T, x, w, *b: last(getattr(T.nn.functional, name)(
                first(x), torch_transposed(w, groups), *b, **options))}


single = lambda module, x: module(x.movedim(-1, 0)).movedim(0, -1)  # an example without N
image, line, volume = (2, 6, 5, 4), (2, 9, 4), (1, 4, 3, 4, 2)

CASES = [
    conv(1, line, 4, 3, 3),
    conv(1, line, 4, 3, 4, padding="same"),
    conv(1, line, 4, 6, 3, stride=2, padding=2, dilation=2, groups=2),
    conv(1, line, 4, 3, 3, padding=2, padding_mode="reflect"),

    conv(2, image, 4, 3, 3),
    conv(2, image, 4, 3, 3, bias=False),
    conv(2, image, 4, 3, 1),
    conv(2, image, 4, 3, 1, stride=2),
    conv(2, image, 4, 3, 1, padding=1),
    conv(2, image, 4, 6, 1, groups=2),
    conv(2, image, 4, 3, (3, 2)),
    conv(2, image, 4, 3, (1, 5)),
    conv(2, image, 4, 3, 3, stride=2, padding=1),
    conv(2, image, 4, 3, 2, stride=3),
    conv(2, image, 4, 3, 3, stride=(2, 1), padding=(0, 2)),
    conv(2, image, 4, 3, 3, padding="same"),
    conv(2, image, 4, 3, (4, 2), padding="same"),
    conv(2, image, 4, 3, (2, 3), padding="same", dilation=(1, 2)),
    conv(2, image, 4, 3, 2, padding="valid"),
    conv(2, image, 4, 3, 2, dilation=2),
    conv(2, image, 4, 3, 3, padding=2, dilation=(2, 1), stride=2),
    conv(2, image, 4, 6, 3, groups=2, padding=1),
    conv(2, image, 4, 4, 3, groups=4, padding=1),
    conv(2, image, 4, 8, 3, groups=4, stride=2, padding=1, bias=False),
    conv(2, image, 4, 4, 2, groups=4, dilation=2),
    conv(2, image, 4, 2, 3, padding=(1, 2), padding_mode="reflect"),
    conv(2, image, 4, 2, 3, padding=(2, 1), padding_mode="replicate", stride=2),
    conv(2, image, 4, 2, 3, padding=(1, 2), padding_mode="circular", groups=2),
    conv(2, image, 4, 2, (2, 4), padding="same", padding_mode="circular"),
    LayerCase(nn.Conv2d(4, 3, 3, padding=1), (F(4, 5, 4),), call=single,
              torch=lambda t: t.Conv2d(4, 3, 3, padding=1), id="Conv2d, one example"),
    LayerCase(nn.Conv2d(4, 3, [3, 2], weight_init=nn.initializers.ones,
                        bias_init=nn.initializers.zeros), (F(2, 4, 5, 4),),
              torch=lambda t: t.Conv2d(4, 3, (3, 2)), id="Conv2d, initializers"),

    conv(3, volume, 2, 2, 2),
    conv(3, volume, 2, 4, (1, 3, 2), stride=(2, 1, 2), padding=(0, 1, 1), groups=2),
    conv(3, volume, 2, 2, (3, 2, 2), padding="same", dilation=(1, 2, 1)),
    conv(3, volume, 2, 2, 2, padding=(2, 1, 1), padding_mode="replicate"),

    transposed(1, (2, 4, 4), 4, 3, 3),
    transposed(1, (2, 4, 4), 4, 6, 4, stride=3, padding=1, output_padding=2, groups=2),
    transposed(2, (2, 3, 4, 4), 4, 3, 3),
    transposed(2, (2, 3, 4, 4), 4, 3, 2, stride=2),
    transposed(2, (2, 3, 4, 4), 4, 3, 4, stride=2, padding=1, bias=False),
    transposed(2, (2, 3, 4, 4), 4, 3, 3, stride=2, padding=1, output_padding=1),
    transposed(2, (2, 3, 4, 4), 4, 3, (3, 2), stride=(1, 3), padding=(2, 0), output_padding=(0, 2)),
    transposed(2, (2, 3, 4, 4), 4, 6, 3, stride=2, padding=2, groups=2),
    transposed(2, (2, 3, 4, 4), 4, 4, 3, stride=2, groups=4),
    transposed(2, (2, 3, 4, 4), 4, 8, 2, stride=2, groups=4, dilation=2),
    transposed(2, (2, 3, 4, 4), 4, 3, 2, dilation=(3, 2), output_padding=(2, 1)),
    transposed(2, (2, 3, 4, 4), 4, 3, 1, stride=2),
    transposed(2, (2, 3, 4, 4), 4, 3, 2, padding=(1, 2)),  # crops what the window reaches
    LayerCase(nn.ConvTranspose2d(4, 3, 3, stride=2), (F(2, 3, 4, 4),),
              kwargs={"output_size": (8, 9)}, weights=transposed_weights(1),
              torch=lambda t: t.ConvTranspose2d(4, 3, 3, stride=2),
              call=lambda m, x: last(m(first(x), output_size=(8, 9))),
              id="ConvTranspose2d, output_size"),
    LayerCase(nn.ConvTranspose2d(4, 3, 3), (F(3, 4, 4),), weights=transposed_weights(1),
              torch=lambda t: t.ConvTranspose2d(4, 3, 3), call=single,
              id="ConvTranspose2d, one example"),
    transposed(3, (1, 2, 3, 2, 2), 2, 2, 2),
    transposed(3, (1, 2, 3, 2, 2), 2, 4, (2, 3, 1), stride=(2, 1, 3), padding=(1, 1, 0),
               output_padding=(1, 0, 2), groups=2),

    FunctionCase(**conv_function(1, padding=1), inputs=(F(2, 5, 2), F(3, 2, 3), F(3))),
    FunctionCase(**conv_function(2, stride=2, padding=(1, 0)),
                 inputs=(F(2, 5, 4, 2), F(3, 2, 2, 3), F(3))),
    FunctionCase(**conv_function(2, padding="same", dilation=2, groups=2),
                 inputs=(F(2, 5, 4, 4), F(3, 2, 2, 6)), id="conv2d, same, dilation, groups"),
    FunctionCase(**conv_function(2), inputs=(F(2, 4, 5, 2), F(4, 5, 2, 3)),
                 id="conv2d, window as large as the image"),
    FunctionCase(**conv_function(3), inputs=(F(1, 3, 3, 2, 2), F(2, 2, 2, 2, 2), F(2))),
    FunctionCase(**transposed_function(1, stride=2), inputs=(F(2, 4, 2), F(3, 2, 3), F(3))),
    FunctionCase(**transposed_function(2, stride=2, padding=1, output_padding=1, groups=2),
                 inputs=(F(2, 3, 2, 4), F(3, 3, 2, 6), F(6))),
    FunctionCase(**transposed_function(3, stride=(1, 2, 1)),
                 inputs=(F(1, 2, 2, 3, 2), F(2, 2, 1, 2, 3))),
]
