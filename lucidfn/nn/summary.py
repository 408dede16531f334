"""`summary`: a model as a table of layers, shapes, parameters and operations.

The model is traced once, on shapes alone: nothing is computed and no parameter is drawn.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lucidfn import random, tree
from lucidfn.api.inspect import eval_shape, make_ir
from lucidfn.api.memory import human
from lucidfn.array import typeof
from lucidfn.core.cost import cost_of
from lucidfn.core.printer import escape
from lucidfn.core.trace import current
from lucidfn.nn.layer import Called, Composite, Layer, watching
from lucidfn.types import ShapeDtypeStruct, as_dtype, default_dtype_of


class Row(NamedTuple):
    """One call of a layer."""

    path: str
    depth: int
    layer: Layer
    inputs: str
    outputs: str
    parameters: int  # numbers in its parameters, with those of its children
    bytes: int
    state: int  # numbers in its state
    flops: int  # of this call
    shared: bool  # called before: its parameters are counted there


@dataclass(frozen=True)
class Summary:
    """What `nn.summary` found: rows, and totals over the model. It prints itself as a table, in
    notebooks as HTML."""

    model: Layer
    inputs: str
    outputs: str
    rows: tuple[Row, ...] = field(repr=False)
    parameters: int
    state: int
    bytes: int
    flops: int

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """(headings, lines) as text."""
        lines: list[tuple[str, ...]] = [
            ("  " * row.depth + row.path.rpartition("/")[2], described(row.layer), row.outputs,
             "shared" if row.shared else counted(row.parameters),
             f"{row.flops:,}" if row.flops else "-") for row in self.rows]
        return ("layer", "", "output", "parameters", "FLOPs"), lines

    def __str__(self) -> str:
        headings, lines = self.table()
        first = ("", "input", self.inputs, "", "")
        every = [headings, first, *lines]
        widths = [max(len(line[i]) for line in every) for i in range(len(headings))]
        put = lambda line: "  ".join(
            cell.rjust(w) if i > 2 else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))).rstrip()
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([put(headings), rule, put(first), *map(put, lines), rule, self.totals()])

    def totals(self) -> str:
        state = f", state: {self.state:,}" if self.state else ""
        return (f"parameters: {self.parameters:,} ({human(self.bytes)}){state}, "
                f"forward pass: {self.flops:,} FLOPs (a multiply-add is two)")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        headings, lines = self.table()
        cell = lambda text, i, tag: (f"<{tag} style='text-align:{'right' if i > 2 else 'left'};"
                                     f"white-space:pre'>{escape(text)}</{tag}>")
        row = lambda line, tag="td": "<tr>" + "".join(
            cell(text, i, tag) for i, text in enumerate(line)) + "</tr>"
        body = "".join(row(line) for line in [("", "input", self.inputs, "", ""), *lines])
        return (f"<table><thead>{row(headings, 'th')}</thead><tbody>{body}</tbody></table>"
                f"<p>{escape(self.totals())}</p>")


def summary(model: Layer, *input_shapes: Any, dtype: Any = None, depth: int | None = None,
            train: bool = False, show: bool | None = None, **kwargs: Any) -> Summary:
    """The layers of a model with their output shapes, parameters and FLOPs.

    `input_shapes` are shapes with a batch axis, of floats unless `dtype` says otherwise, or arrays,
    or `ShapeDtypeStruct`s. `depth` limits how deep layers within layers are listed; other keyword
    arguments go to `model.apply`. In a script the table is printed; an interactive session shows
    the result by itself (`show` says otherwise).

    >>> from lucidfn import nn
    >>> model = nn.Sequential(nn.Linear(64, 32), nn.relu, nn.Linear(32, 10))
    >>> table = nn.summary(model, (1, 64), show=True)
    layer                  output         parameters  FLOPs
    -------------------------------------------------------
           input           float32[1,64]
    0      Linear(64, 32)  float32[1,32]       2,080  4,128
    1      relu            float32[1,32]           -     32
    2      Linear(32, 10)  float32[1,10]         330    650
    -------------------------------------------------------
    parameters: 2,410 (9.4 KB), forward pass: 4,810 FLOPs (a multiply-add is two)
    """
    if not isinstance(model, Layer):
        raise TypeError(f"summary takes a layer, got {model!r}")
    if not input_shapes:
        raise TypeError(f"summary needs the shape of the model's input, with a batch axis: "
                        f"nn.summary(model, (1, ...)){data_of(model)}")
    inputs = [as_struct(x, dtype) for x in input_shapes]
    params, state = eval_shape(lambda: model.init(random.key(0)))
    key = random.key(0) if train else None
    watcher = _Collector(depth)

    def run(params: Any, state: Any, *inputs: Any) -> Any:
        with watching(watcher):
            return model.apply(params, state, *inputs, train=train, key=key, **kwargs)[0]

    try:
        program, out = make_ir(run, return_shape=True)(params, state, *inputs)
    except TypeError as e:
        if dtype is None and not any(hasattr(x, "dtype") for x in input_shapes):
            e.add_note("summary took the inputs as floats; for token ids: dtype='int32'")
        raise
    rows = tuple(watcher.rows) if isinstance(model, Composite) else ()
    found = Summary(model, types_of(inputs), types_of(out), rows or _single(model, params, state,
                    inputs, out, program), size_of(params), size_of(state),
                    bytes_of(params), cost_of(program.equations).flops)
    if show or (show is None and not interactive()):
        print(found)
    return found


class _Collector:
    """The watcher that writes a row for each call of a child; parents come before children."""

    def __init__(self, depth: int | None):
        self.limit = math.inf if depth is None else depth
        self.rows: list[Row] = []
        self.open: list[tuple[str, int, int]] = []  # path, place of the row, equations before
        self.seen: set[str] = set()

    def __call__(self, call: Called, returned: bool) -> None:
        trace: Any = current.get()
        if not returned:
            path = f"{self.open[-1][0]}/{call.name}" if self.open else call.name
            self.open.append((path, len(self.rows), len(trace.equations)))
            if len(self.open) <= self.limit:
                self.rows.append(None)  # type: ignore[arg-type]
            return
        path, place, before = self.open.pop()
        depth = len(self.open)
        if depth < self.limit:
            self.rows[place] = Row(
                path, depth, call.layer, types_of(call.inputs), types_of(call.outputs),
                size_of(call.params), bytes_of(call.params), size_of(call.state),
                cost_of(trace.equations[before:]).flops, path in self.seen)
        self.seen.add(path)


def _single(model: Layer, params: Any, state: Any, inputs: Any, out: Any,
            program: Any) -> tuple[Row, ...]:
    return (Row("", 0, model, types_of(inputs), types_of(out), size_of(params), bytes_of(params),
                size_of(state), cost_of(program.equations).flops, False),)


def as_struct(x: Any, dtype: Any) -> Any:
    """An input as a type: a shape is one of floats, arrays and structs are what they are."""
    if isinstance(x, Sequence) and all(isinstance(n, int) for n in x):
        return ShapeDtypeStruct(tuple(x), default_dtype_of(float) if dtype is None
                                else as_dtype(dtype))
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return ShapeDtypeStruct(tuple(x.shape), x.dtype)
    raise TypeError(f"summary takes shapes such as (1, 28, 28, 1), or arrays, got {x!r}")


def types_of(x: Any) -> str:
    """The types of the leaves of a tree, as in a program."""
    return " ".join(str(typeof(leaf)) for leaf in tree.leaves(x))


def size_of(x: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in tree.leaves(x))


def bytes_of(x: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in tree.leaves(x))


def counted(n: int) -> str:
    return f"{n:,}" if n else "-"


def described(layer: Layer) -> str:
    """A layer in a table: its constructor, a function by its name; the axes of its data."""
    text = layer.headline()
    if text.startswith("Lambda(") and text.endswith(")"):
        return text[len("Lambda("):-1]
    return f"{text} [{', '.join(layer.layout.split())}]" if len(layer.layout.split()) > 2 else text


def data_of(model: Layer) -> str:
    return f"; its data is [{', '.join(model.layout.split())}]" if model.layout else ""


def interactive() -> bool:
    """Whether results are shown by themselves: a notebook, or Python's or IPython's prompt."""
    return hasattr(sys, "ps1") or "get_ipython" in vars(sys.modules.get("builtins", object()))


__all__ = ["Summary", "summary"]
