"""Optimizers of recent years, and those for large batches, as short chains.

Where PyTorch has the optimizer (Adafactor, Muon) the formulas and defaults are its own, else those
of optax.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import lucidfn.numpy as lnp
from lucidfn import tree
from lucidfn.array import typeof
from lucidfn.optim.adaptive import scale_by_adam
from lucidfn.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    as_strong,
    by_parts,
    check_decays,
    check_number,
    clock,
    counter,
    debias,
    each,
    map_updates,
    number,
    optimizer,
    rate_at,
    stateless,
    wide,
    widened,
    with_state,
    zeros_like,
)
from lucidfn.optim.clipping import block_norm
from lucidfn.optim.optimizers import adamw, decayed
from lucidfn.optim.transforms import (
    LearningRateState,
    Mask,
    mask_tree,
    scale_by_learning_rate,
    trace,
)
from lucidfn.optim.wrappers import masked, multi_transform
from lucidfn.types import is_inexact

# ------------------------------------------------------------------ lion

class LionState(NamedTuple):
    """The average of gradients."""

    mu: Any


def scale_by_lion(b1: float = 0.9, b2: float = 0.99) -> GradientTransformation:
    """sign(b1 * mu + (1 - b1) * update), then mu = b2 * mu + (1 - b2) * update."""
    check_decays(b1=b1, b2=b2)
    b1, b2 = number(b1), number(b2)

    def step(u: Any, mu: Any) -> tuple[Any, Any]:
        return lnp.sign(mu * b1 + u * (1 - b1)), mu * b2 + u * (1 - b2)

    def update(updates: Any, state: LionState, params: Any = None,
               **extra: Any) -> tuple[Any, LionState]:
        updates, mu = each(step, updates, (state.mu,))
        return updates, LionState(mu)

    return by_parts(with_state(LionState, lambda params: LionState(zeros_like(params)), update))


def lion(learning_rate: ScalarOrSchedule, b1: float = 0.9, b2: float = 0.99,
         weight_decay: ScalarOrSchedule = 1e-3, mask: Mask | None = None) -> GradientTransformation:
    """Signs of an average of gradients, with decoupled weight decay (arXiv:2302.06675).

    Its learning rates are 3 to 10 times smaller than AdamW's, and its weight decay larger.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> tx, params = optim.lion(0.1, weight_decay=0.0), lnp.ones(2)
    >>> updates, state = tx.update(lnp.array([2.0, -0.5]), tx.init(params), params)
    >>> updates
    Array([-0.1,  0.1], dtype=float32)
    """
    return optimizer(scale_by_lion(b1, b2), decayed(weight_decay, mask),
                     scale_by_learning_rate(learning_rate))


# ------------------------------------------------------------------ large batches

def scale_by_trust_ratio(min_norm: float = 0.0, trust_coefficient: float = 1.0,
                         eps: float = 0.0) -> GradientTransformation:
    """Each leaf times trust_coefficient * |parameter| / (|update| + eps); as it is if either is 0.

    Norms below min_norm count as min_norm.
    """
    for name, x in (("min_norm", min_norm), ("trust_coefficient", trust_coefficient),
                    ("eps", eps)):
        check_number(name, x)
    trust, eps, least = number(trust_coefficient), number(eps), number(min_norm)

    def scaled(u: Any, p: Any) -> Any:
        u = widened(u)
        of_p = lnp.maximum(block_norm(lnp.asarray(p, u.dtype)), least)
        of_u = lnp.maximum(block_norm(u), least)
        either = (of_p == 0) | (of_u == 0)
        ratio = of_p * trust / lnp.where(either, 1.0, of_u + eps)
        return u * lnp.where(either, 1.0, ratio)

    def f(updates: Any, params: Any) -> Any:
        if params is None:
            raise TypeError("the trust ratio needs the parameters: tx.update(grads, state, params)")
        return map_updates(scaled, updates, params)

    return stateless(f)


def lamb(learning_rate: ScalarOrSchedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-6,
         weight_decay: ScalarOrSchedule = 0.0, mask: Mask | None = None) -> GradientTransformation:
    """Adam whose step in each leaf is proportional to the leaf's norm (arXiv:1904.00962)."""
    return optimizer(scale_by_adam(b1, b2, eps), decayed(weight_decay, mask),
                     scale_by_trust_ratio(), scale_by_learning_rate(learning_rate))


