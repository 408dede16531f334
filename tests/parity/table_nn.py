"""Rows of `nn` and `nn.initializers`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import B, F, G, I, K, P, Table, call, elementwise, expr, key, row, typed

TABLE: Table = {}
INF = np.inf

elementwise(TABLE, "nn.relu nn.relu6 nn.elu nn.celu nn.leaky_relu nn.hard_tanh nn.hard_sigmoid "
            "nn.hard_silu nn.hard_swish", G, ints=False, weak=False)
elementwise(TABLE, "nn.sigmoid nn.softplus nn.silu nn.swish nn.log_sigmoid nn.gelu nn.selu "
            "nn.soft_sign nn.mish nn.squareplus nn.tanh nn.sparse_plus nn.sparse_sigmoid", F,
            ints=False, weak=False)
row(TABLE, "nn.identity", call(F(3)), call(I(3)))
row(TABLE, "nn.relu", call(I(5)), call(K([0.0, -0.0, INF, -INF])))
row(TABLE, "nn.leaky_relu", call(G(3, 4), 0.3), call(G(3), negative_slope=P()))
row(TABLE, "nn.elu nn.celu", call(G(3, 4), 0.5))
row(TABLE, "nn.squareplus", call(F(3), 2.0))
row(TABLE, "nn.gelu", call(F(3, 4), approximate=False), call(K([9.0, -9.0, 40.0, -40.0])))
row(TABLE, "nn.softplus nn.sigmoid nn.log_sigmoid nn.silu nn.mish nn.squareplus",
    call(K([-200.0, 200.0, 0.0])))
row(TABLE, "nn.log1mexp", call(P(3, 4)), call(K([0.1, 0.7, 40.0])))
row(TABLE, "nn.softmax nn.log_softmax", call(F(3, 4)), call(F(3, 4), axis=0),
    call(F(3, 4), where=K([[True, False, True, True]] * 3), _grad=False),
    call(K([1e4, 0.0, -1e4])), call(K([0.0, -INF])))
row(TABLE, "nn.softmax", call(F(2, 3, 4), axis=(0, 2)),
    call(F(3, 4), where=K([[True, False, True, True]] * 3)))
row(TABLE, "nn.logsumexp", call(F(3, 4)), call(F(3, 4), axis=1, keepdims=True), call(F(3, 4),
    axis=0, b=P(4)), call(F(4), b=F(4), return_sign=True), call(F(3), where=B(3)))
row(TABLE, "nn.logmeanexp", call(F(3, 4)), call(F(3, 4), axis=1, keepdims=True),
    call(F(3, 4), where=K([[True, False, True, True]] * 3), axis=1))
row(TABLE, "nn.standardize", call(F(3, 4)), call(F(3, 4), axis=0, epsilon=1e-3),
    call(F(3, 4), mean=F(3, 1), variance=P(3, 1)), call(F(2, 3, 4), axis=(0, 2)),
    call(F(3, 4), where=K([[True, False, True, True]] * 3)))
row(TABLE, "nn.glu", call(F(3, 4)), call(F(4, 3), axis=0))
row(TABLE, "nn.one_hot", call(I(4, lo=0, hi=3), 3), call(I(2, 3, lo=-2, hi=7), 4, dtype="int32"),
    call(I(4, lo=0, hi=3), 3, axis=0), call(2, 4))


def attention(*shapes: Any, **options: Any) -> None:
    # JAX takes the softmax in single precision always.
    row(TABLE, "nn.dot_product_attention", call(*[F(*s) for s in shapes], _tol=1e-6, **options))


attention((2, 3, 2, 4), (2, 5, 2, 4), (2, 5, 2, 4))
attention((3, 2, 4), (3, 2, 4), (3, 2, 4), is_causal=True)
attention((2, 3, 4, 4), (2, 5, 2, 4), (2, 5, 2, 4), bias=F(1, 4, 3, 5), scale=0.3)
attention((2, 3, 2, 4), (2, 5, 1, 4), (2, 5, 1, 4),
          mask=K(np.arange(30).reshape(2, 1, 3, 5) % 4 > 0))
attention((2, 4, 2, 4), (2, 4, 2, 4), (2, 4, 2, 4), query_seq_lengths=typed(K([3, 4]), "int32"),
          key_value_seq_lengths=typed(K([2, 4]), "int32"), _grad=False)
attention((1, 5, 2, 4), (1, 5, 2, 4), (1, 5, 2, 4), local_window_size=(1, 0))

# ------------------------------------------------------------------ initializers


def initializer(name: str, *args: Any, shape: tuple[int, ...] = (6, 4), **kwargs: Any) -> None:
    def run(m: Any, k: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(m.nn.initializers, name)(*args, **kwargs)(k, shape)
    expr(TABLE, "nn.initializers." + name, run, key(3), *args, _single=True, _tol=1e-7,
         _tol32=1e-4, **kwargs)


for _family in ("glorot", "xavier", "he", "kaiming", "lecun"):
    for _kind in ("normal", "uniform"):
        initializer(f"{_family}_{_kind}")
        initializer(f"{_family}_{_kind}", shape=(3, 3, 4, 5))
for _kind in ("normal", "uniform", "truncated_normal"):
    initializer(_kind)
    initializer(_kind, 0.5)
initializer("constant", 2.5)
initializer("orthogonal")
initializer("orthogonal", 2.0, shape=(4, 6))
initializer("delta_orthogonal", shape=(3, 4, 4))
for _mode in ("fan_in", "fan_out", "fan_avg"):
    for _shape in ("truncated_normal", "normal", "uniform"):
        initializer("variance_scaling", 2.0, _mode, _shape)
for _name in ("zeros", "ones"):
    expr(TABLE, "nn.initializers." + _name,
         lambda m, k, name: getattr(m.nn.initializers, name)(k, (2, 3)), key(), _name)
