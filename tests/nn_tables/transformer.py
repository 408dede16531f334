"""The transformer's layers, stacks and both together."""

import importlib
import warnings
from typing import Any

import numpy as np

from lucidfn import nn

from .attention import packed
from .table import F, LayerCase, torch_weight

LATER = np.triu(np.full((3, 3), -np.inf, "float32"), 1)
PADDED = np.array([[False, False, False, True], [False, True, False, False]])
PADDED_TARGET = np.array([[False, False, True], [False, False, False]])
SRC, TGT = F(2, 4, 6), F(2, 3, 6)


def names(params: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """PyTorch's names: `layers.0` for `layers_0`, attentions with one matrix into heads."""
    out: dict[str, np.ndarray] = {}
    for name, value in params.items():
        name = prefix + name.replace("layers_", "layers.")
        if not isinstance(value, dict):
            out[name] = torch_weight(np.asarray(value))
        elif "q_proj" in value:
            out.update(packed(value, f"{name}."))
        else:
            out.update(names(value, f"{name}."))
    return out


def row(layer: nn.Layer, inputs: Any, twin: Any, id: str, ours: Any = None, theirs: Any = None,
        order: int = 1) -> LayerCase:
    """`theirs(torch)` gives PyTorch's keyword arguments, `ours` has those of the same meaning."""
    call = lambda m, *xs: m(*xs, **(theirs(importlib.import_module("torch"), xs[0].dtype)
                                    if theirs else {}))
    return LayerCase(layer, inputs, torch=twin, weights=names, call=call, kwargs=ours or {},
                     id=f"{type(layer).__name__}-{id}", order=order)


def encoder_layer(t: Any = nn, **options: Any) -> Any:
    if t is not nn:
        options["batch_first"] = True
    return t.TransformerEncoderLayer(6, 2, 5, **{"dropout": 0.0, **options})


def decoder_layer(t: Any = nn, **options: Any) -> Any:
    if t is not nn:
        options["batch_first"] = True
    return t.TransformerDecoderLayer(6, 2, 5, **{"dropout": 0.0, **options})


def tensor(torch: Any, x: np.ndarray, dtype: Any) -> Any:
    return torch.from_numpy(x) if x.dtype == bool else torch.from_numpy(x).to(dtype)


def encoder(id: str, ours: Any = None, theirs: Any = None, **options: Any) -> LayerCase:
    return row(encoder_layer(**options), (SRC,), lambda t: encoder_layer(t, **options), id, ours,
               theirs)


def decoder(id: str, ours: Any = None, theirs: Any = None, **options: Any) -> LayerCase:
    return row(decoder_layer(**options), (TGT, SRC), lambda t: decoder_layer(t, **options), id,
               ours, theirs)


def whole(t: Any, **options: Any) -> Any:
    if t is not nn:
        options["batch_first"] = True
    with warnings.catch_warnings():  # about a fast path, with norm_first
        warnings.simplefilter("ignore")
        return t.Transformer(6, 2, 1, 2, 5, 0.0, **options)


CASES = [
    encoder("plain"),
    encoder("norm-first", norm_first=True, activation="gelu"),
    encoder("no-bias", bias=False, layer_norm_eps=1e-3),
    encoder("padding", {"src_key_padding_mask": PADDED},
            lambda t, d: {"src_key_padding_mask": tensor(t, PADDED, d)}),
    row(nn.TransformerEncoderLayer(6, 2, 5, 0.0, nn.tanh), (SRC,), None, "function"),
    decoder("plain"),
    decoder("norm-first", norm_first=True, activation="gelu"),
    decoder("causal", {"tgt_is_causal": True, "memory_key_padding_mask": PADDED},
            lambda t, d: {"tgt_mask": tensor(t, LATER, d), "tgt_is_causal": True,
                          "memory_key_padding_mask": tensor(t, PADDED, d)}),
    row(nn.TransformerEncoder(encoder_layer(), 2, nn.LayerNorm(6)), (SRC,),
        lambda t: t.TransformerEncoder(encoder_layer(t), 2, t.LayerNorm(6)), "norm",
        {"src_key_padding_mask": PADDED},
        lambda t, d: {"src_key_padding_mask": tensor(t, PADDED, d)}),
    row(nn.TransformerDecoder(decoder_layer(), 2), (TGT, SRC),
        lambda t: t.TransformerDecoder(decoder_layer(t), 2), "causal", {"tgt_is_causal": True},
        lambda t, d: {"tgt_mask": tensor(t, LATER, d)}),
    row(whole(nn), (SRC, TGT), lambda t: whole(t), "plain"),
    row(whole(nn, norm_first=True), (SRC, TGT), lambda t: whole(t, norm_first=True), "masks",
        {"tgt_is_causal": True, "src_key_padding_mask": PADDED, "memory_key_padding_mask": PADDED,
         "tgt_key_padding_mask": PADDED_TARGET},
        lambda t, d: {"tgt_mask": tensor(t, np.isinf(LATER), d),
                      "src_key_padding_mask": tensor(t, PADDED, d),
                      "memory_key_padding_mask": tensor(t, PADDED, d),
                      "tgt_key_padding_mask": tensor(t, PADDED_TARGET, d)}),
]