def lars(learning_rate: ScalarOrSchedule, weight_decay: ScalarOrSchedule = 0.0,
         weight_decay_mask: Mask = True, trust_coefficient: float = 0.001, eps: float = 0.0,
         trust_ratio_mask: Mask = True, momentum: float = 0.9,
         nesterov: bool = False) -> GradientTransformation:
    """Momentum whose step in each leaf is proportional to the leaf's norm (arXiv:1708.03888).

    Biases and scales of norms are usually left out by both masks.
    """
    return optimizer(
        decayed(weight_decay, weight_decay_mask),
        masked(scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps),
               trust_ratio_mask),
        scale_by_learning_rate(learning_rate), trace(momentum, nesterov))


# ------------------------------------------------------------------ adafactor

class FactoredState(NamedTuple):
    """Steps so far; averages of squares: of rows and of columns of a leaf, or (in `rows`) of each
    element of a vector."""

    count: Any
    rows: Any
    cols: Any


def scale_by_factored_rms(beta2_decay: float = -0.8,
                          eps: float | None = None) -> GradientTransformation:
    """update / sqrt(nu), nu the product of the averages of squares over rows and over columns.

    The average at step t = 1, 2, ... takes the part t**beta2_decay of the new square. Leaves with
    fewer than two axes keep the whole nu. eps bounds it from below; None means that of the dtype.
    """
    check_number("-beta2_decay", -beta2_decay)
    if eps is not None:
        check_number("eps", eps)

    def averages(p: Any, axis: int) -> Any:
        t = typeof(p)
        keep = list(t.shape)
        if len(keep) > 1:
            keep[axis] = 1
        return lnp.zeros(keep, wide(t.dtype))

    def init(params: Any) -> FactoredState:
        known = zeros_like(params)
        flat = lambda p: typeof(p).ndim < 2
        return FactoredState(
            counter(), map_updates(lambda p: averages(p, -1), known),
            map_updates(lambda p: None if flat(p) else averages(p, -2), known))

    def update(updates: Any, state: FactoredState, params: Any = None,
               **extra: Any) -> tuple[Any, FactoredState]:
        count = state.count + 1
        part = number(clock(count, updates) ** beta2_decay)

        def step(u: Any, rows: Any, cols: Any) -> tuple[Any, Any, Any]:
            least = float(lnp.finfo(u.dtype).eps) if eps is None else eps
            square = lnp.square(u)
            if cols is None:
                nu = rows = rows + (square - rows) * part
            else:
                rows = rows + (lnp.mean(square, -1, keepdims=True) - rows) * part
                cols = cols + (lnp.mean(square, -2, keepdims=True) - cols) * part
                nu = rows * cols / lnp.maximum(lnp.mean(rows, -2, keepdims=True), least)
            return u / lnp.sqrt(lnp.maximum(nu, least * least)), rows, cols

        updates, rows, cols = each(step, updates, (state.rows, state.cols))
        return updates, FactoredState(count, rows, cols)

    return with_state(FactoredState, init, update)


def adafactor(learning_rate: ScalarOrSchedule = 1e-2, beta2_decay: float = -0.8,
              eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0,
              weight_decay: float = 0.0, mask: Mask | None = None) -> GradientTransformation:
    """Adam in the memory of the rows and columns, with steps relative to the parameters.

    arXiv:1804.04235, as in PyTorch: the step at t = 1, 2, ... is min(learning_rate, 1 / sqrt(t))
    times the root mean square of the leaf (at least eps[1]); its own root mean square, before
    that, is at most d. eps[0] bounds the averages of squares.
    """
    check_number("learning_rate", learning_rate)
    check_number("weight_decay", weight_decay)
    return optimizer(scale_by_factored_rms(beta2_decay, eps[0]),
                     _relative_steps(learning_rate, eps[1], d, weight_decay, mask))


