"""Models from the weights of other libraries: sizes are read off the arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lucidfn import random
from lucidfn.api.inspect import eval_shape
from lucidfn.io.torch import Slot, convert, from_torch, read_state_dict, same
from lucidfn.models.gpt import GPT
from lucidfn.models.lenet import LeNet5
from lucidfn.models.resnet import ResNet, resnet18, resnet34, resnet50
from lucidfn.models.weights import register_weights
from lucidfn.nn.layer import Layer, Params, State

Loaded = tuple[Any, Params, State]


def shape_of(arrays: Mapping[str, Any], name: str, what: str) -> tuple[int, ...]:
    if name not in arrays:
        raise ValueError(f"the state dict has no {name!r}, and is none of {what}; it has "
                         f"{', '.join(list(arrays)[:6])} ...")
    return tuple(arrays[name].shape)


def _resnet(make: Any, what: str, state_dict: Any) -> Loaded:
    arrays = read_state_dict(state_dict)
    window = shape_of(arrays, "conv1.weight", what)[-1]
    classes = shape_of(arrays, "fc.weight", what)[0]
    model: ResNet = make(classes, "imagenet" if window == 7 else "cifar")
    return model, *from_torch(arrays, model)


def resnet18_from_torch(state_dict: Any) -> Loaded:
    """(model, params, state) from a ResNet-18 with torchvision's names.

    `state_dict` has arrays by name, or is the path of a file: see `io.read_state_dict`. The number
    of classes and the stem (7x7 or 3x3) are those of the arrays. ValueError lists what does not
    fit.
    """
    return _resnet(resnet18, "a ResNet-18", state_dict)


def resnet34_from_torch(state_dict: Any) -> Loaded:
    """(model, params, state) from a ResNet-34: see `resnet18_from_torch`."""
    return _resnet(resnet34, "a ResNet-34", state_dict)


def resnet50_from_torch(state_dict: Any) -> Loaded:
    """(model, params, state) from a ResNet-50: see `resnet18_from_torch`."""
    return _resnet(resnet50, "a ResNet-50", state_dict)


def lenet5_from_torch(state_dict: Any) -> tuple[Params, State]:
    """(params, state) of `LeNet5` from a PyTorch module with layers of the same names.

    The first linear layer's inputs are reordered: there, channels come before space.
    """
    return from_torch(state_dict, LeNet5(), flatten={"fc1": (16, 4, 4)})


# ------------------------------------------------------------------ GPT-2

# In a block: ours, theirs. Their Conv1D has weights [in, out], as ours.
GPT2_BLOCK = {"norm1": "ln_1", "attention.out_proj": "attn.c_proj", "norm2": "ln_2",
              "fc": "mlp.c_fc", "proj": "mlp.c_proj"}
GPT2_BUFFERS = ("*attn.bias", "*attn.masked_bias")  # masks


def gpt2_slots(model: GPT, prefix: str) -> list[Slot]:
    """Where the parameters of a GPT are among Hugging Face's names."""
    out = [Slot(("tokens", "weight"), f"{prefix}wte.weight", same, same),
           Slot(("positions", "weight"), f"{prefix}wpe.weight", same, same)]
    for i in range(model.num_layers):
        block, theirs = f"blocks_{i}", f"{prefix}h.{i}."
        for name in ("weight", "bias"):
            out += [Slot((block, *own.split("."), name), f"{theirs}{there}.{name}", same, same)
                    for own, there in GPT2_BLOCK.items()]
            out += [Slot((block, "attention", f"{n}_proj", name), f"{theirs}attn.c_attn.{name}",
                         same, same, (j, 3), 1 if name == "weight" else 0)
                    for j, n in enumerate("qkv")]
    out += [Slot(("norm", name), f"{prefix}ln_f.{name}", same, same) for name in ("weight", "bias")]
    if not model.tied:
        out.append(Slot(("head", "weight"), "lm_head.weight", lambda x: x.T, lambda x: x.T))
    return out


def gpt2_from_torch(state_dict: Any, *, num_heads: int | None = None) -> Loaded:
    """(model, params, state) from a GPT-2 with Hugging Face's names (`GPT2LMHeadModel`).

    Sizes are those of the arrays; heads have 64 features unless `num_heads` says otherwise. An
    output matrix that is not there, or equal to the embedding, is the embedding. ValueError lists
    what does not fit.
    """
    arrays = read_state_dict(state_dict)
    what = "a GPT-2 in Hugging Face's names"
    prefix = "transformer." if "transformer.wte.weight" in arrays else ""
    vocab, embed = shape_of(arrays, f"{prefix}wte.weight", what)
    context = shape_of(arrays, f"{prefix}wpe.weight", what)[0]
    depth = 0
    while f"{prefix}h.{depth}.ln_1.weight" in arrays:
        depth += 1
    tied = "lm_head.weight" not in arrays or bool(
        (arrays["lm_head.weight"] == arrays[f"{prefix}wte.weight"]).all())
    model = GPT(vocab, context, embed, num_heads or max(1, embed // 64), depth, tied=tied)
    return model, *gpt2_weights(model, arrays)


def gpt2_weights(model: Layer, source: Any) -> tuple[Params, State]:
    """(params, state) of a GPT from Hugging Face's names."""
    assert isinstance(model, GPT)
    arrays = read_state_dict(source)
    prefix = "transformer." if "transformer.wte.weight" in arrays else ""
    shapes = eval_shape(model.init, random.key(0))
    ignored = (*GPT2_BUFFERS, *(["lm_head.weight"] if model.tied else []))
    return convert(arrays, gpt2_slots(model, prefix), [], shapes, ignored, model.headline())


def read_gpt2(model: Layer, path: Path) -> tuple[Params, State]:
    """The reader of the registered weights."""
    return gpt2_weights(model, path)


register_weights(
    "gpt2", "https://huggingface.co/openai-community/gpt2/resolve/"
    "607a30d783dfa663caf39e06633721c8d4cfcd7e/model.safetensors",
    "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707", read_gpt2,
    about="the small GPT-2 (124 M parameters) of OpenAI, for text in its byte-pair tokens")

__all__ = ["gpt2_from_torch", "lenet5_from_torch", "resnet18_from_torch", "resnet34_from_torch",
           "resnet50_from_torch"]
