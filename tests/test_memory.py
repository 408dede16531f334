"""What compiled programs allocate, by plan and in truth; that nothing held is overwritten."""

import os
import platform
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.api.memory import human
from lucidfn.backends.numpy.memory import may_keep
from lucidfn.testing import assert_allclose

ROOT = Path(__file__).resolve().parents[1]
RNG = np.random.default_rng(0)


def normal(*shape: int) -> lf.Array:
    return lnp.asarray(RNG.standard_normal(shape), "float32")


def measured(f: Callable[..., Any], *args: Any) -> tuple[int, int]:
    """(most bytes, bytes in the end) that a call allocates: NumPy tells tracemalloc."""
    f(*args)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        out = f(*args)
        kept, peak = tracemalloc.get_traced_memory()
        del out
    finally:
        tracemalloc.stop()
    return peak - before, kept - before


def deep(ws: list[Any], x: Any) -> Any:
    for w in ws:
        x = lnp.sin(lnp.tanh(x @ w) * x)
    return lnp.mean(x**2)


def deep_with_checkpoints(ws: list[Any], x: Any) -> Any:
    for w in ws:
        x = lf.checkpoint(lambda x, w: lnp.sin(lnp.tanh(x @ w) * x))(x, w)
    return lnp.mean(x**2)


