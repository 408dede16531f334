"""`nn.CrossEntropyLoss` and its kin: values that equal their functions, with PyTorch's options."""

import inspect
from typing import Any

import numpy as np
import pytest
from nn_tables import FUNCTIONS

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import nn, testing
from lucidfn.nn import losses

close = testing.assert_allclose
ROWS: dict[str, Any] = {case.name: case for case in reversed(FUNCTIONS)}  # the first of each name

CLASSES = {
    "MSELoss": "mse_loss", "L1Loss": "l1_loss", "SmoothL1Loss": "smooth_l1_loss",
    "HuberLoss": "huber_loss", "CrossEntropyLoss": "cross_entropy", "NLLLoss": "nll_loss",
    "BCELoss": "binary_cross_entropy", "BCEWithLogitsLoss": "binary_cross_entropy_with_logits",
    "KLDivLoss": "kl_div", "CTCLoss": "ctc_loss", "TripletMarginLoss": "triplet_margin_loss",
    "HingeEmbeddingLoss": "hinge_embedding_loss", "MarginRankingLoss": "margin_ranking_loss",
    "CosineEmbeddingLoss": "cosine_embedding_loss", "GaussianNLLLoss": "gaussian_nll_loss",
    "PoissonNLLLoss": "poisson_nll_loss", "SoftMarginLoss": "soft_margin_loss",
    "MultiMarginLoss": "multi_margin_loss", "MultiLabelMarginLoss": "multilabel_margin_loss",
    "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss",
    "CosineSimilarity": "cosine_similarity", "PairwiseDistance": "pairwise_distance",
}


def test_every_loss_class_is_listed() -> None:
    assert {*CLASSES, "Loss"} == set(nn.layers.losses.__all__)


@pytest.mark.parametrize("name", CLASSES)
def test_loss_class_equals_its_function(name: str) -> None:
    loss, function = getattr(nn, name)(), getattr(nn.functional, CLASSES[name])
    rng = np.random.default_rng(0)
    inputs = [lnp.asarray(x.make(rng, "float32")) for x in ROWS[CLASSES[name]].inputs]
    if name == "CTCLoss":
        inputs = [nn.log_softmax(inputs[0]), lnp.asarray([[1, 2]] * 4), [6] * 4, [2] * 4]
    close(loss(*inputs), function(*inputs), rtol=0, atol=0)
    close(lf.jit(loss)(*inputs), function(*inputs), rtol=1e-6)
    assert repr(loss) == f"{name}()" and loss == eval(repr(loss), vars(nn))
    assert hash(loss) == hash(getattr(nn, name)())
    with pytest.raises(AttributeError):
        loss.reduction = "sum"


@pytest.mark.peers
@pytest.mark.parametrize("name", CLASSES)
def test_loss_class_has_the_options_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    theirs = {"axis" if p.name == "dim" else p.name: p.default for p in
              inspect.signature(getattr(torch.nn, name)).parameters.values()
              if p.name not in ("size_average", "reduce")}
    ours = {p.name: p.default for p in inspect.signature(getattr(nn, name)).parameters.values()}
    ours = {k: v for k, v in ours.items() if k in theirs or k != "axis"}
    assert list(ours) == list(theirs)
    if name == "CosineSimilarity":
        assert theirs.pop("axis") == 1 and ours.pop("axis") == -1  # channels are last here
    assert ours == theirs


def test_binary_cross_entropy_with_logits_loss_needs_no_arguments() -> None:
    assert np.isfinite(nn.BCEWithLogitsLoss()(lnp.ones(3), lnp.zeros(3)))
    assert nn.MSELoss(reduction=None)(lnp.ones(3), lnp.zeros(3)).shape == (3,)


def test_options_of_loss_classes() -> None:
    weight = lnp.asarray([0.1, 2.0])
    loss = nn.CrossEntropyLoss(weight=weight, label_smoothing=0.1)
    assert loss.weight == tuple(np.asarray(weight).tolist())
    assert "label_smoothing=0.1" in repr(loss) and eval(repr(loss), vars(nn)) == loss
    assert loss != nn.CrossEntropyLoss(label_smoothing=0.1)
    x, y = lnp.asarray([[1.0, 2.0]], "float64"), [1]
    close(nn.CrossEntropyLoss(weight=[0.1, 0.3], reduction="none")(x, y),
          losses.cross_entropy(x, y, np.asarray([0.1, 0.3]), reduction="none"), rtol=0, atol=0)
    with pytest.raises(TypeError, match="unexpected keyword"):
        nn.MSELoss(size_average=True)
    with pytest.raises(TypeError, match="nn.losses"):
        lf.jit(lambda w: nn.CrossEntropyLoss(weight=w)(x, y))(weight)
