"""What a derivative keeps from the forward pass, and what it does not see."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from lucidfn import ops
from lucidfn.api.arguments import name_of, raw_leaf
from lucidfn.api.call_site import is_plain
from lucidfn.api.inspect import Recorded, is_traced_leaf
from lucidfn.api.jit import JitFunction
from lucidfn.api.lifting import tracers_in
from lucidfn.api.options import as_names, as_positions
from lucidfn.array import is_array_like, weak_of, wrap
from lucidfn.config import settings
from lucidfn.control.call import call
from lucidfn.control.call import checkpoint as checkpoint_call
from lucidfn.control.custom import take_tracers, trace_of
from lucidfn.control.saving import Policy
from lucidfn.core.record import RecordTrace
from lucidfn.tree import explain_mismatch, flatten
from lucidfn.tree import map as tree_map


class CheckpointFunction(JitFunction):
    """A function whose derivative computes it again. Made by `checkpoint`."""

    kind = "checkpoint"
    policy: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if settings().disable_jit or (is_plain((args, kwargs)) and not tracers_in(self.fun)):
            return self.fun(*args, **kwargs)
        entry, raws, _, _ = self.lookup(args, kwargs, settings())
        options = {} if self.policy is None else {"policy": self.policy}
        return entry.outputs.rebuild(checkpoint_call(*entry.outer, *raws, program=entry.program,
                                                     name=self.name, **options))

    def __reduce__(self) -> Any:
        found = super().__reduce__()
        return found if isinstance(found, str) else (*found, {"policy": self.policy})


def checkpoint(fun: Callable[..., Any] | None = None, *, prevent_cse: bool = True,
               policy: Policy | None = None, static_argnums: int | Sequence[int] = (),
               static_argnames: str | Sequence[str] = ()) -> Any:
    """A function that keeps only its inputs for the backward pass, and computes itself again there.

    Saves the memory of its intermediate results for the time of one more forward pass. With a
    `policy` (see `lf.checkpoint_policies`) it also keeps the results that this says may be kept,
    as far as the derivative reads them; `lf.print_saved_residuals` shows which they are. The
    function is recorded where it is differentiated, so that Python control flow can depend only on
    shapes and on static arguments. Usable as `@checkpoint` and as `@checkpoint(static_argnums=1)`.
    `prevent_cse` is accepted: what is computed again is never merged with the first pass.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> float(lf.grad(lf.checkpoint(lambda x: lnp.sin(lnp.sin(x))))(0.0))
    1.0
    """
    if fun is None:
        return functools.partial(checkpoint, prevent_cse=prevent_cse, policy=policy,
                                 static_argnums=static_argnums, static_argnames=static_argnames)
    if not callable(fun):
        raise TypeError(f"checkpoint needs a function, got {type(fun).__name__}")
    if policy is not None and not callable(policy):
        raise TypeError(f"checkpoint: policy must be a function, got {policy!r:.60}; there are "
                        "some in lf.checkpoint_policies")
    hash(policy)  # programs are kept under it
    nums = as_positions(static_argnums, "checkpoint: static_argnums")
    made = CheckpointFunction(fun, nums, as_names(static_argnames), (), ())
    made.policy = policy
    return made


remat = checkpoint


def closure_convert(fun: Callable[..., Any],
                    *example_args: Any) -> tuple[Callable[..., Any], list[Any]]:
    """`(converted, consts)`: the function with the traced values it closes over as arguments.

    `converted(*args, *consts)` equals `fun(*args)` for arguments of the types of `example_args`,
    and closes over nothing that is traced.

    >>> import lucidfn as lf
    >>> def outer(w):
    ...     f, consts = lf.closure_convert(lambda x: w * x, 1.0)
    ...     return f(3.0, *consts)
    >>> float(lf.grad(outer)(2.0))
    3.0
    """
    recorded = Recorded(fun, example_args, {}, what="closure_convert")
    found, program = take_tracers(recorded.program)
    structure = flatten(example_args)[1]
    count, what = len(example_args), f"closure_convert of {name_of(fun)}"

    @functools.wraps(fun)
    def converted(*args: Any) -> Any:
        leaves, treedef = flatten(args[:count])
        if treedef != structure:
            raise TypeError(f"{what}: the arguments are unlike the example: " + explain_mismatch(
                treedef, structure, ("arguments", "example")))
        consts = [raw_leaf(x) for x in args[count:]]
        if len(consts) != len(found):
            raise TypeError(f"{what}: got {len(consts)} constants after the {count} arguments, "
                            f"expected {len(found)}")
        outs = program(*consts, *[raw_leaf(x) for x in leaves if is_traced_leaf(x)])
        return recorded.rebuild(outs)

    return converted, [wrap(x, weak_of(x)) for x in found]


def checkpoint_name(x: Any, name: str) -> Any:
    """The tree x, its arrays under a name by which checkpoint policies can keep them or not.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> keep = lf.checkpoint_policies.save_only_these_names("hidden")
    >>> @lf.checkpoint(policy=keep)
    ... def f(x):
    ...     return lnp.sin(lf.checkpoint_name(lnp.sin(x), "hidden"))
    >>> [r.origin for r in lf.saved_residuals(f, 1.0)]
    ['argument `x`', '`hidden`']
    """
    if not isinstance(name, str):
        raise TypeError(f"checkpoint_name needs a name, a string, got {name!r:.60}")
    return tree_map(lambda leaf: wrap(ops.checkpoint_name(raw_leaf(leaf), name=name),
                                      weak_of(leaf)) if is_array_like(leaf) else leaf, x)


def stop_gradient(x: Any) -> Any:
    """The same tree with derivative zero: constants to `grad` and `jvp`.

    >>> import lucidfn as lf
    >>> float(lf.grad(lambda x: x * lf.stop_gradient(x))(3.0))
    3.0
    """
    return tree_map(lambda leaf: wrap(ops.stop_gradient(raw_leaf(leaf)), weak_of(leaf))
                    if is_array_like(leaf) else leaf, x)


def named_call(fun: Callable[..., Any], *, name: str | None = None) -> Callable[..., Any]:
    """The function under a name that programs show: recorded, it is one `call` equation.

    >>> import lucidfn as lf
    >>> f = lf.named_call(lambda x: x * x, name="square")
    >>> print(lf.make_ir(f)(2.0))
    program(a:float32*[])
      b:float32*[] = call[name='square'] a
          program: program(a:float32*[])
            b:float32*[] = mul a a
            return b
      return b
    """
    label = name or name_of(fun)

    @functools.wraps(fun)
    def named(*args: Any, **kwargs: Any) -> Any:
        raws = [raw_leaf(x) for x in flatten((args, kwargs))[0] if is_traced_leaf(x)]
        if not isinstance(trace_of(raws), RecordTrace):
            return fun(*args, **kwargs)
        recorded = Recorded(fun, args, kwargs, what=label)
        found, program = take_tracers(recorded.program)
        return recorded.rebuild(call(*found, *raws, program=program, name=label))

    return named


__all__ = ["checkpoint", "checkpoint_name", "closure_convert", "named_call", "remat",
           "stop_gradient"]
