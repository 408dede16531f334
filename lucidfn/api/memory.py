"""`jit(f).memory(*args)`: the memory of a compiled program, equation by equation."""

from __future__ import annotations

from typing import Any

from lucidfn.core.printer import escape

SMALL = 100  # steps that change less than the peak over this are not listed one by one
HEADINGS = ("equation", "allocated", "needed", "freed", "live", "line")


class Memory:
    """What a compiled function allocates, known from its program without running it.

    `peak` is the most bytes that are live at one time: `inputs`, `constants`, temporaries, outputs,
    and in phases over blocks of rows the values of one block in each thread, as if all threads had
    most at the same time. `outputs` are those that do not lie in the memory of inputs. `steps`
    holds a tuple for each equation, with its `equation` and the bytes `allocated`, needed while it
    runs (`scratch`), `freed` after it and then `live`. What kernels need inside (workspaces of
    linear algebra, columns of a convolution) is not counted.
    """

    def __init__(self, name: str, lifetimes: Any):
        self.name, self.steps = name, lifetimes.steps
        self.peak: int = lifetimes.peak
        self.inputs: int = lifetimes.inputs
        self.constants: int = lifetimes.consts
        self.outputs: int = lifetimes.outputs

    @property
    def made(self) -> int:
        """The most bytes beside inputs and constants at one time."""
        return self.peak - self.inputs - self.constants

    def table(self) -> list[tuple[str, ...]]:
        """The rows of the timeline; runs of small steps are one row."""
        rows: list[tuple[str, ...]] = []
        small: list[Any] = []

        def flush() -> None:
            if len(small) == 1:
                rows.append(row(small[0], text(small[0]), str(small[0].equation.source or "")))
            elif small:
                total = small[-1]._replace(allocated=sum(s.allocated for s in small),
                                           scratch=max(s.scratch for s in small),
                                           freed=sum(s.freed for s in small))
                rows.append(row(total, f"({len(small)} small ones)", ""))
            small.clear()

        for step in self.steps:
            if max(step.allocated, step.scratch, step.freed) * SMALL < self.peak \
                    and step.peak < self.peak:
                small.append(step)
                continue
            flush()
            rows.append(row(step, text(step), str(step.equation.source or "")
                            + "  <- peak" * (step.peak == self.peak)))
        flush()
        return rows

    def totals(self) -> str:
        parts = [f"inputs {human(self.inputs)}"]
        if self.constants:
            parts.append(f"constants {human(self.constants)}")
        return (f"memory of {self.name}: peak {human(self.peak)} ({', '.join(parts)}, made here "
                f"{human(self.made)}); outputs {human(self.outputs)}")

    def __str__(self) -> str:
        every = [HEADINGS, *self.table()]
        widths = [max(len(line[i]) for line in every) for i in range(len(HEADINGS))]
        lines = ["  ".join(cell.rjust(w) if 0 < i < 5 else cell.ljust(w)
                           for i, (cell, w) in enumerate(zip(line, widths, strict=True))).rstrip()
                 for line in every]
        return "\n".join([self.totals(), *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cell = lambda content, i, tag: (
            f"<{tag} style='text-align:{'right' if 0 < i < 5 else 'left'};white-space:pre'>"
            f"{escape(content)}</{tag}>")
        line = lambda cells, tag="td": "<tr>" + "".join(
            cell(c, i, tag) for i, c in enumerate(cells)) + "</tr>"
        body = "".join(map(line, self.table()))
        return (f"<p>{escape(self.totals())}</p><table><thead>{line(HEADINGS, 'th')}</thead>"
                f"<tbody>{body}</tbody></table>")


def row(step: Any, what: str, line: str) -> tuple[str, ...]:
    numbers = [human(n) if n else "" for n in (step.allocated, step.scratch, step.freed)]
    return (what, *numbers, human(step.live), line)


def text(step: Any) -> str:
    """An equation in short: its primitive and the types of its results."""
    eqn = step.equation
    types = ", ".join(str(v.type) for v in eqn.outputs[:2])
    more = f", and {len(eqn.outputs) - 2} more" if len(eqn.outputs) > 2 else ""
    inside = sum(len(next(iter(loop.programs.values())).equations)
                 for loop in eqn.params.get("loops", ()))
    name = f"blocks ({inside} equations)" if inside else eqn.primitive.name
    return f"{name} {types}{more}".rstrip()


def human(n: int) -> str:
    """A number of bytes: 512 B, 9.4 KB, 44.7 MB."""
    size, unit = float(n), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
