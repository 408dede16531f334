"""Padding: every mode over one to three space axes, on one side, and cropping."""

from typing import Any

from lucidfn import nn

from .table import F, FunctionCase, LayerCase, first, last

SHAPES = {1: (2, 5, 3), 2: (2, 4, 5, 2), 3: (1, 4, 3, 4, 2)}
WIDTHS = {1: (2, 1), 2: (2, 1, 0, 3), 3: (1, 3, 0, 2, 2, 1)}


def rows(kind: str) -> list[LayerCase]:
    """The three layers of a kind, with a number and with a tuple."""
    value = (0.7,) if kind == "Constant" else ()
    found = []
    for axes in (1, 2, 3):
        name = f"{kind}Pad{axes}d"
        for widths in (1, WIDTHS[axes]):
            args = (widths, *value)
            found.append(LayerCase(getattr(nn, name)(*args), (F(*SHAPES[axes]),),
                                   torch=lambda t, name=name, args=args: getattr(t, name)(*args)))
    return found


def pad(shape: tuple[int, ...], widths: tuple[int, ...], mode: str,
        **value: Any) -> FunctionCase:
    return FunctionCase(
        "pad", lambda x: nn.functional.pad(x, widths, mode, **value), (F(*shape),),
        lambda T, x: last(T.nn.functional.pad(first(x), widths, mode, **value)),
        id=f"pad, {mode}, {widths} on {shape}")


CASES = [
    *[row for kind in ("Constant", "Zero", "Reflection", "Replication", "Circular")
      for row in rows(kind)],
    LayerCase(nn.ReflectionPad2d((1, 0, 2, 1)), (F(4, 3, 2),), id="ReflectionPad2d, one example",
              torch=lambda t: t.ReflectionPad2d((1, 0, 2, 1)),
              call=lambda m, x: m(x.movedim(-1, 0)).movedim(0, -1)),
    pad((2, 4, 5, 2), (1, 2, 3, 0), "constant", value=-1.5),
    pad((2, 4, 5, 2), (1, 2), "constant"),                     # W alone
    pad((2, 4, 5, 2), (-1, 2, 1, -3), "constant", value=2.0),  # crops and pads
    pad((2, 4, 5, 2), (4, 4, 3, 3), "reflect"),                # as much as it can
    pad((2, 4, 5, 2), (5, 5, 4, 4), "circular"),
    pad((2, 4, 5, 2), (7, 6, 5, 9), "replicate"),
    pad((1, 3, 4, 5, 2), (0, 0, 1, 0, 2, 0), "reflect"),
    pad((2, 5, 2), (-1, 2), "replicate"),
    pad((2, 5, 2), (-1, 2), "reflect"),
    pad((2, 5, 2), (2, -1), "circular"),
]
