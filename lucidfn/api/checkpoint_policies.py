"""Policies of `lf.checkpoint(f, policy=...)`: which results of the forward pass may be kept.

A policy is a function of one operation, `policy(primitive, *input_types, **params) -> bool`. These
are the common ones; those that take names are made by a call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lucidfn import ops
from lucidfn.core.primitive import Primitive

Policy = Callable[..., bool]


def everything_saveable(primitive: Primitive, *types: Any, **params: Any) -> bool:
    """Keep all that the derivative reads: as without a checkpoint."""
    return True


def nothing_saveable(primitive: Primitive, *types: Any, **params: Any) -> bool:
    """Keep the inputs only: as a checkpoint without a policy."""
    return False


def dots_saveable(primitive: Primitive, *types: Any, **params: Any) -> bool:
    """Keep results of matrix products and convolutions, which cost most to compute again."""
    return primitive in (ops.dot_general, ops.conv)


def dots_with_no_batch_dims_saveable(primitive: Primitive, *types: Any, **params: Any) -> bool:
    """Keep results of matrix products without batch axes: those with weights, not attention's."""
    return primitive is ops.dot_general and not any(params["batch"])


# Equal policies are one: programs are kept under them.
@dataclass(frozen=True)
class _Names:
    """A policy about what `checkpoint_name` has named; the others may be kept if `rest`."""

    names: frozenset[str]
    listed: bool  # whether what has one of the names may be kept
    rest: bool

    def __call__(self, primitive: Primitive, *types: Any, **params: Any) -> bool:
        if primitive is not ops.checkpoint_name:
            return self.rest
        return (params["name"] in self.names) == self.listed

    @property
    def dropped(self) -> frozenset[str]:
        """Names of what is not kept under any other name either."""
        return self.names if self.rest else frozenset()


def _checked(names: tuple[str, ...], policy: str) -> frozenset[str]:
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{policy} takes names, as in {policy}('a', 'b'), got {name!r:.60}")
    return frozenset(names)


def save_only_these_names(*names: str) -> Policy:
    """Keep what `checkpoint_name` gave one of these names, and nothing else."""
    return _Names(_checked(names, "save_only_these_names"), True, False)


def save_any_names_but_these(*names: str) -> Policy:
    """Keep what has a name, unless it is one of these."""
    return _Names(_checked(names, "save_any_names_but_these"), False, False)


def save_anything_except_these_names(*names: str) -> Policy:
    """Keep everything, named or not, but what has one of these names."""
    return _Names(_checked(names, "save_anything_except_these_names"), False, True)


@dataclass(frozen=True)
class _Either:
    first: Policy
    second: Policy

    def __call__(self, primitive: Primitive, *types: Any, **params: Any) -> bool:
        return self.first(primitive, *types, **params) or self.second(primitive, *types, **params)


def save_from_both_policies(policy_1: Policy, policy_2: Policy) -> Policy:
    """Keep what either policy keeps."""
    return _Either(policy_1, policy_2)


checkpoint_dots = dots_saveable
checkpoint_dots_with_no_batch_dims = dots_with_no_batch_dims_saveable

__all__ = ["checkpoint_dots", "checkpoint_dots_with_no_batch_dims", "dots_saveable",
           "dots_with_no_batch_dims_saveable", "everything_saveable", "nothing_saveable",
           "save_any_names_but_these", "save_anything_except_these_names",
           "save_from_both_policies", "save_only_these_names"]
