"""Messages for traced values used as Python values: what was needed, where, and the fix."""

from __future__ import annotations

import ast
import dis
import linecache
from types import FrameType
from typing import Any

from lucidfn.core.source import describe_line, here, user_frame
from lucidfn.errors import (
    ConcretizationTypeError,
    NonConcreteBooleanIndexError,
    TracerArrayConversionError,
    TracerBoolConversionError,
    TracerIntegerConversionError,
)


def quoted(names: list[str]) -> str:
    return " and ".join(n if n.startswith("argument ") else f"`{n}`" for n in names)


def arguments_of(tracer: Any) -> list[str]:
    """The user's names of the arguments a traced value depends on."""
    behind = getattr(tracer.owner, "arguments_behind", None)
    return behind(tracer) if behind is not None else []


def situation(tracer: Any, use: str) -> str:
    """What was needed, where, of which value, and why it is not there."""
    what = tracer.owner.what
    why = ("vmap runs all lanes at once and each has a value of its own"
           if what.startswith("vmap") else
           f"under {what} only its type is known while the function is traced")
    origin = tracer.owner.describe(tracer) if hasattr(tracer.owner, "describe") else ""
    lines = [f"{use} at {describe_line(here())} needs the value of a traced {tracer.type}; {why}."]
    if origin:
        lines.append(f"  It is {origin}.")
    behind = arguments_of(tracer)
    if behind and not origin.startswith("argument"):
        lines.append(f"  It depends on {quoted(behind)}.")
    return "\n".join(lines)


def static_hint(tracer: Any) -> str:
    """How to make the arguments behind a value static, where the trace is one of jit's."""
    if tracer.owner.what.startswith("vmap"):
        return ""
    names = [n for n in arguments_of(tracer) if not n.startswith("argument ")]
    roots = list(dict.fromkeys(n.split("[")[0].split(".")[0] for n in names))
    if not roots and hasattr(tracer.owner, "arguments_behind"):
        return (" It depends on no argument: compute it before, outside of the function, or with "
                "NumPy.")
    listed = ", ".join(repr(r) for r in roots) or "'name'"
    transform = "checkpoint" if tracer.owner.what.startswith("checkpoint") else "jit"
    return (f" If it is an option and not data, make it static: {transform}(f, static_argnames="
            f"[{listed}]).")


def path_hint(tracer: Any) -> str:
    """The other way under jit: a program for each way through the control flow."""
    if not tracer.owner.what.startswith("jit of"):
        return ""
    return ("\n  To keep Python's if and while, with a program for each way that is taken: "
            "jit(f, python_control_flow=True).")


def bool_error(tracer: Any, use: str) -> Exception:
    return TracerBoolConversionError(
        f"{situation(tracer, use)}\n  To choose between two arrays use lnp.where(condition, a, b);"
        " to choose what runs use lax.cond(condition, f, g, *operands), and lax.while_loop for a "
        f"loop.{static_hint(tracer)}{path_hint(tracer)}")


def integer_error(tracer: Any, use: str) -> Exception:
    return TracerIntegerConversionError(
        f"{situation(tracer, use)}\n  A shape, a slice bound or a Python range must be known. For "
        "a window at a computed place use lax.dynamic_slice_in_dim(x, start, size), for a loop "
        f"lax.fori_loop.{static_hint(tracer)}")


def number_error(tracer: Any, use: str) -> Exception:
    return ConcretizationTypeError(
        f"{situation(tracer, use)}\n  Keep it an array (use lnp functions in place of math), or "
        "return it and convert it outside; to look at it while it runs use "
        f"lf.debug.print(\"{{}}\", x).{static_hint(tracer)}")


def mask_error(tracer: Any, use: str) -> Exception:
    return NonConcreteBooleanIndexError(
        f"{situation(tracer, use)}\n  How many elements a boolean mask selects is not known before "
        "it runs. Keep the shape with lnp.where(mask, x, 0), or take a fixed number: "
        "x[lnp.nonzero(mask, size=n)]; to write use lnp.where(mask, new, x).")


def size_error(tracer: Any, use: str, option: str = "size") -> Exception:
    return ConcretizationTypeError(
        f"{situation(tracer, use)}\n  The size of the result depends on values. Give it: "
        f"{use}(..., {option}=n) pads or cuts to n elements.")


def known_error(tracer: Any, use: str) -> Exception:
    return ConcretizationTypeError(
        f"{situation(tracer, use)}\n  The shape of the result depends on it, so it must be known."
        f"{static_hint(tracer)}")


