"""Positional encodings. PyTorch has none: the formulas are written out with its functions."""

import numpy as np

from lucidfn import nn

from .table import F, Fixed, FunctionCase, I, LayerCase

fn = nn.functional
PLACES = Fixed(np.array([[3, 1, 7], [0, 2, 2]], "int32"))


def angles(T, places, dim, base):
    return places[..., None] * base ** (-T.arange(0, dim, 2, dtype=T.float64) / dim)


def waves(T, x, base=10000.0):
    *_, length, dim = x.shape
    a = angles(T, T.arange(length, dtype=T.float64), dim, base)
    return x + T.stack([a.sin(), a.cos()], -1).reshape(length, dim).to(x.dtype)


def turned(T, x, places=None, base=10000.0, interleaved=False):
    """A rotation is a product of complex numbers."""
    dim = x.shape[-1]
    places = T.arange(x.shape[-3], dtype=T.float64) if places is None else places.double()
    turn = T.polar(T.ones(1, dtype=T.float64), angles(T, places, dim, base))[..., None, :]
    pair = (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :dim // 2], x[..., dim // 2:])
    out = T.complex(*[p.double() for p in pair]) * turn
    return T.cat([out.real, out.imag], -1).to(x.dtype) if not interleaved else (
        T.stack([out.real, out.imag], -1).flatten(-2).to(x.dtype))


CASES = [
    LayerCase(nn.SinusoidalPositionalEncoding(6), (F(2, 4, 6),)),
    LayerCase(nn.SinusoidalPositionalEncoding(5, 100.0), (F(4, 5), I(4, hi=50))),
    LayerCase(nn.LearnedPositionalEmbedding(7, 3), (F(2, 4, 3),)),
    LayerCase(nn.LearnedPositionalEmbedding(8, 4), (F(2, 3, 4), PLACES)),
    LayerCase(nn.RotaryEmbedding(4), (F(2, 3, 2, 4),)),
    LayerCase(nn.RotaryEmbedding(4, interleaved=True), (F(3, 2, 6), I(3, hi=20))),
    FunctionCase("sinusoidal_positions", lambda x: x + fn.sinusoidal_positions(
        4, 6, dtype=x.dtype), (F(2, 4, 6),), waves),
    FunctionCase("sinusoidal_positions", lambda x: x + fn.sinusoidal_positions(
        3, 4, 50.0, dtype=x.dtype), (F(3, 4),), lambda T, x: waves(T, x, 50.0),
        id="sinusoidal_positions 50"),
    FunctionCase("apply_rotary_embedding", fn.apply_rotary_embedding, (F(2, 3, 2, 4),), turned),
    FunctionCase("apply_rotary_embedding", lambda x, p: fn.apply_rotary_embedding(x, p, 100.0),
                 (F(2, 3, 2, 4), PLACES), lambda T, x, p: turned(T, x, p, 100.0),
                 id="apply_rotary_embedding places"),
    FunctionCase("apply_rotary_embedding", lambda x, p: fn.apply_rotary_embedding(
        x, p, interleaved=True), (F(2, 3, 2, 4), PLACES),
        lambda T, x, p: turned(T, x, p, interleaved=True),
        id="apply_rotary_embedding interleaved"),
]
