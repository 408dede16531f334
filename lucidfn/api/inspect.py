"""Looking without running: the program of a function, the shapes of its outputs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from lucidfn.api.arguments import name_of
from lucidfn.api.options import Options
from lucidfn.api.outputs import Outputs
from lucidfn.array import is_array_like, typeof
from lucidfn.core.ir import Program
from lucidfn.core.record import record
from lucidfn.tree import flatten, unflatten
from lucidfn.types import ArrayType, ShapeDtypeStruct


def is_traced_leaf(x: Any) -> bool:
    """Whether a leaf of the arguments is traced: arrays and numbers are, a Python bool is not."""
    return (is_array_like(x) or isinstance(x, ShapeDtypeStruct)) and type(x) is not bool


class Recorded:
    """A user's function recorded on types, with what is needed to rebuild its outputs."""

    def __init__(self, fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
                 static: Sequence[int] = (), what: str = "make_ir"):
        self.fun = fun
        static = tuple(n % len(args) if args else n for n in static)
        dynamic = tuple(a for i, a in enumerate(args) if i not in static)
        fixed = {i: args[i] for i in static}
        leaves, treedef = flatten((dynamic, kwargs))
        traced = [is_traced_leaf(x) for x in leaves]
        types: list[ArrayType] = [typeof(x) for x, t in zip(leaves, traced, strict=True) if t]
        labels = Options(fun, what, static, ()).leaf_names(args, kwargs)
        names = [n for n, t in zip(labels, traced, strict=True) if t]

        self.outputs = Outputs()

        def flat(*raws: Any) -> list[Any]:
            values = iter(raws)
            filled = [next(values) if t else x
                      for x, t in zip(leaves, traced, strict=True)]
            dyn, kw = unflatten(treedef, filled)
            it = iter(dyn)
            call = [fixed[i] if i in fixed else next(it) for i in range(len(args))]
            out = fun(*call, **kw)
            return self.outputs.take(out, f"{what}: {name_of(fun)}")

        self.program: Program = record(flat, types, what=what, names=names)
        self.types = types

    def rebuild(self, outs: Sequence[Any]) -> Any:
        """The output tree from raw outputs of the program."""
        return self.outputs.rebuild(outs)

    def out_structs(self) -> Any:
        """The output tree with a ShapeDtypeStruct for each array."""
        return self.outputs.structs(self.program)


def make_ir(fun: Callable[..., Any], static_argnums: int | Sequence[int] = (),
            return_shape: bool = False) -> Callable[..., Any]:
    """A function that returns the `Program` of `fun` for its arguments, without running it.

    Arguments may be arrays or `ShapeDtypeStruct`. With `return_shape`, returns
    `(program, tree of output ShapeDtypeStructs)`.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> print(lf.make_ir(lambda x: lnp.sin(x) * 2.0)(lnp.ones(3)))
    program(a:float32[3])
      b:float32[3] = sin a
      c:float32[3] = mul b 2.0
      return c
    """
    static = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)

    @functools.wraps(fun)
    def make_ir_fun(*args: Any, **kwargs: Any) -> Any:
        recorded = Recorded(fun, args, kwargs, static)
        return (recorded.program, recorded.out_structs()) if return_shape else recorded.program

    return make_ir_fun


make_jaxpr = make_ir


def eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The output tree of `fun(*args, **kwargs)` with a `ShapeDtypeStruct` for each array.

    Nothing is computed. Arguments may be arrays or `ShapeDtypeStruct`.

    >>> import lucidfn as lf, lucidfn.numpy as lnp
    >>> lf.eval_shape(lnp.dot, lf.ShapeDtypeStruct((2, 3), "float32"), lnp.ones((3, 4)))
    ShapeDtypeStruct(shape=(2, 4), dtype=float32)
    """
    return Recorded(fun, args, kwargs, what="eval_shape").out_structs()


