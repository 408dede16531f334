"""Functions that control flow runs: users' functions of trees, recorded on the types of leaves.

    operands = Operands(init, "scan", "init")           # raw leaves, their types, the structure
    body = trace_body(fun, [operands, xs.rows()], "scan")
    outs = primitive(*body.consts, *operands.raws, program=body.program)
    body.rebuild(outs)                                  # the tree that the function returned

What the function closes over, traced values and arrays alike, becomes operands in front: the
`consts`. A function is recorded once for each kind of arguments and kept, as `jit` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lucidfn import ops
from lucidfn.api.arguments import check_function, describe_leaf, name_of, raw_leaf
from lucidfn.api.jit import JitFunction
from lucidfn.api.outputs import Outputs
from lucidfn.array import check_library, is_array_like, weak_of, wrap
from lucidfn.config import settings
from lucidfn.core.ir import Program, Var
from lucidfn.core.source import describe_line, here
from lucidfn.tree import (
    PyTreeDef,
    explain_mismatch,
    flatten,
    flatten_with_path,
    leaves_with_path,
    unflatten,
)
from lucidfn.tree_util import keystr
from lucidfn.types import ArrayType, ShapeDtypeStruct, result_type


def at_line(what: str) -> str:
    """`scan at train.py:41`: how messages of control flow begin."""
    return f"{what} at {describe_line(here())}"


@dataclass
class Operands:
    """A tree of arrays as control flow takes it: raw leaves, their types, and the structure.

    The types say which leaves are weak. Numbers become arrays without axes.
    """

    raws: list[Any]
    types: list[ArrayType]
    treedef: PyTreeDef
    name: str

    @classmethod
    def of(cls, tree: Any, what: str, name: str) -> Operands:
        """TypeError, with its path, for a leaf that is no array."""
        pairs, treedef = flatten_with_path(tree)
        for path, x in pairs:
            if not is_array_like(x):
                check_library(x)
                raise TypeError(f"{at_line(what)}: {name}{keystr(path)} is {describe_leaf(x)}, "
                                "which is not an array; close over what is no array")
        raws = [raw_leaf(x) for _, x in pairs]
        types = [ArrayType(r.shape, r.dtype, weak_of(x))
                 for r, (_, x) in zip(raws, pairs, strict=True)]
        return cls(raws, types, treedef, name)

    def structs(self) -> Any:
        """The tree with a `ShapeDtypeStruct` for each leaf."""
        return unflatten(self.treedef, [ShapeDtypeStruct(t.shape, t.dtype, weak=t.weak)
                                        for t in self.types])

    def paths(self) -> list[str]:
        """The name of each leaf, such as `init['h']`."""
        return tree_paths(self.treedef, self.name)

    def converted(self, types: Sequence[ArrayType]) -> Operands:
        """The same tree with leaves of these dtypes and weakness."""
        raws = [r if r.dtype == t.dtype else ops.convert(r, dtype=t.dtype)
                for r, t in zip(self.raws, types, strict=True)]
        return replace(self, raws=raws, types=list(types))

    def rebuild(self, raws: Sequence[Any], weaks: Sequence[bool] | None = None) -> Any:
        """The tree with other raw leaves, as users see them."""
        weaks = [t.weak for t in self.types] if weaks is None else weaks
        return unflatten(self.treedef, [wrap(x, w) for x, w in zip(raws, weaks, strict=True)])


def tree_paths(treedef: PyTreeDef, name: str) -> list[str]:
    """The name of each leaf of a structure: `name` and its path."""
    tree = unflatten(treedef, [0] * treedef.num_leaves)
    return [name + keystr(path) for path, _ in leaves_with_path(tree)]


@dataclass
class Body:
    """A recorded function. `program`: consts, then the leaves of the arguments -> output leaves.

    `consts` are raw values of this call. `types` are those of the output leaves, weak where weak.
    """

    program: Program
    consts: list[Any]
    treedef: PyTreeDef
    types: list[ArrayType]
    name: str

    def rebuild(self, raws: Sequence[Any]) -> Any:
        """The tree that the function returned, from raw leaves."""
        return unflatten(self.treedef, [wrap(x, t.weak)
                                        for x, t in zip(raws, self.types, strict=True)])

    def children(self) -> tuple[Any, ...] | None:
        """The structures of a returned tuple's parts; None if it returned something else."""
        tree = unflatten(self.treedef, range(self.treedef.num_leaves))
        return tuple([flatten(part)[1] for part in tree]) if type(tree) in (tuple, list) else None


class _AllArrays(Outputs):
    """Outputs whose every leaf is an array: a Python bool is one too."""

    __slots__ = ()

    def take(self, out: Any, where: str) -> list[Any]:
        leaves, treedef = flatten(out)
        return super().take(unflatten(treedef, [
            wrap(raw_leaf(x)) if type(x) is bool else x for x in leaves]), where)


class BodyFunction(JitFunction):
    """A function recorded for control flow."""

    kind = "body"
    outputs_type = _AllArrays


