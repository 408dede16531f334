"""Losses as values: `nn.CrossEntropyLoss(label_smoothing=0.1)(logits, labels)`.

A loss is a function of `nn.losses` with its options fixed, and no layer: it has no parameters. The
constructor takes the options of the function, by the names and in the order of PyTorch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lucidfn.array import unwrap
from lucidfn.core.trace import Tracer
from lucidfn.nn.functional import classification, ctc, distances, losses, margins
from lucidfn.nn.layer import same, show


class Loss:
    """Base of the losses: `class MSELoss(Loss, of=mse_loss)` has the options of that function.

    Frozen, hashable, equal by value. Arrays given as options are kept as tuples of numbers.
    `without` names options that only the function has.
    """

    function: ClassVar[Callable[..., Any]]

    if TYPE_CHECKING:
        def __init__(self, *args: Any, **options: Any) -> None: ...

    def __init_subclass__(cls, of: Callable[..., Any], without: tuple[str, ...] = ()):
        super().__init_subclass__()
        options = [p for p in inspect.signature(of).parameters.values()
                   if p.default is not p.empty and p.name not in without]
        cls.function = staticmethod(of)
        cls.__annotations__ = {p.name: p.annotation for p in options}
        for p in options:
            setattr(cls, p.name, p.default)
        dataclass(frozen=True, repr=False)(cls)
        text = (inspect.getdoc(of) or "").partition(">>>")[0].rstrip()  # without the example
        cls.__doc__ = f"`{of.__name__}` with its options fixed.\n\n{text}"

    def __post_init__(self) -> None:
        me = type(self).__name__
        for field in fields(self):  # type: ignore[arg-type]
            value = _plain(f"{me}({field.name}=...)", getattr(self, field.name))
            if isinstance(value, tuple) and isinstance(field.default, (str, int, float)):
                raise TypeError(f"{me} got an array as {field.name}; the constructor takes "
                                f"options, data goes into the call: {me}()(input, target)")
            object.__setattr__(self, field.name, value)

    def options(self) -> dict[str, Any]:
        """The options by name, as the function takes them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    def __call__(self, *inputs: Any) -> Any:
        if inputs and isinstance(inputs[0], dict):
            raise TypeError(f"{type(self).__name__} got a dict; a loss has no parameters: "
                            "loss(input, target)")
        return self.function(*inputs, **self.options())

    def __repr__(self) -> str:
        changed = [f"{f.name}={show(getattr(self, f.name))}"
                   for f in fields(self)  # type: ignore[arg-type]
                   if not same(getattr(self, f.name), f.default)]
        return f"{type(self).__name__}({', '.join(changed)})"


def _plain(where: str, value: Any) -> Any:
    """An option without arrays, so that it is hashable."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return tuple([_plain(where, v) for v in value])
    if isinstance(raw := unwrap(value), Tracer):
        raise TypeError(f"{where} got a traced {raw.type}; a loss is a fixed value. Call the "
                        "function instead: nn.losses has it")
    return _plain(where, np.asarray(raw).tolist())


class MSELoss(Loss, of=losses.mse_loss, without=("weight",)): ...


class L1Loss(Loss, of=losses.l1_loss, without=("weight",)): ...


class SmoothL1Loss(Loss, of=losses.smooth_l1_loss): ...


class HuberLoss(Loss, of=losses.huber_loss, without=("weight",)): ...


class CrossEntropyLoss(Loss, of=classification.cross_entropy): ...


class NLLLoss(Loss, of=classification.nll_loss): ...


class BCELoss(Loss, of=classification.binary_cross_entropy): ...


class BCEWithLogitsLoss(Loss, of=classification.binary_cross_entropy_with_logits): ...


class KLDivLoss(Loss, of=classification.kl_div): ...


class CTCLoss(Loss, of=ctc.ctc_loss): ...


class TripletMarginLoss(Loss, of=margins.triplet_margin_loss): ...


class HingeEmbeddingLoss(Loss, of=margins.hinge_embedding_loss): ...


class MarginRankingLoss(Loss, of=margins.margin_ranking_loss): ...


class CosineEmbeddingLoss(Loss, of=margins.cosine_embedding_loss): ...


class GaussianNLLLoss(Loss, of=losses.gaussian_nll_loss): ...


class PoissonNLLLoss(Loss, of=losses.poisson_nll_loss): ...


class SoftMarginLoss(Loss, of=margins.soft_margin_loss): ...


class MultiMarginLoss(Loss, of=margins.multi_margin_loss): ...


class MultiLabelMarginLoss(Loss, of=margins.multilabel_margin_loss): ...


class MultiLabelSoftMarginLoss(Loss, of=margins.multilabel_soft_margin_loss): ...


class CosineSimilarity(Loss, of=distances.cosine_similarity): ...


class PairwiseDistance(Loss, of=distances.pairwise_distance): ...


__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CTCLoss", "CosineEmbeddingLoss", "CosineSimilarity",
    "CrossEntropyLoss", "GaussianNLLLoss", "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss",
    "Loss", "MSELoss", "MarginRankingLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss",
    "MultiMarginLoss", "NLLLoss", "PairwiseDistance", "PoissonNLLLoss", "SmoothL1Loss",
    "SoftMarginLoss", "TripletMarginLoss",
]
