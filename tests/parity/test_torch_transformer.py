"""GPT and the translating transformer beside twins made of PyTorch's modules, and the arguments of
the layers of attention beside PyTorch's."""

import inspect
import math
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import models, nn, random, tree

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

from nn_tables.transformer import names  # noqa: E402

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}
precisions = pytest.mark.parametrize("dtype", sorted(TOLERANCE))
rng = np.random.default_rng(0)
TOKENS = rng.integers(0, 11, (3, 9)).astype("int32")
SOURCE = np.concatenate([rng.integers(1, 11, (3, 4)), np.zeros((3, 1), "int32")], 1).astype("int32")


def later(n: int) -> Any:
    return torch.triu(torch.ones(n, n, dtype=torch.bool), 1)


class Block(torch.nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.attention = torch.nn.MultiheadAttention(width, heads, batch_first=True)
        self.fc = torch.nn.Linear(width, 4 * width)
        self.proj = torch.nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, attn_mask=later(x.shape[1]), need_weights=False)[0]
        y = torch.nn.functional.gelu(self.fc(self.norm2(x)), approximate="tanh")
        return x + self.proj(y)


class GPT(torch.nn.Module):
    def __init__(self, model: models.GPT):
        super().__init__()
        e = model.embed_dim
        self.tokens = torch.nn.Embedding(model.vocab_size, e)
        self.positions = torch.nn.Embedding(model.context_length, e)
        self.blocks = torch.nn.ModuleList(
            [Block(e, model.num_heads) for _ in range(model.num_layers)])
        self.norm = torch.nn.LayerNorm(e)
        if not model.tied:
            self.head = torch.nn.Linear(e, model.vocab_size, bias=False)

    def forward(self, tokens: Any) -> Any:
        x = self.tokens(tokens) + self.positions.weight[:tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x) if hasattr(self, "head") else x @ self.tokens.weight.T


class Translator(torch.nn.Module):
    """The base model of arXiv:1706.03762 from PyTorch's stacks; token 0 is padding."""

    def __init__(self, model: models.Transformer):
        super().__init__()
        d, options = model.d_model, {"batch_first": True, "norm_first": model.norm_first}
        args = (d, model.num_heads, model.dim_feedforward, 0.0)
        self.target = torch.nn.Embedding(model.outputs, d)
        self.source = self.target if model.tied else torch.nn.Embedding(model.vocab_size, d)
        self.encoder = torch.nn.TransformerEncoder(
            torch.nn.TransformerEncoderLayer(*args, **options), model.num_encoder_layers)
        self.decoder = torch.nn.TransformerDecoder(
            torch.nn.TransformerDecoderLayer(*args, **options), model.num_decoder_layers)
        if not model.tied:
            self.head = torch.nn.Linear(d, model.outputs)

    def embed(self, table: Any, tokens: Any) -> Any:
        d = table.weight.shape[1]
        angles = torch.arange(tokens.shape[1], dtype=torch.float64)[:, None] / 10000.0 ** (
            torch.arange(0, d, 2, dtype=torch.float64) / d)
        waves = torch.stack([angles.sin(), angles.cos()], -1).reshape(-1, d)
        return table(tokens) * math.sqrt(d) + waves.to(table.weight.dtype)

    def forward(self, source: Any, target: Any) -> Any:
        memory = self.encoder(self.embed(self.source, source), src_key_padding_mask=source == 0)
        x = self.decoder(self.embed(self.target, target), memory,
                         tgt_mask=later(target.shape[1]), tgt_key_padding_mask=target == 0,
                         memory_key_padding_mask=source == 0)
        return self.head(x) if hasattr(self, "head") else x @ self.target.weight.T


EMBEDDINGS = ("tokens", "positions", "source", "target")


def torch_params(params: Any) -> dict[str, np.ndarray]:
    """PyTorch's names and layouts. Tables of embeddings are [num, dim] in both."""
    out = {}
    for name, x in names(params).items():
        table = name.removesuffix(".weight") in EMBEDDINGS
        out[name.replace("blocks_", "blocks.")] = np.array(x.T if table else x)
    return out


def agree(ours: Any, theirs: Any, tolerance: float, what: str) -> None:
    a, b = np.asarray(ours), theirs.detach().numpy()
    worst, scale = np.abs(a - b).max(), np.abs(b).max()
    assert a.shape == b.shape and worst <= tolerance * scale, f"{what}: {worst:.1e} of {scale:.1e}"


def check(model: nn.Layer, twin: Any, inputs: Any, dtype: str) -> None:
    """Logits, and the gradient in each parameter of a weighted sum of them."""
    params, _ = model.init(random.key(0))
    noise = np.random.default_rng(1)
    params = tree.map(lambda p: lnp.asarray(
        np.asarray(p) + 0.2 * noise.standard_normal(p.shape)).astype(dtype), params)
    twin = twin.to(getattr(torch, dtype))
    left = twin.load_state_dict({k: torch.from_numpy(v) for k, v in torch_params(params).items()},
                                strict=False)
    assert not left.unexpected_keys
    assert all(name.startswith("source") for name in left.missing_keys)  # tied: that is target
    f = lambda p: model.apply(p, {}, *inputs)[0]
    logits, backward = lf.vjp(f, params)
    expected = twin(*[torch.from_numpy(x.astype("int64")) for x in inputs])
    agree(logits, expected, TOLERANCE[dtype], "logits")
    ct = noise.standard_normal(logits.shape).astype(dtype)
    (expected * torch.from_numpy(ct)).sum().backward()
    theirs = dict(twin.named_parameters())
    for name, g in torch_params(backward(lnp.asarray(ct))[0]).items():
        agree(g, theirs[name].grad, TOLERANCE[dtype], name)


@precisions
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_gpt(dtype: str, tied: bool) -> None:
    model = models.GPT(11, 16, 8, 2, 3, tied=tied)
    check(model, GPT(model), (TOKENS,), dtype)


@precisions
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_transformer(dtype: str, tied: bool) -> None:
    model = models.Transformer(11, None, 8, 2, 2, 2, 16, tied=tied, padding=0)
    check(model, Translator(model), (SOURCE, TOKENS[:, :6] % 10 + 1), dtype)


# Of arguments: what is PyTorch's own business, and what stacks need not say here.
NOT_OURS = {"self", "device", "dtype", "enable_nested_tensor", "mask_check"}


@pytest.mark.parametrize("name", ["MultiheadAttention", "TransformerEncoderLayer", "Transformer",
                                  "TransformerDecoderLayer", "TransformerEncoder",
                                  "TransformerDecoder"])
def test_arguments_are_those_of_pytorch(name: str) -> None:
    theirs = inspect.signature(getattr(torch.nn, name).__init__).parameters
    ours = inspect.signature(getattr(nn, name)).parameters
    wanted = [n for n in theirs if n not in NOT_OURS]
    assert list(ours)[:len(wanted)] == wanted
    for n in wanted:
        same = callable(theirs[n].default) or n == "batch_first"  # there False, by default
        assert same or ours[n].default == theirs[n].default, n