def _relative_steps(learning_rate: ScalarOrSchedule, least: float, most: float,
                    weight_decay: float, mask: Mask | None) -> GradientTransformation:
    """The end of adafactor's chain: bounds, the scale of the parameters, learning rate, decay."""
    check_number("eps[1]", least)
    check_number("d", most)
    least, most, decay = number(least), number(most), number(weight_decay)

    def init(params: Any) -> LearningRateState:
        count = counter()
        return LearningRateState(count, as_strong(rate_at(learning_rate, count)))

    def update(updates: Any, state: LearningRateState, params: Any = None,
               **extra: Any) -> tuple[Any, LearningRateState]:
        rate = number(rate_at(learning_rate, state.count, updates))
        bounded = number(lnp.minimum(rate, (clock(state.count, updates) + 1) ** -0.5))

        def step(u: Any, p: Any, decays: bool) -> Any:
            p, count = lnp.asarray(p, u.dtype), math.sqrt(max(u.size, 1))
            size = lnp.maximum(block_norm(p) / count, least)
            u = u * (-bounded * size / lnp.maximum(block_norm(u) / (count * most), 1.0))
            # The decay is in proportion to the unbounded rate.
            return u - p * (rate * decay) if decays else u

        chosen = mask_tree(True if mask is None else mask, params, updates)
        new = LearningRateState(state.count + 1, as_strong(rate, like=state.learning_rate))
        return map_updates(step, updates, params, chosen), new

    return with_state(LearningRateState, init, update)


# ------------------------------------------------------------------ adan

class AdanState(NamedTuple):
    """Steps so far; averages of gradients, of their differences and of squares; the last one."""

    count: Any
    mu: Any
    delta: Any
    nu: Any
    prev: Any


def scale_by_adan(b1: float = 0.98, b2: float = 0.92, b3: float = 0.99, eps: float = 1e-8,
                  eps_root: float = 0.0) -> GradientTransformation:
    """(mu + b2 * delta) / (sqrt(nu + eps_root) + eps), with what each average has seen divided out.

    mu averages gradients, delta their differences, nu the squares of gradient + b2 * difference;
    b1, b2 and b3 are the parts that the averages keep. The first difference is 0.
    """
    check_decays(b1=b1, b2=b2, b3=b3)
    check_number("eps", eps)
    check_number("eps_root", eps_root)
    b1, b2, b3, eps = number(b1), number(b2), number(b3), number(eps)
    eps_root = number(eps_root)

    def init(params: Any) -> AdanState:
        # Four trees: an array that a state holds twice could not be donated.
        return AdanState(counter(), *[zeros_like(params) for _ in range(4)])

    def update(updates: Any, state: AdanState, params: Any = None,
               **extra: Any) -> tuple[Any, AdanState]:
        count = state.count + 1
        t = clock(count, updates)
        seen_mu, seen_delta, seen_nu = [number(debias(b, t)) for b in (b1, b2, b3)]
        later = number(lnp.where(state.count == 0, 0.0, 1.0))

        def step(u: Any, mu: Any, delta: Any, nu: Any, prev: Any) -> tuple[Any, ...]:
            change = (u - prev) * later
            mu = mu * b1 + u * (1 - b1)
            delta = delta * b2 + change * (1 - b2)
            nu = nu * b3 + lnp.square(u + change * (1 - b2)) * (1 - b3)
            ahead = mu / seen_mu + delta * ((1 - b2) / seen_delta)
            return ahead / (lnp.sqrt(nu / seen_nu + eps_root) + eps), mu, delta, nu, as_strong(u)

        updates, *kept = each(step, updates, tuple(state[1:]))
        return updates, AdanState(count, *kept)

    return by_parts(with_state(AdanState, init, update))


def adan(learning_rate: ScalarOrSchedule, b1: float = 0.98, b2: float = 0.92, b3: float = 0.99,
         eps: float = 1e-8, eps_root: float = 1e-8, weight_decay: ScalarOrSchedule = 0.0,
         mask: Mask | None = None) -> GradientTransformation:
    """Adam with Nesterov momentum from differences of gradients (arXiv:2208.06677)."""
    return optimizer(scale_by_adan(b1, b2, b3, eps, eps_root),
                     decayed(weight_decay, mask),
                     scale_by_learning_rate(learning_rate))


# ------------------------------------------------------------------ muon

_QUINTIC = (3.4445, -4.775, 2.0315)


class MuonState(NamedTuple):
    """The average of gradients."""

    mu: Any


def orthogonalize(x: Any, steps: int = 5, coefficients: Sequence[float] = _QUINTIC,
                  eps: float = 1e-7) -> Any:
    """A matrix [..., m, n] with its singular values moved near 1, by Newton-Schulz iterations.

    Each of them is a x + (b x xᵀ + c (x xᵀ)²) x. With the default coefficients, which are steep
    at 0, singular values end between about 0.7 and 1.2.

    >>> import lucidfn.numpy as lnp
    >>> from lucidfn import optim
    >>> x = optim.orthogonalize(lnp.array([[3.0, 0.0], [0.0, 0.5]]))
    >>> x.shape, bool(lnp.abs(x - lnp.eye(2)).max() < 0.4)
    ((2, 2), True)
    """
    a, b, c = [number(v) for v in coefficients]
    tall = x.shape[-2] > x.shape[-1]
    x = lnp.swapaxes(x, -1, -2) if tall else x
    x = x / lnp.maximum(lnp.sqrt(lnp.sum(lnp.square(x), (-2, -1), keepdims=True)), eps)
    for _ in range(steps):
        gram = x @ lnp.swapaxes(x, -1, -2)
        x = x * a + (gram * b + gram @ gram * c) @ x
    return lnp.swapaxes(x, -1, -2) if tall else x


