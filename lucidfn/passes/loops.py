"""Scans to quicker scans: what need not be done step by step is done at once, outside the loop.

    before the loop   what depends on consts only; what depends on consts and rows of xs only, for
                      all steps together (one matrix product for the input projection of an RNN)
    after the loop    sums over the steps of products, as one product (gradients of weights); what
                      only ys need

Results are equal up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from lucidfn import ops
from lucidfn.control.call import call
from lucidfn.control.scan import scan
from lucidfn.core.ir import Atom, Equation, Program, Var
from lucidfn.core.record import record
from lucidfn.passes.step_sums import StepSum, Terms
from lucidfn.transforms.linearize import drop_dead
from lucidfn.transforms.programs import batch_program
from lucidfn.types import ArrayType

# Bytes of one step's values: beyond, whole arrays no longer lie in a cache between two operations.
LARGEST_ROW = 1 << 18
# Bytes of all steps' values, of what is stacked for use outside the loop.
LARGEST_STACK = 1 << 28
# What may be computed after the loop although its operands take more memory than its results.
GROWTH = 16


def loops(program: Program, optimize: Callable[[Program], Program]) -> Program:
    """Rewrite each scan; `optimize` is what is done to bodies first."""
    if not any(e.primitive is scan for e in program.equations):
        return program
    needed: set[Any] = {a for a in program.outputs if type(a) is Var}
    for eqn in program.equations:
        needed.update(eqn.inputs)
    out: list[Equation] = []
    consts = dict(program.consts)
    for eqn in program.equations:
        if eqn.primitive is not scan:
            out.append(eqn)
            continue
        loop = Loop.of(eqn, optimize(eqn.params["program"]), needed)
        consts.update(loop.values)
        loop.narrow()
        if loop.length > 1:
            loop.reorder_sums()
            loop.hoist()
            loop.gather_sums()
            loop.sink()
            loop.narrow()
        out += loop.equations()
    return program.replace(equations=out, consts=consts)


@dataclass
class Loop:
    """A scan taken apart: variables of its body beside the operands and outputs they stand for."""

    eqn: Equation
    body: Program
    length: int
    consts: list[tuple[Var, Atom]]         # of the body, of the program around it
    carry: list[tuple[Var, Atom, Atom, Var | None]]  # body's, start, body's next, last value
    xs: list[tuple[Var, Atom]]
    ys: list[tuple[Atom, Var]]
    before: list[Equation] = field(default_factory=list)
    after: list[Equation] = field(default_factory=list)
    values: dict[Var, Any] = field(default_factory=dict)  # constants of the body, now outside

    @classmethod
    def of(cls, eqn: Equation, body: Program, needed: Collection[Any]) -> Loop:
        n_consts, n_carry = eqn.params["carries"]
        first = n_consts + n_carry
        ends = [v if v in needed else None for v in eqn.outputs[:n_carry]]
        inner = {v: Var(v.type) for v in body.consts}
        return cls(
            eqn, body.replace(consts={}), eqn.params["length"],
            [*zip(body.inputs[:n_consts], eqn.inputs, strict=False), *inner.items()],
            list(zip(body.inputs[n_consts:first], eqn.inputs[n_consts:first],
                     body.outputs[:n_carry], ends, strict=True)),
            list(zip(body.inputs[first:], eqn.inputs[first:], strict=True)),
            [(a, v) for a, v in zip(body.outputs[n_carry:], eqn.outputs[n_carry:], strict=True)
             if v in needed],
            values={outer: body.consts[v] for v, outer in inner.items()})

    def equations(self) -> list[Equation]:
        """What the scan has become."""
        body = self.body.replace(
            inputs=[*[v for v, _ in self.consts], *[c[0] for c in self.carry],
                    *[v for v, _ in self.xs]],
            outputs=[*[c[2] for c in self.carry], *[a for a, _ in self.ys]])
        outputs = [Var(start.type) if end is None else end for _, start, _, end in self.carry]
        params = {**self.eqn.params, "program": body, "carries": (len(self.consts),
                                                                  len(self.carry))}
        inputs = [*[a for _, a in self.consts], *[c[1] for c in self.carry],
                  *[a for _, a in self.xs]]
        new = Equation(scan, inputs, params, [*outputs, *[v for _, v in self.ys]],
                       self.eqn.source)
        idle = not new.outputs and not new.effect
        return [*self.before, *([] if idle else [new]), *self.after]

    # ------------------------------------------------------------------ dead parts

    def narrow(self) -> None:
        """Leave out carries, consts and rows that nobody reads."""
        wanted = [c for c in self.carry if c[3] is not None]
        while True:
            used = self.live([c[2] for c in wanted] + [a for a, _ in self.ys])
            more = [c for c in self.carry if c in wanted or c[0] in used]
            if len(more) == len(wanted):
                break
            wanted = more
        self.carry = wanted
        outputs = [*[c[2] for c in wanted], *[a for a, _ in self.ys]]
        self.body = drop_dead(self.body.replace(outputs=outputs))
        used = self.live(outputs)
        self.consts = [(v, a) for v, a in self.consts if v in used]
        self.xs = [(v, a) for v, a in self.xs if v in used]

    def live(self, outputs: Sequence[Any], cut: Collection[Any] = ()) -> set[Any]:
        """The variables that these and the effects depend on; not beyond those in `cut`."""
        used = {a for a in outputs if type(a) is Var}
        for eqn in reversed(self.body.equations):
            if eqn.effect or any(v in used and v not in cut for v in eqn.outputs):
                used.update(a for a in eqn.inputs if type(a) is Var)
        return used

    # ------------------------------------------------------------------ before the loop

    def hoist(self) -> None:
        """Compute before the loop what depends on no carry."""
        fixed: set[Any] = {v for v, _ in self.consts}
        rows: set[Any] = {v for v, _ in self.xs}
        constant: list[Equation] = []
        early: list[Equation] = []
        rest: list[Equation] = []
        for eqn in self.body.equations:
            ins = [a for a in eqn.inputs if type(a) is Var]
            if eqn.effect or not all(a in fixed or a in rows for a in ins):
                rest.append(eqn)
            elif all(a in fixed for a in ins):
                constant.append(eqn)
                fixed.update(eqn.outputs)
            elif movable(eqn):
                early.append(eqn)
                rows.update(eqn.outputs)
            else:
                rest.append(eqn)
        early, kept = self.worth_it(early)
        if kept:
            inside = {id(e) for e in [*rest, *kept]}
            rest = [e for e in self.body.equations if id(e) in inside]
        outputs = [*[c[2] for c in self.carry], *[a for a, _ in self.ys]]
        read: set[Any] = {a for e in [*early, *rest] for a in e.inputs} | set(outputs)
        made = [v for e in constant for v in e.outputs if v in read]
        if made:
            self.consts += self.outside(constant, made, [], self.before)
        read = {a for e in rest for a in e.inputs} | set(outputs)
        made = [v for e in early for v in e.outputs if v in read]
        if made:
            self.xs += self.outside(early, made, self.xs, self.before)
        self.body = self.body.replace(equations=rest)

    def reorder_sums(self) -> None:
        """(row + carried) + fixed to (row + fixed) + carried, whose first sum leaves the loop."""
        early: set[Any] = {v for v, _ in [*self.consts, *self.xs]}
        made: dict[Any, Equation] = {}
        uses: dict[Any, int] = {}
        outputs = [*[c[2] for c in self.carry], *[a for a, _ in self.ys]]
        for a in [a for e in self.body.equations for a in e.inputs] + outputs:
            uses[a] = uses.get(a, 0) + 1
        out: list[Equation] = []
        for eqn in self.body.equations:
            if not eqn.effect and all(type(a) is not Var or a in early for a in eqn.inputs):
                early.update(eqn.outputs)
            made.update((v, eqn) for v in eqn.outputs)
            out += self.reordered(eqn, early, made, uses) or [eqn]
        self.body = drop_dead(self.body.replace(equations=out, outputs=outputs))

    @staticmethod
    def reordered(eqn: Equation, early: set[Any], made: dict[Any, Equation],
                  uses: dict[Any, int]) -> list[Equation] | None:
        if eqn.primitive is not ops.add or eqn.outputs[0].type.dtype.kind not in "fc":
            return None
        for inner, other in (eqn.inputs, eqn.inputs[::-1]):
            first = made.get(inner)
            if first is None or first.primitive is not ops.add or uses[inner] > 1 or \
                    other not in early or inner in early:
                continue
            for a, b in (first.inputs, first.inputs[::-1]):
                shapes = inner.type.shape == eqn.outputs[0].type.shape in (
                    a.type.shape, other.type.shape) and inner.type.shape == b.type.shape
                if a in early and b not in early and type(b) is Var and shapes:
                    total = Var(inner.type)
                    early.add(total)
                    new = Equation(ops.add, [a, other], {}, [total], eqn.source)
                    made[total] = new
                    uses[total] = 1
                    last = Equation(ops.add, [total, b], {}, eqn.outputs, eqn.source)
                    made[eqn.outputs[0]] = last
                    return [new, last]
        return None

    def worth_it(self, early: list[Equation]) -> tuple[list[Equation], list[Equation]]:
        """(equations to do for all steps at once, those that stay): not what makes large values,
        but products."""
        stay: list[Equation] = []
        go: list[Equation] = []
        blocked: set[Any] = set()
        for eqn in early:
            size = sum(v.type.nbytes for v in eqn.outputs)
            heavy = eqn.primitive is ops.dot_general
            small = size <= LARGEST_ROW or heavy
            if any(a in blocked for a in eqn.inputs) or not small or \
                    size * self.length > LARGEST_STACK:
                stay.append(eqn)
                blocked.update(eqn.outputs)
            else:
                go.append(eqn)
        return go, stay

    def outside(self, equations: Sequence[Equation], wanted: Sequence[Var],
                rows: Sequence[tuple[Var, Atom]], place: list[Equation],
                outputs: Sequence[Var] | None = None) -> list[tuple[Var, Atom]]:
        """Do these equations outside the loop, for all steps at once if they read rows.

        Returns the wanted variables, each with the variable that it has outside.
        """
        known = [*self.consts, *rows]
        inner = drop_dead(Program([v for v, _ in known], list(equations), [*wanted]))
        read = {a for e in inner.equations for a in e.inputs} | set(wanted)
        batched = [False] * len(self.consts) + [True] * len(rows)
        keep = [i for i, (v, _) in enumerate(known) if v in read]
        inner = inner.replace(inputs=[known[i][0] for i in keep])
        if rows:
            inner = batch_program(inner, tuple([batched[i] for i in keep]), self.length)
        made = [Var(t) for t in inner.output_types] if outputs is None else list(outputs)
        place.append(Equation(call, [known[i][1] for i in keep], {"program": inner, "name": ""},
                              made, self.eqn.source))
        return list(zip(wanted, made, strict=True))

    # ------------------------------------------------------------------ after the loop

    def stacked(self, atom: Var) -> Atom:
        """The variable outside that holds the values of one inside at all steps."""
        for v, outer in [*self.xs, *self.ys]:
            if v is atom:
                return outer
        outer = Var(ArrayType((self.length, *atom.type.shape), atom.type.dtype))
        self.ys.append((atom, outer))
        return outer

    def is_stacked(self, atom: Any) -> bool:
        return any(v is atom for v, _ in [*self.xs, *self.ys])

    def gather_sums(self) -> None:
        """Carries to which products are added, and which nothing else reads: one product."""
        made = {v: e for e in self.body.equations for v in e.outputs}
        uses: dict[Any, int] = {}
        for a in [a for e in self.body.equations for a in e.inputs] + \
                [c[2] for c in self.carry] + [a for a, _ in self.ys]:
            uses[a] = uses.get(a, 0) + 1
        fixed = {v for v, _ in self.consts}
        kept = []
        for v, start, out, end in self.carry:
            eqn = made.get(out)
            other = None
            if eqn is not None and eqn.primitive is ops.add and uses[out] == uses.get(v) == 1 \
                    and v in eqn.inputs:
                other = eqn.inputs[1 - eqn.inputs.index(v)]
            if other is None or type(other) is not Var or other.type.shape != v.type.shape \
                    or end is None:
                kept.append((v, start, out, end))
                continue
            plan = Terms(made, uses, fixed).of(other)
            if plan is None or not self.affordable(plan):
                kept.append((v, start, out, end))
                continue
            self.add_up(plan, start, end)
        self.carry = kept

    def affordable(self, plan: StepSum) -> bool:
        """Whether it is worth the memory of what is not stacked yet."""
        new = sum(a.type.nbytes for a in {*plan.leaves()} if not self.is_stacked(a))
        return (all(map(self.is_stacked, plan.plain())) and new <= LARGEST_ROW
                and new * self.length <= LARGEST_STACK)

    def add_up(self, plan: StepSum, start: Atom, end: Var) -> None:
        leaves = list(dict.fromkeys(plan.leaves()))
        fixed = list(dict.fromkeys(plan.fixed()))
        outer = dict(self.consts)
        values = [self.stacked(a) for a in leaves]
        consts = [outer.get(a, a) for a in fixed]

        def total(first: Any, *xs: Any) -> list[Any]:
            env = dict(zip([*leaves, *fixed], xs, strict=True))
            return [ops.add(first, plan.run(env))]

        program = record(total, [t.type for t in [start, *values, *consts]], what="scan")
        self.after.append(Equation(call, [start, *values, *consts],
                                   {"program": program, "name": ""}, [end], self.eqn.source))

    def sink(self) -> None:
        """Compute ys after the loop that are functions of what is stacked anyway, or is smaller."""
        needed = self.live([c[2] for c in self.carry])
        needed |= self.companions(needed)
        made = {v: e for e in self.body.equations for v in e.outputs}
        fixed = {v for v, _ in self.consts}
        for y in list(self.ys):
            atom, outer = y
            if type(atom) is not Var or atom not in made or atom in needed:
                continue
            cone = self.cone(atom, made, needed, fixed)
            if cone is None:
                continue
            equations, frontier = cone
            self.ys.remove(y)
            new = sum(a.type.nbytes for a in frontier if not self.is_stacked(a))
            limit = atom.type.nbytes * (GROWTH if any(
                e.primitive is ops.dot_general for e in equations) else 1)
            heavy = any(e.primitive is ops.dot_general for e in equations)
            small = max(v.type.nbytes for e in equations for v in e.outputs) <= LARGEST_ROW
            if new > limit or not (small or heavy) or new * self.length > LARGEST_STACK:
                self.ys.append(y)
                continue
            rows = [(a, self.stacked(a)) for a in frontier]
            place: list[Equation] = []
            self.outside(equations, [atom], rows, place, [outer])
            self.after = place + self.after  # what is there already may read it

    def companions(self, needed: Collection[Any]) -> set[Any]:
        """logistic(-x) where logistic(x) is computed in the loop: both share an exponential."""
        sources = {e.inputs[0] for e in self.body.equations
                   if e.primitive is ops.logistic and e.outputs[0] in needed}
        turned = {e.outputs[0] for e in self.body.equations
                  if e.primitive is ops.neg and e.inputs[0] in sources}
        return turned | {e.outputs[0] for e in self.body.equations
                         if e.primitive is ops.logistic and e.inputs[0] in turned}

    def cone(self, atom: Var, made: dict[Var, Equation], needed: Collection[Any],
             fixed: Collection[Any]) -> tuple[list[Equation], list[Var]] | None:
        """(the equations that only ys need of those that make a variable, what these read)."""
        wanted, equations, frontier = {atom}, [], []
        for eqn in reversed(self.body.equations):
            if not any(v in wanted for v in eqn.outputs):
                continue
            if not movable(eqn):
                return None
            equations.append(eqn)
            for a in eqn.inputs:
                if type(a) is not Var or a in fixed:
                    continue
                if a in made and a not in needed and not self.is_stacked(a):
                    wanted.add(a)
                elif a not in frontier:
                    frontier.append(a)
        return (equations[::-1], frontier) if frontier else None


def movable(eqn: Equation) -> bool:
    """Whether an equation may be done for all steps at once."""
    if eqn.effect or eqn.primitive.nested:
        return False
    return eqn.params.get("mode") != "raise"  # its message names the step


__all__ = ["loops"]
