"""Attention: the functions of both layouts, and the layers with several heads."""

import importlib
from typing import Any

import numpy as np

from lucidfn import nn
from lucidfn.nn import functional

from .table import B, F, FunctionCase, LayerCase, torch_names

CAUSAL = np.triu(np.ones((4, 4), bool), 1)  # as PyTorch's modules: True is left out
PADDING = np.array([[False, False, True, False, True], [False, True, False, False, False]])
LEFT_OUT = np.array([[0, 0, 1, 0, 1], [1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
ADDED = np.linspace(-1.0, 1.0, 20).reshape(4, 5).astype("float32")


def packed(params: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """PyTorch's names: the three projections into heads are one matrix there, where they can be."""
    own = torch_names(params)
    own.update({k: np.asarray(params[k]) for k in ("bias_k", "bias_v") if k in params})
    into = [own.pop(f"{name}_proj.weight") for name in "qkv"]
    biases = [own.pop(f"{name}_proj.bias", None) for name in "qkv"]
    if len({w.shape for w in into}) == 1:
        own["in_proj_weight"] = np.concatenate(into)
    else:
        own.update({f"{name}_proj_weight": w for name, w in zip("qkv", into, strict=True)})
    if biases[0] is not None:
        own["in_proj_bias"] = np.concatenate(biases)
    return {prefix + name: value for name, value in own.items()}


def mha(*args: Any, kwargs: Any = None, inputs: Any = None, id: str = "", **options: Any
        ) -> LayerCase:
    kwargs = kwargs or {}

    def call(module: Any, *tensors: Any) -> Any:
        q, k, v = (*tensors, *tensors[-1:] * 2)[:3]
        given = {"need_weights": False, **theirs(kwargs, q.dtype)}
        out, weights = module(q, k, v, **given)
        return out if weights is None else (out, weights)

    twin = lambda t: t.MultiheadAttention(*args, **{"batch_first": True, **options})
    return LayerCase(nn.MultiheadAttention(*args, **options),
                     inputs or (F(2, 4, 6), F(2, 5, 6), F(2, 5, 6)), torch=twin, weights=packed,
                     call=call, kwargs=kwargs, id=f"MultiheadAttention-{id}")


def theirs(kwargs: Any, dtype: Any) -> dict[str, Any]:
    """Keyword arguments as tensors of the precision of the test."""
    torch = importlib.import_module("torch")  # where there is PyTorch only
    tensor = lambda x: torch.from_numpy(x) if x.dtype == bool else torch.from_numpy(x).to(dtype)
    given = {k: tensor(x) if isinstance(x, np.ndarray) else x for k, x in kwargs.items()}
    # Only a hint there, which needs the mask it describes (and is wrong with add_bias_kv).
    if given.pop("is_causal", False):
        given["attn_mask"] = torch.from_numpy(CAUSAL)
    return given


def sdpa(T: Any, *args: Any, **options: Any) -> Any:
    return T.nn.functional.scaled_dot_product_attention(*args, **options)


def function(id: str, inputs: Any, torch: bool = True, **options: Any) -> FunctionCase:
    return FunctionCase(
        "scaled_dot_product_attention",
        lambda *xs: functional.scaled_dot_product_attention(*xs, **options), inputs,
        torch=(lambda T, *xs: sdpa(T, *xs, **options)) if torch else None, id=f"sdpa-{id}")


SELF = (F(2, 4, 6),)
QKV = (F(2, 2, 4, 3), F(2, 2, 5, 3), F(2, 2, 5, 2))
HEADS_LAST = (F(2, 4, 4, 3), F(2, 5, 2, 3), F(2, 5, 2, 3))

CASES = [
    function("plain", QKV),
    function("scale", QKV, scale=0.3),
    function("causal", QKV, is_causal=True),
    function("boolean-mask", (*QKV, B(2, 1, 4, 5))),
    function("added-mask", (*QKV, F(4, 5))),
    function("groups", (F(2, 4, 4, 3), F(2, 2, 5, 3), F(2, 2, 5, 3)), enable_gqa=True),
    function("no-heads", (F(4, 3), F(5, 3), F(5, 3))),
    function("five-axes", (F(2, 1, 2, 4, 3), F(2, 1, 2, 5, 3), F(2, 1, 2, 5, 3), F(2, 1, 1, 4, 5))),
    FunctionCase(
        "dot_product_attention", lambda *xs: functional.dot_product_attention(*xs, is_causal=True),
        HEADS_LAST, torch=lambda T, *xs: sdpa(
            T, *[x.transpose(1, 2) for x in xs], is_causal=True, enable_gqa=True).transpose(1, 2)),
    LayerCase(nn.ScaledDotProductAttention(), QKV),
    LayerCase(nn.ScaledDotProductAttention(scale=0.5, enable_gqa=True),
              (F(2, 4, 4, 3), F(2, 2, 4, 3), F(2, 2, 4, 3)), kwargs={"is_causal": True}),
    mha(6, 2, id="cross"),
    mha(6, 3, inputs=SELF, id="self"),
    mha(6, 2, 0.0, False, id="no-bias"),
    mha(6, 2, kdim=3, vdim=4, inputs=(F(2, 4, 6), F(2, 5, 3), F(2, 5, 4)), id="widths"),
    mha(6, 2, inputs=SELF, kwargs={"is_causal": True}, id="causal"),
    mha(6, 2, kwargs={"key_padding_mask": PADDING, "need_weights": True}, id="padding"),
    mha(6, 2, kwargs={"attn_mask": LEFT_OUT, "key_padding_mask": PADDING}, id="both-masks"),
    mha(6, 2, kwargs={"attn_mask": ADDED, "need_weights": True, "average_attn_weights": False},
        id="added-mask"),
    mha(6, 2, kwargs={"attn_mask": np.stack([LEFT_OUT, LEFT_OUT[:, ::-1]] * 2)}, id="mask-by-head"),
    mha(6, 2, add_bias_kv=True, add_zero_attn=True, id="extra-keys",
        kwargs={"attn_mask": LEFT_OUT, "key_padding_mask": PADDING, "need_weights": True}),
    mha(6, 2, add_zero_attn=True, kwargs={"attn_mask": ADDED}, id="zero-key"),
    mha(6, 2, add_bias_kv=True, inputs=SELF, kwargs={"is_causal": True}, id="bias-key-causal"),
    mha(6, 2, batch_first=False, inputs=(F(4, 2, 6), F(5, 2, 6), F(5, 2, 6)), id="time-first"),
    mha(6, 2, inputs=(F(4, 6), F(5, 6), F(5, 6)), kwargs={"need_weights": True}, id="no-batch"),
    LayerCase(nn.GroupedQueryAttention(8, 4, 2), (F(2, 4, 8),), kwargs={"is_causal": True}),
    LayerCase(nn.GroupedQueryAttention(8, 2, 1, rotary=nn.RotaryEmbedding(4)), (F(2, 3, 8),),
              kwargs={"is_causal": True}, id="GroupedQueryAttention-rotary"),
    LayerCase(nn.GroupedQueryAttention(6, 3, 3), (F(2, 4, 6),), id="as-multihead", weights=packed,
              torch=lambda t: t.MultiheadAttention(6, 3, batch_first=True),
              call=lambda m, x: m(x, x, x, need_weights=False)[0]),
    LayerCase(nn.MultiQueryAttention(8, 2, bias=False), (F(2, 4, 8),),
              kwargs={"need_weights": True}),
]