def scale_by_muon(momentum: float = 0.95, nesterov: bool = True,
                  ns_coefficients: Sequence[float] = _QUINTIC, eps: float = 1e-7,
                  ns_steps: int = 5, adjust: str | None = None) -> GradientTransformation:
    """The average of gradients, orthogonalized, times a factor for the shape of the matrix.

    Matrices are [in, out]; axes before the last of kernels [*window, in, out] count as one. The
    factor is sqrt(max(1, out / in)), or 0.2 sqrt(max(in, out)) for adjust="match_rms_adamw".
    """
    check_decays(momentum=momentum)
    if adjust not in (None, "original", "match_rms_adamw"):
        raise ValueError(f"adjust must be None, 'original' or 'match_rms_adamw', got {adjust!r}")
    momentum = number(momentum)

    def init(params: Any) -> MuonState:
        return MuonState(zeros_like(params))

    def step(u: Any, mu: Any) -> tuple[Any, Any]:
        if u.ndim < 2 or u.dtype.kind == "c":
            raise TypeError(f"muon got a gradient {u.type}; it takes real matrices. Its mask says "
                            "which leaves it updates, the others go to AdamW")
        mu = mu * momentum + u * (1 - momentum)
        ahead = mu * momentum + u * (1 - momentum) if nesterov else mu
        if u.size == 0:
            return ahead, mu
        matrix = ahead.reshape(-1, u.shape[-1])
        m, n = matrix.shape
        size = 0.2 * math.sqrt(max(m, n)) if adjust == "match_rms_adamw" else math.sqrt(
            max(1.0, n / m))
        return orthogonalize(matrix, ns_steps, ns_coefficients, eps).reshape(u.shape) * size, mu

    def update(updates: Any, state: MuonState, params: Any = None,
               **extra: Any) -> tuple[Any, MuonState]:
        updates, mu = each(step, updates, (state.mu,))
        return updates, MuonState(mu)

    return with_state(MuonState, init, update)


def muon(learning_rate: ScalarOrSchedule = 1e-3, weight_decay: float = 0.1,
         momentum: float = 0.95, nesterov: bool = True,
         ns_coefficients: Sequence[float] = _QUINTIC, eps: float = 1e-7, ns_steps: int = 5,
         adjust: str | None = None, mask: Mask | None = None,
         others: GradientTransformation | None = None) -> GradientTransformation:
    """Steps that are orthogonal matrices, with decoupled weight decay (Jordan et al. 2024).

    PyTorch's Muon for the leaves where `mask` is true (by default the real matrices) and `others`
    for the rest (by default AdamW with the same learning rate and decay). Embeddings and the last
    layer do better with AdamW: leave them out of the mask, as kernels of convolutions may be put
    in. The iterations run in the dtype of the gradients, where PyTorch's run in bfloat16.
    """
    inner = optimizer(scale_by_muon(momentum, nesterov, ns_coefficients, eps, ns_steps, adjust),
                      decayed(weight_decay), scale_by_learning_rate(learning_rate))
    rest = adamw(learning_rate, weight_decay=weight_decay) if others is None else others

    def labels(params: Any) -> Any:
        chosen = tree.map(_is_matrix, params) if mask is None else mask_tree(mask, params, params)
        return tree.map(lambda m: "muon" if m else "others", chosen)

    return optimizer(multi_transform({"muon": inner, "others": rest}, labels))


def _is_matrix(p: Any) -> bool:
    t = typeof(p)
    return t.ndim == 2 and is_inexact(t.dtype) and t.dtype.kind != "c"


__all__ = [
    "AdanState", "FactoredState", "LionState", "MuonState", "adafactor", "adan", "lamb", "lars",
    "lion", "muon", "orthogonalize", "scale_by_adan", "scale_by_factored_rms", "scale_by_lion",
    "scale_by_muon", "scale_by_trust_ratio",
]