_DERIVATIVES = ("grad", "jvp", "vjp", "linearize", "jacfwd", "jacrev", "hessian", "hvp")


def array_error(tracer: Any, function: str = "") -> Exception:
    """Where NumPy asks for the array itself; `function` is the lnp function to use instead."""
    use = f"use lnp.{function}" if function else "use the function of lucidfn.numpy of that name"
    cut = ("" if tracer.owner.what.split(" ")[0] not in _DERIVATIVES else
           " A plain ndarray would also cut the derivative; where that is meant use "
           "np.asarray(lf.stop_gradient(x)).")
    return TracerArrayConversionError(
        f"NumPy at {describe_line(here())} asked for the ndarray of a traced {tracer.type}, which "
        f"stands for an array that {tracer.owner.what} is computing with; {use}.{cut}")


# Of the standard library's mathematics, what is asked of values and has no derivative to lose.
_QUESTIONS = {"isnan", "isinf", "isfinite", "isclose", "floor", "ceil", "trunc", "isqrt"}


def check_not_cut(tracer: Any) -> None:
    """Raise where a number is taken from a traced value without the user having asked for it.

    `float(x)` says what it does. `math.sin(x)`, and `a[0] = x` of an ndarray, take the number too,
    and the derivative would be silently zero.
    """
    frame = user_frame()
    if frame is None or tracer.owner.what.split(" ")[0] not in _DERIVATIVES:
        return
    operation = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    if operation == "STORE_SUBSCR":
        line = replaced_assignment()
        raise TracerArrayConversionError(
            f"an ndarray's element set at {describe_line(here())} to a traced {tracer.type} keeps "
            "its number only, and the derivative would be cut. Start from lnp.zeros and write "
            + (line or "a = a.at[i].set(value)") + ", or put the elements together with lnp.stack; "
            "where only the number is meant, use float(...).")
    if operation.startswith("CALL"):
        name = _mathematics_called(frame)
        if name and name.split(".")[-1] not in _QUESTIONS:
            raise TracerArrayConversionError(
                f"{name} at {describe_line(here())} sees only the number of a traced {tracer.type},"
                f" and the derivative would be cut. Use lnp.{name.split('.')[-1]}; where only the "
                f"number is meant, write {name}(float(...)).")


def _mathematics_called(frame: FrameType) -> str:
    """`math.sin` where the running call is one of the standard library's mathematics, else ''."""
    line, end, start, stop = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    if line is None or line != end or start is None:
        return ""
    text = linecache.getline(frame.f_code.co_filename, line).encode()[start:stop].decode()
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError:
        return ""
    names = ast.unparse(call.func).split(".") if isinstance(call, ast.Call) else [""]
    found = {**frame.f_globals, **frame.f_locals}.get(names[0])
    for name in names[1:]:
        found = getattr(found, name, None)
    module = getattr(found, "__module__", None)
    return f"{module}.{found.__name__}" if module in ("math", "cmath") else ""  # type: ignore[union-attr]


def deletion_error(kind: str) -> TypeError:
    return TypeError(f"{kind}s are immutable: items cannot be deleted. Make a new array: "
                     "x = lnp.delete(x, index)")


def assignment_error(kind: str) -> TypeError:
    """`x[i] = v`: shows the user's own statement in the form that works."""
    line = replaced_assignment()
    return TypeError(f"{kind}s are immutable: items cannot be assigned. Make a new array: "
                     + (line or "x = x.at[index].set(value)"))


_UPDATES = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide",
            ast.Pow: "power"}


def replaced_assignment() -> str:
    """The running statement `x[i] = v` or `x[i] += v` rewritten with `.at`; empty if unknown."""
    frame = user_frame()
    if frame is None:
        return ""
    text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).encode()
    columns = list(frame.f_code.co_positions())[frame.f_lasti // 2][2]
    text = text[columns or 0:].decode().strip()
    try:
        statement = ast.parse(text).body[0]
    except (SyntaxError, IndexError):
        return ""
    if isinstance(statement, ast.Assign):
        target, method = statement.targets[0], "set"
    elif isinstance(statement, ast.AugAssign) and type(statement.op) in _UPDATES:
        target, method = statement.target, _UPDATES[type(statement.op)]
    else:
        return ""
    if not isinstance(target, ast.Subscript):
        return ""
    x, index = ast.unparse(target.value), ast.unparse(target.slice)
    if isinstance(target.slice, ast.Tuple) and index.startswith("("):
        index = index[1:-1]
    return f"{x} = {x}.at[{index}].{method}({ast.unparse(statement.value)})"
