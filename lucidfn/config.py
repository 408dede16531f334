"""Settings, as one immutable value in a context variable.

A setting changed by `with` is undone at the end of the block and is not seen by other threads.
The whole value is part of the key under which `jit` caches: nothing traced under one setting is
run under another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Settings:
    """Every setting with its default."""

    default_float: str = "float32"
    default_int: str = "int32"
    default_device: str = "cpu"
    default_prng_impl: str = "threefry2x32"
    debug_nans: bool = False
    debug_infs: bool = False
    disable_jit: bool = False
    fast_math: bool = False
    fast_paths: str = "default"  # fused kernels of MLX: where they are faster; "on"; "off"
    mlx_compile: str = "default"  # jit by `mx.compile`: on a GPU; "on": on MLX's CPU too; "off"
    key_reuse: str = "default"  # "default": warn in recorded programs; "error": strict; "off"
    numpy_dtype_promotion: str = "standard"  # or "strict"
    numpy_rank_promotion: str = "allow"  # or "warn", "raise"
    jit_cache_size: int = 256
    log_transfers: bool = False  # report what is copied between devices, on stderr
    num_threads: int = 0  # 0: one for each core that this process may use

    def __post_init__(self) -> None:  # hashed at every jitted call: once is enough
        values = tuple([getattr(self, f.name) for f in fields(self)])
        object.__setattr__(self, "_hash", hash(values))

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined]


def threads_of_environment() -> int:
    """LUCIDFN_NUM_THREADS: the default of `num_threads`."""
    text = os.environ.get("LUCIDFN_NUM_THREADS", "").strip() or "0"
    if not (text.isascii() and text.isdigit()):
        raise ValueError("the environment variable LUCIDFN_NUM_THREADS must be a number of threads "
                         f"(0: one for each core that this process may use), got {text!r}")
    return int(text)


_defaults = Settings(num_threads=threads_of_environment())
_settings: ContextVar[Settings] = ContextVar("lucidfn_settings", default=_defaults)  # noqa: B039
_known = {_defaults: _defaults}  # equal settings are one object: a jitted call compares identity
_ALLOWED = {
    "default_float": ("float16", "bfloat16", "float32", "float64"),
    "default_int": ("int32", "int64"),
    "default_prng_impl": ("threefry2x32", "philox"),
    "fast_paths": ("default", "on", "off"),
    "key_reuse": ("default", "error", "off"),
    "mlx_compile": ("default", "on", "off"),
    "numpy_dtype_promotion": ("standard", "strict"),
    "numpy_rank_promotion": ("allow", "warn", "raise"),
}


# What a value is kept as, or an error: for settings that a higher layer knows the values of.
normal_forms: dict[str, Callable[[Any], Any]] = {}


def settings() -> Settings:
    """The settings in force here."""
    return _settings.get()


def checked(**changes: Any) -> Settings:
    known = {f.name: type(f.default) for f in fields(Settings)}
    for name, value in changes.items():
        if name not in known:
            raise AttributeError(f"lucidfn.config has no setting {name!r}; it has {sorted(known)}")
        if not isinstance(value, known[name]) or (known[name] is int and type(value) is bool):
            raise TypeError(f"lucidfn.config.{name} must be {known[name].__name__}, got {value!r}")
        if name in normal_forms:
            changes[name] = value = normal_forms[name](value)
        if value not in _ALLOWED.get(name, (value,)):
            raise ValueError(f"lucidfn.config.{name} must be one of {_ALLOWED[name]}, got "
                             f"{value!r}")
    if changes.get("num_threads", 0) < 0:
        raise ValueError("lucidfn.config.num_threads must be 1 or more, or 0 for one for each core "
                         f"that this process may use, got {changes['num_threads']}")
    made = replace(_settings.get(), **changes)
    return _known.setdefault(made, made)


@contextmanager
def override(**changes: Any) -> Iterator[Settings]:
    """Change settings for the length of a `with` block."""
    token = _settings.set(checked(**changes))
    try:
        yield _settings.get()
    finally:
        _settings.reset(token)


class Config:
    """`lf.config`: read a setting as an attribute, assign to change it in this context.

    >>> import lucidfn as lf
    >>> lf.config.default_float
    'float32'
    >>> with lf.config.override(default_float="float64"):
    ...     lf.config.default_float
    'float64'
    """

    __slots__ = ()
    override = staticmethod(override)

    def __getattr__(self, name: str) -> Any:
        return getattr(_settings.get(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        _settings.set(checked(**{name: value}))

    def update(self, name: str, value: Any) -> None:
        """Change one setting by name; a leading `jax_` is accepted."""
        _settings.set(checked(**{name.removeprefix("jax_"): value}))

    def __repr__(self) -> str:
        return repr(_settings.get()).replace("Settings", "lucidfn.config", 1)


config = Config()
