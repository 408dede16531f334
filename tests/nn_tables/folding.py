"""Windows as rows and back, channels traded for space."""

from typing import Any

from lucidfn import nn

from .table import F, FunctionCase, LayerCase, first, last


def rows(x: Any, count: int) -> Any:
    """PyTorch's [N, C * KH * KW, L] to ours, [N, L, KH * KW * C]."""
    n, features, places = x.shape
    return x.reshape(n, features // count, count, places).permute(0, 3, 2, 1).reshape(
        n, places, features)


def columns(x: Any, count: int) -> Any:
    """Ours to PyTorch's."""
    n, places, features = x.shape
    return x.reshape(n, places, count, features // count).permute(0, 3, 2, 1).reshape(
        n, features, places)


def unfold(count: int, *args: Any) -> LayerCase:
    return LayerCase(nn.Unfold(*args), (F(2, 5, 6, 2),), torch=lambda t: t.Unfold(*args),
                     call=lambda m, x: rows(m(first(x)), count))


def fold(shape: tuple[int, ...], count: int, *args: Any) -> LayerCase:
    return LayerCase(nn.Fold(*args), (F(*shape),), torch=lambda t: t.Fold(*args),
                     call=lambda m, x: last(m(columns(x, count))))


CASES = [
    unfold(9, 3),
    unfold(6, (2, 3), 1, 1, 2),
    unfold(4, 2, (2, 3), (0, 2), (1, 2)),
    unfold(1, 1, 1, 0, 2),
    fold((2, 12, 18), 9, (5, 6), 3),
    fold((2, 9, 12), 6, (5, 6), (2, 3), 1, 1, 2),
    fold((2, 12, 8), 4, (5, 6), 2, (2, 3), (0, 2), (1, 2)),
    fold((2, 4, 3), 1, 4, 1, 1, 0, 2),
    LayerCase(nn.Unfold(2), (F(4, 3, 2),), torch=lambda t: t.Unfold(2),
              call=lambda m, x: rows(m(x.movedim(-1, 0))[None], 4)[0], id="Unfold, one example"),
    FunctionCase("unfold", lambda x: nn.functional.unfold(x, (2, 3), padding=1),
                 (F(1, 3, 4, 2),),
                 lambda T, x: rows(T.nn.functional.unfold(first(x), (2, 3), padding=1), 6)),
    FunctionCase("fold", lambda x: nn.functional.fold(x, (3, 4), 2, stride=(1, 2)),
                 (F(2, 4, 8),), lambda T, x: last(T.nn.functional.fold(
                     columns(x, 4), (3, 4), 2, stride=(1, 2)))),
    FunctionCase("fold", lambda x: nn.functional.fold(
        nn.functional.unfold(x, 3, 1, 1, 2), (5, 4), 3, 1, 1, 2), (F(1, 5, 4, 2),),
        lambda T, x: last(T.nn.functional.fold(
            T.nn.functional.unfold(first(x), 3, 1, 1, 2), (5, 4), 3, 1, 1, 2)),
        id="fold of unfold counts overlaps"),

    LayerCase(nn.PixelShuffle(2), (F(2, 2, 3, 8),), torch=lambda t: t.PixelShuffle(2)),
    LayerCase(nn.PixelShuffle(3), (F(2, 1, 9),), torch=lambda t: t.PixelShuffle(3),
              call=lambda m, x: m(x.movedim(-1, 0)).movedim(0, -1)),
    LayerCase(nn.PixelUnshuffle(2), (F(2, 4, 6, 2),), torch=lambda t: t.PixelUnshuffle(2)),
    LayerCase(nn.PixelUnshuffle(3), (F(1, 3, 6, 1),), torch=lambda t: t.PixelUnshuffle(3)),
    LayerCase(nn.ChannelShuffle(3), (F(2, 2, 2, 6),), torch=lambda t: t.ChannelShuffle(3)),
    LayerCase(nn.ChannelShuffle(2), (F(2, 3, 6),), torch=lambda t: t.ChannelShuffle(2)),
    FunctionCase("pixel_shuffle", lambda x: nn.functional.pixel_shuffle(x, 2), (F(1, 2, 3, 4),),
                 lambda T, x: last(T.nn.functional.pixel_shuffle(first(x), 2))),
    FunctionCase("pixel_unshuffle", lambda x: nn.functional.pixel_unshuffle(x, 2),
                 (F(2, 2, 4, 3),), lambda T, x: last(T.nn.functional.pixel_unshuffle(first(x), 2))),
    FunctionCase("channel_shuffle", lambda x: nn.functional.channel_shuffle(x, 2),
                 (F(2, 2, 3, 4),), lambda T, x: last(T.nn.functional.channel_shuffle(first(x), 2))),
]
