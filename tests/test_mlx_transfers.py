"""Copies between devices: counted, shown with their lines, no more than are needed."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.backends.transfers import counts
from lucidfn.core.primitive import ALL
from lucidfn.core.source import here

pytest.importorskip("mlx.core", reason="MLX is not installed (pip install 'lucidfn[mlx]')")

from lucidfn.backends.mlx.kernels import KERNELS  # noqa: E402

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).resolve().parents[1]
ON_HOST = sorted(p.name for p, kernel in KERNELS.items() if getattr(kernel, "on_host", False))


@pytest.fixture(autouse=True)
def on_cpu():
    """The default device of a program that says nothing."""
    with lf.default_device("cpu"):
        yield


@pytest.fixture
def shown(capsys):
    """What is reported by a function on stderr: (lines of this file, texts)."""
    def run(f):
        lf.block_until_ready(f())  # compiled and settled under another setting
        capsys.readouterr()
        with lf.config.override(log_transfers=True):
            f()
        found = [re.fullmatch(r"lucidfn, test_mlx_transfers\.py:\d+: (.*)", line)
                 for line in capsys.readouterr().err.splitlines()]
        assert all(found), found
        return [m[1] for m in found]
    return run


def counted(f):
    """What f adds to the counts."""
    before = counts.copy()
    f()
    return dict(counts - before)


# ------------------------------------------------------------------ what is shown

def test_each_kind_is_shown(device, shown):
    x, host = lnp.ones(3, device=device), np.ones(3, "float32")
    assert shown(lambda: lf.device_put({"a": host}, device)) == [
        f"float32[3] was copied to {device!r}"]
    assert shown(lambda: x + host) == [f"float32[3] was copied to {device!r} for add"]
    assert shown(lambda: np.asarray(x)) == shown(lambda: x.to("cpu")) == [
        f"float32[3] was read from {device!r}"]
    assert shown(lambda: float(x[0])) == [f"float32[] was read from {device!r}"]
    f = lf.jit(lambda a, b: a + b)
    assert shown(lambda: f(x, host)) == [f"float32[3] was copied to {device!r} for a jitted call"]
    assert shown(lambda: f(x, x)) == shown(lambda: f(x, 2.0)) == []


@pytest.mark.parametrize("pieces", [False, True])
def test_a_primitive_on_the_host_is_shown_with_its_own_line(device, pieces, capsys, request):
    if pieces:
        request.getfixturevalue("compiling")
    key, lines = lf.device_put(random.key(0), device), []

    def f(key):
        lines.append(here().line + 1)
        return random.poisson(key, 3.0, (4,)) * 2.0

    for run in (f, lf.jit(f)):
        before = counts["random_poisson"]
        with lf.config.override(log_transfers=True):
            run(key)
        text = f"test_mlx_transfers.py:{lines[-1]}: random_poisson has no MLX kernel for this"
        assert text in capsys.readouterr().err
        assert counts["random_poisson"] == before + 1 == lf.debug.transfers()["random_poisson"]


# ------------------------------------------------------------------ captured arrays

def test_a_captured_array_is_copied_once(device):
    x, to = lnp.ones(3, device=device), f"to {device}"
    w = lnp.arange(3.0)
    f = lf.jit(lambda a: a * w)
    assert counted(lambda: f(x))[to] == 1
    assert counted(lambda: [f(x) for _ in range(5)]) == {}
    assert f(x.to("cpu")).device == "cpu" and f(x).device == device
    w = lnp.ones(3) * 5  # another value: copied again
    assert counted(lambda: f(x))[to] == 1 and f(x).tolist() == [5, 5, 5]
    grad = lf.jit(lf.grad(lambda a: lnp.sum(a * w)))
    grad(x)
    assert counted(lambda: [grad(x) for _ in range(3)]) == {}


def test_a_captured_array_that_is_donated_elsewhere(device):
    x, w = lnp.ones(1000, device=device), lnp.zeros(1000)
    f = lf.jit(lambda a: a + w)
    assert float(f(x)[0]) == 1
    add = lf.jit(lambda v: v + 1, donate_argnums=0)
    w = add(w)
    assert float(f(x)[0]) == 2
    w = add(w)
    assert float(f(x)[0]) == 3


def test_a_captured_numpy_array_is_read_at_each_call(device):
    x, w = lnp.ones(3, device=device), np.arange(3, dtype="float32")
    f = lf.jit(lambda a: a * w)
    assert f(x).tolist() == [0, 1, 2]
    w[:] = 7
    assert f(x).tolist() == [7, 7, 7]
    assert counted(lambda: f(x)) == {f"to {device}": 1}


def test_constants_of_a_program_are_copied_once(device):
    x = lnp.ones(3, device=device)
    f = lf.jit(lambda a: a * np.arange(3, dtype="float32") + lnp.linspace(0, 1, 3))
    f(x)
    assert counted(lambda: [f(x) for _ in range(3)]) == {}


def test_a_training_loop_copies_nothing(device):
    model, adam = lf.nn.Linear(4, 2), lf.optim.adam(1e-2)
    with lf.default_device(device):
        params, state = model.init(random.key(0))
        opt = adam.init(params)
        x, y = random.normal(random.key(1), (8, 4)), lnp.zeros((8, 2))

    @lf.jit
    def step(params, opt):
        grads = lf.grad(lambda p: lnp.mean(lnp.square(model.apply(p, state, x)[0] - y)))(params)
        updates, new = adam.update(grads, opt, params)
        return lf.optim.apply_updates(params, updates), new

    params, opt = step(params, opt)

    def more():
        nonlocal params, opt
        for _ in range(5):
            params, opt = step(params, opt)

    assert counted(more) == {}


# ------------------------------------------------------------------ primitives without a kernel

def test_few_primitives_run_on_the_host():
    assert len(ON_HOST) <= 0.05 * len(KERNELS), ON_HOST
    nested = {p.name for p in ALL.values() if p.nested or p.effect}
    assert len(KERNELS) > 0.9 * len(set(ALL) - nested)


def test_the_page_lists_them_all():
    page = (ROOT / "docs" / "devices.md").read_text()
    listed = re.search(r"<!-- on the host -->(.*)<!-- /on the host -->", page, re.DOTALL)
    assert listed is not None
    assert re.findall(r"`(\w+)`", listed[1]) == ON_HOST


def primitives_of(program, into):
    for eqn in program.equations:
        into.add(eqn.primitive.name)
        for _, inner in eqn.programs():
            primitives_of(inner, into)
    return into


DRAWS = {  # of each function of `random` whose values need more than bits and elementary functions
    "gamma": lambda k: random.gamma(k, 2.0), "loggamma": lambda k: random.loggamma(k, 2.0),
    "beta": lambda k: random.beta(k, 2.0, 3.0), "chisquare": lambda k: random.chisquare(k, 3.0),
    "dirichlet": lambda k: random.dirichlet(k, np.ones(3, "float32")),
    "f": lambda k: random.f(k, 2.0, 3.0), "t": lambda k: random.t(k, 3.0),
    "generalized_normal": lambda k: random.generalized_normal(k, 1.5),
    "ball": lambda k: random.ball(k, 3), "poisson": lambda k: random.poisson(k, 3.0),
    "binomial": lambda k: random.binomial(k, 10, 0.4),
    "multinomial": lambda k: random.multinomial(k, 9, np.full(3, 1 / 3, "float32")),
}


def names_in(path):
    """All names and attributes that a module reads."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            yield node.attr if not isinstance(node.value, ast.Name) else (
                f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{(node.module or '').rpartition('.')[2]}.{a.name}" for a in node.names)


@pytest.mark.parametrize("package", ["nn", "optim", "models"])
def test_no_layer_and_no_optimizer_needs_them(package):
    drawn = {f"random.{name}" for name, draw in DRAWS.items()
             if primitives_of(lf.make_ir(draw)(random.key(0)), set()) & set(ON_HOST)}
    assert {"random.gamma", "random.poisson", "random.beta"} <= drawn
    forbidden = drawn | {f"{module}.{name}" for name in (*ON_HOST, "betainc")
                         for module in ("ops", "special", "lax")}
    for path in (ROOT / "lucidfn" / package).rglob("*.py"):
        assert not forbidden & set(names_in(path)), path