def trace_body(fun: Callable[..., Any], args: Sequence[Operands | Any], what: str) -> Body:
    """Record `fun(*args)`; an argument is `Operands`, or a tree of `ShapeDtypeStruct`."""
    check_function(fun, what)
    structs = tuple([x.structs() if isinstance(x, Operands) else x for x in args])
    function = BodyFunction(fun, (), (), (), ())
    function.kind = what
    entry, raws, leaves, _ = function.lookup(structs, {}, settings())
    outputs = entry.outputs
    if not outputs.all_traced:
        found = next(x for x, t in zip(outputs.static, outputs.traced, strict=True) if not t)
        raise TypeError(f"{at_line(what)}: {name_of(fun)} returned {describe_leaf(found)}, which "
                        "is not an array")
    known = entry.program.derived.get("body")
    if known is None:
        known = entry.program.derived["body"] = _closed(entry.program, len(entry.outer),
                                                        len(leaves))
    values, program = known
    consts = [*values, *entry.outer, *raws[len(leaves):]]
    types = [t._replace(weak=w) for t, w in
             zip(program.output_types, outputs.weaks, strict=True)]
    return Body(program, consts, outputs.tree, types, name_of(fun))


def _closed(program: Program, outer: int, count: int) -> tuple[list[Any], Program]:
    """(values of constants, the program with them and all that is closed over in front)."""
    front, args = program.inputs[:outer], program.inputs[outer:outer + count]
    inputs = [*program.consts, *front, *program.inputs[outer + count:], *args]
    return list(program.consts.values()), program.replace(inputs=inputs, consts={})


def share_consts(bodies: Sequence[Body]) -> tuple[list[Any], list[Program]]:
    """(the constants of all bodies, their programs with these in front): for branches."""
    values: dict[int, Any] = {id(x): x for body in bodies for x in body.consts}
    order = list(values)
    programs = []
    for body in bodies:
        n = len(body.consts)
        mine: dict[int, Var] = {}
        twice: dict[Var, Var] = {}
        for x, v in zip(body.consts, body.program.inputs[:n], strict=True):
            if mine.setdefault(id(x), v) is not v:
                twice[v] = mine[id(x)]
        key = ("shared", tuple([order.index(id(x)) for x in body.consts]), len(order),
               tuple([ArrayType(values[k].shape, values[k].dtype) for k in order]))
        made = body.program.derived.get(key)
        if made is None:
            made = body.program
            if twice:
                made = _renamed(made, twice)
            front = [mine[k] if k in mine else Var(ArrayType(values[k].shape, values[k].dtype))
                     for k in order]
            made = body.program.derived[key] = made.replace(inputs=[*front, *made.inputs[n:]])
        programs.append(made)
    return list(values.values()), programs


def _renamed(program: Program, same: dict[Any, Any]) -> Program:
    equations = [replace(e, inputs=[same.get(a, a) for a in e.inputs]) for e in program.equations]
    return program.replace(equations=equations, outputs=[same.get(a, a) for a in program.outputs])


# ------------------------------------------------------------------ carries

def promoted_carry(given: Operands, types: Sequence[ArrayType]) -> Operands | None:
    """The carry at the dtypes at which a body returns it, where weak leaves let it be promoted.

    None if nothing changes: the body has been recorded on the right types.
    """
    new = []
    for have, found in zip(given.types, types, strict=True):
        if have.weak and have.dtype != found.dtype and have.shape == found.shape:
            have = ArrayType(have.shape, *result_type([have, found]))
        new.append(have)
    return None if new == given.types else given.converted(new)


def check_carry(what: str, body: Body, given: Operands, treedef: PyTreeDef,
                types: Sequence[ArrayType], returned: str = "the carry that it returns") -> None:
    """TypeError unless a body returns a carry of the structure and types that it was given."""
    if treedef != given.treedef:
        raise TypeError(f"{at_line(what)}: {returned}, by {body.name}, is unlike the carry that "
                        "it gets: " + explain_mismatch(treedef, given.treedef,
                                                       ("returned", given.name)))
    wrong = [(path, have, found) for path, have, found in
             zip(given.paths(), given.types, types, strict=True) if have[:2] != found[:2]]
    if wrong:
        width = max(len(path) for path, _, _ in wrong)
        rows = [f"{path:<{width}}  {strong(have)} -> {strong(found)}"
                for path, have, found in wrong]
        fix = "convert it: .astype(...), or start from an array of that dtype" if all(
            have.shape == found.shape for _, have, found in wrong) else \
            "every step must keep its shape"
        raise TypeError("\n  ".join([
            f"{at_line(what)}: {body.name} must return the carry at the types that it gets; {fix}",
            *rows]))


def strong(t: ArrayType) -> str:
    """A type as text, without the mark of weakness."""
    return str(t._replace(weak=False))


__all__ = ["Body", "BodyFunction", "Operands", "at_line", "check_carry", "promoted_carry",
           "share_consts", "strong", "trace_body", "tree_paths"]
