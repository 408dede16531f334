"""What a spec is: a primitive's reference in plain NumPy, and the operands it is tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

Sampler = Callable[[np.random.Generator, tuple[int, ...], np.dtype], np.ndarray]
Operand = tuple[int, ...] | int | float | complex | bool  # a shape, or a Python scalar

DTYPES = {
    "b": [np.dtype(bool)],
    "i": [np.dtype(n) for n in ("int32", "uint8", "int64")],
    "f": [np.dtype(n) for n in ("float32", "float64", "float16")] + [np.dtype(ml_dtypes.bfloat16)],
    "c": [np.dtype(n) for n in ("complex64", "complex128")],
}
KIND = {d: kind for kind, dtypes in DTYPES.items() for d in dtypes}
KIND.update({np.dtype(f"{s}{n}"): "i" for s in ("int", "uint") for n in (8, 16, 32, 64)})


@dataclass(frozen=True)
class Case:
    """Shapes (or Python scalars) of the operands, and parameters."""

    operands: tuple[Operand, ...]
    params: Any = field(default_factory=dict)  # a dict, or a function of the dtype that gives it
    kinds: str | None = None  # instead of the spec's
    order: int | None = None
    domain: Any = None
    eps: float | None = None

    def __str__(self) -> str:
        shapes = " ".join(str(op).replace(" ", "") for op in self.operands)
        params = self.params if isinstance(self.params, dict) else {}
        text = ",".join(f"{k}={v}" for k, v in params.items())
        return f"{shapes} {text}".strip().replace(" ", "_")[:70]


@dataclass(frozen=True)
class Point:
    """A place where the derivative needs a decision: operands, params, and d sum(out)."""

    args: tuple[Any, ...]
    grads: tuple[Any, ...]  # one for each operand; None: not differentiated
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """Everything the driver needs to know about one primitive."""

    name: str
    reference: Callable[..., Any]
    cases: Sequence[Case]
    kinds: str = "f"  # of the main operands: b bool, i integers, f floats, c complex
    domain: Any = None  # a sampler, or one for each operand (the last repeats)
    diff: tuple[int, ...] | None = None  # operands to differentiate; None: all of them
    order: int = 2
    tol: float = 1.0  # a factor on the table's tolerance, for evaluation
    native: bool = False  # whether the reference runs at the operands' own precision
    special: Sequence[tuple[Any, ...]] = ()  # operands with NaN, inf, -0.0; for evaluation
    points: Sequence[Point] = ()
    lanes: bool = True  # whether it is batched (primitives without operands are not)
    normal_form: Callable[[Any], Any] | None = None  # outputs that are defined up to a choice
    grad_of: Callable[[Any], Any] | None = None  # what of the outputs is differentiated

    differences: bool = True  # whether derivatives are those of the computed values
    only: tuple[str, ...] = ()  # dtypes, where a kind is not taken as a whole

    def takes(self, case: Case, dtype: np.dtype) -> bool:
        return KIND[dtype] in self.kinds_of(case) and (not self.only or dtype.name in self.only)

    def kinds_of(self, case: Case) -> str:
        return self.kinds if case.kinds is None else case.kinds

    def order_of(self, case: Case) -> int:
        return self.order if case.order is None else case.order

    def params_of(self, case: Case, dtype: np.dtype) -> dict[str, Any]:
        return case.params(dtype) if callable(case.params) else dict(case.params)

    def operands(self, case: Case, dtype: np.dtype, seed: int = 0) -> list[Any]:
        """Raw operands of this dtype; those with a dtype of their own (indices) keep it."""
        rng = np.random.default_rng([seed, len(case.operands)])
        domain = case.domain or self.domain or normal
        samplers = domain if isinstance(domain, tuple) else (domain,)
        return [sample_one(samplers[min(i, len(samplers) - 1)], rng, op, dtype)
                for i, op in enumerate(case.operands)]

    def differentiated(self, case: Case, args: Sequence[Any]) -> list[int]:
        chosen = range(len(args)) if self.diff is None else self.diff
        return [i for i in chosen if isinstance(args[i], np.ndarray)
                and KIND.get(args[i].dtype) in ("f", "c")]


def sample_one(sampler: Sampler, rng: np.random.Generator, op: Operand, dtype: np.dtype) -> Any:
    if isinstance(op, tuple):
        return np.asarray(sampler(rng, op, dtype))
    return {"b": bool, "i": int, "f": float, "c": complex}[KIND[dtype]](op)


# ------------------------------------------------------------------ samplers

def kinds(real: Callable[[np.random.Generator, tuple[int, ...]], Any], low: int = -5,
          high: int = 6) -> Sampler:
    """A sampler of floats that `real` draws; complex numbers have two parts of it."""
    def sampler(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        kind = KIND[dtype]
        if kind == "b":
            return np.asarray(rng.integers(0, 2, shape), bool)
        if kind == "i":
            lowest = max(low, 0) if dtype.kind == "u" else low
            return np.asarray(rng.integers(lowest, high, shape)).astype(dtype)
        x = real(rng, shape)
        return np.asarray(x + 1j * real(rng, shape) if kind == "c" else x).astype(dtype)
    return sampler


normal = kinds(lambda rng, s: rng.uniform(0.2, 1.6, s) * rng.choice([-1.0, 1.0], s))
positive = kinds(lambda rng, s: rng.uniform(0.3, 2.0, s), low=1)
unit = kinds(lambda rng, s: rng.uniform(0.1, 0.8, s) * rng.choice([-1.0, 1.0], s))
above_one = kinds(lambda rng, s: rng.uniform(1.3, 3.0, s), low=1)
fractions = kinds(lambda rng, s: rng.integers(-3, 4, s) + rng.choice([0.3, 0.7], s))
probability = kinds(lambda rng, s: rng.uniform(0.1, 0.9, s))
nonzero = kinds(lambda rng, s: rng.uniform(0.4, 1.6, s) * rng.choice([-1.0, 1.0], s), low=1)


def distinct(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """No two elements are near each other, in any order."""
    n = int(np.prod(shape))
    if KIND[dtype] == "b":
        return np.asarray(rng.integers(0, 2, shape), bool)
    x = rng.permutation(n).reshape(shape)
    if KIND[dtype] == "i":
        return np.asarray(x).astype(dtype)
    x = 0.5 * x - 0.25 * n
    return np.asarray(x + (1j * rng.integers(0, 4, shape) if KIND[dtype] == "c" else 0.0)
                      ).astype(dtype)


def boolean(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.asarray(rng.integers(0, 2, shape), bool)


def integers(low: int, high: int, dtype: str = "int32") -> Sampler:
    """Operands that are integers whatever the dtype of the others is."""
    return lambda rng, shape, _: np.asarray(rng.integers(low, high, shape), dtype)


def apply_each(f: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """A reference from Python scalars, with integers wrapped to the width of the dtype."""
    def reference(*args: np.ndarray, **params: Any) -> np.ndarray:
        dtype = args[0].dtype
        arrays = np.broadcast_arrays(*args)
        out = np.empty(arrays[0].shape, dtype)
        bits = dtype.itemsize * 8
        for i in np.ndindex(*out.shape):
            value = f(*[a[i].item() for a in arrays], **params)
            if isinstance(value, int) and not isinstance(value, bool) and dtype.kind in "iu":
                value %= 1 << bits
                if dtype.kind == "i" and value >= 1 << (bits - 1):
                    value -= 1 << bits
            out[i] = value
        return out
    return reference


def unsigned(x: int, bits: int) -> int:
    return x % (1 << bits)