WEIGHTS = [normal(64, 64) for _ in range(12)]
PROGRAMS = {
    "temporaries": (lambda x: lnp.sin(x) * lnp.cos(x) + lnp.exp(x) * x, normal(600, 700)),
    "a sum": (lambda x: lnp.sum(lnp.sin(x) * 2 + lnp.cos(x)), normal(1 << 20)),
    "views": (lambda x: (x.T * 2).reshape(-1)[:1000], normal(600, 700)),
    "a copy": (lambda x: x.T.reshape(-1)[:-1], normal(600, 700)),
    "whole kernels": (lambda x: lnp.cumsum(lnp.cumsum(x * 2, 0), 1)[:9], normal(800, 700)),
    "products": (lambda x: lnp.tanh(x @ x.T) @ x, normal(700, 500)),
    "gradient in blocks": (lf.grad(deep), WEIGHTS, normal(8000, 64)),
    "gradient with checkpoints": (lf.grad(deep_with_checkpoints), WEIGHTS, normal(8000, 64)),
    "gradient of few rows": (lf.grad(deep), WEIGHTS, normal(50, 64)),
    "updates": (lambda xs: [x * 0.9 + lnp.square(x) for x in xs],
                [normal(300, 400) for _ in range(3)]),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_plan_is_what_numpy_allocates(name: str) -> None:
    fun, *args = PROGRAMS[name]
    with lf.config.override(num_threads=1):
        f = lf.jit(fun)
        plan = f.memory(*args)
        peak, kept = measured(f, *args)
    assert abs(plan.made - peak) <= 0.1 * peak + 20_000, (str(plan), peak)
    assert abs(plan.outputs - kept) <= 0.1 * kept + 20_000, (str(plan), kept)


@pytest.mark.parametrize("name", ["gradient in blocks", "gradient with checkpoints", "a sum"])
def test_with_threads_the_plan_is_an_upper_bound(name: str) -> None:
    fun, *args = PROGRAMS[name]
    with lf.config.override(num_threads=2):
        f = lf.jit(fun)
        made, (peak, _) = f.memory(*args).made, measured(f, *args)
    assert 0.4 * made < peak < 1.02 * made + 20_000


@pytest.mark.parametrize("threads", [1, 2])
def test_checkpoint_lowers_the_peak(threads: int) -> None:
    x = normal(8000, 64)
    with lf.config.override(num_threads=threads):
        plain, saving = lf.jit(lf.grad(deep)), lf.jit(lf.grad(deep_with_checkpoints))
        assert saving.memory(WEIGHTS, x).made < 0.7 * plain.memory(WEIGHTS, x).made
        for ours, others in zip(saving(WEIGHTS, x), plain(WEIGHTS, x), strict=True):
            assert_allclose(ours, others, rtol=1e-4, atol=1e-6)
        if threads == 1:
            assert measured(saving, WEIGHTS, x)[0] < 0.7 * measured(plain, WEIGHTS, x)[0]


def test_checkpoint_lowers_the_peak_where_nothing_runs_in_blocks() -> None:
    def chain(x: Any, layer: Callable[..., Any]) -> Any:
        for _ in range(8):
            x = layer(x)
        return lnp.sum(x)

    layer = lambda x: lnp.sin(lnp.cumsum(lnp.tanh(lnp.cumsum(lnp.sin(x), 1)), 0))
    x = normal(300, 300)
    plain = lf.jit(lf.grad(lambda x: chain(x, layer)))
    saving = lf.jit(lf.grad(lambda x: chain(x, lf.checkpoint(layer))))
    assert_allclose(saving(x), plain(x))
    assert saving.memory(x).made < 0.7 * plain.memory(x).made
    assert measured(saving, x)[0] < 0.7 * measured(plain, x)[0]


def test_donation_saves_the_memory_of_the_result() -> None:
    step = lambda x: lnp.tanh(x) * 0.5
    x = normal(1000, 1000)
    assert lf.jit(step).memory(x).made >= x.nbytes
    assert lf.jit(step, donate_argnums=0).memory(x).made < x.nbytes / 2


def test_arguments_need_not_exist() -> None:
    plan = lf.jit(lambda x: lnp.sort(x) + 1).memory(lf.ShapeDtypeStruct((1 << 30,), "float32"))
    assert plan.inputs == 4 << 30
    assert plan.peak >= 8 << 30


def test_steps_add_up_and_the_table_names_lines() -> None:
    def f(x: Any) -> Any:
        return lnp.sort(lnp.cumsum(x, 0), 0)[:10]

    plan = lf.jit(f).memory(normal(500, 400))
    live = plan.inputs + plan.constants
    for step in plan.steps:
        live += step.allocated - step.freed
        assert step.live == live
        assert plan.peak >= step.peak
    text = str(plan)
    assert text.startswith("memory of ") and "cumsum float32[500,400]" in text
    assert "test_memory.py:" in text and "<- peak" in text
    assert plan._repr_html_().count("<tr>") == len(plan.table()) + 1


def test_without_a_plan() -> None:
    assert lf.jit(lambda x: x).memory(normal(10)).peak == 40
    with lf.config.override(debug_nans=True), pytest.raises(ValueError, match="debug_nans"):
        lf.jit(lambda x: x + 1).memory(normal(10))


@pytest.mark.parametrize(("n", "expected"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KB"),
                                             (5 << 20, "5.0 MB"), (3 << 40, "3.0 TB")])
def test_human(n: int, expected: str) -> None:
    assert human(n) == expected


# ------------------------------------------------------------------ outputs that somebody holds

HOLDERS: dict[str, Callable[[Any], Any]] = {
    "Array": lambda out: out,
    "ndarray": np.asarray,
    "view": lambda out: np.asarray(out)[10:].reshape(-1)[::2],
    "part": lambda out: out[5:],
    "transpose": lambda out: out.T,
    "DLPack": np.from_dlpack,
    "memoryview": lambda out: memoryview(np.asarray(out)),
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=list(HOLDERS))
@pytest.mark.parametrize("rows", [40, 4000])
def test_an_output_that_somebody_holds_is_never_overwritten(hold: Callable[[Any], Any],
                                                            rows: int) -> None:
    w = normal(100, 100) / 20
    f = lf.jit(lambda w, x: lnp.tanh(x @ w) * 2)
    held, copies = [], []
    for _ in range(6):
        x = normal(rows, 100)
        held.append(hold(f(w, x)))
        copies.append(np.array(hold(lnp.tanh(x @ w) * 2)))
        f(w, normal(rows, 100))  # its result is freed at once
    for kept, copy in zip(held, copies, strict=True):
        assert_allclose(np.asarray(kept), copy, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------ the allocator

COUNT = """
import resource, numpy as np, lucidfn as lf, lucidfn.numpy as lnp
from lucidfn.backends.numpy.memory import keep_freed_memory
f, x = lf.jit(lambda x: lnp.cumsum(lnp.cumsum(x, 0), 1) + 1), lnp.ones((1500, 1000))
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3): f(x)
before = faults()
for _ in range(10): f(x)
print(keep_freed_memory(), faults() - before)
"""
GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocator")


def count_faults(**environment: str) -> tuple[str, int]:
    ran = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, cwd=ROOT,
                         env={**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0", **environment})
    assert ran.returncode == 0, ran.stderr
    kept, faults = ran.stdout.split()
    return kept, int(faults)


@GLIBC
def test_freed_memory_is_used_again_without_page_faults() -> None:
    kept, faults = count_faults()
    left, without = count_faults(LUCIDFN_KEEP_MEMORY="0")
    assert (kept, left) == ("True", "False")
    assert faults * 10 < without


@GLIBC
def test_settings_of_the_user_hold() -> None:
    assert count_faults(MALLOC_TRIM_THRESHOLD_="65536")[0] == "False"


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("MALLOC_MMAP_THRESHOLD_", "1000000", False), ("LUCIDFN_KEEP_MEMORY", "0", False),
    ("LUCIDFN_KEEP_MEMORY", "1", True), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1", False),
    ("GLIBC_TUNABLES", "glibc.rtm.enable=1", True)])
def test_who_may_set_the_allocator(monkeypatch: pytest.MonkeyPatch, name: str, value: str,
                                   expected: bool) -> None:
    monkeypatch.setenv(name, value)
    assert may_keep() is expected
