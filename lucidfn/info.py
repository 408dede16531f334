"""`python -m lucidfn.info`: versions, BLAS, threads, measured speed, backends.

Nothing is changed: what the environment or the user has set is shown, and where it costs speed,
which variable says so.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lucidfn.backends.devices import find_backend
from lucidfn.backends.numpy.libraries import AFFIXES, linked, load
from lucidfn.backends.numpy.memory import ALLOCATOR, SWITCH, may_keep
from lucidfn.backends.numpy.threads import BLAS, allotted_cores, available_cores, thread_count
from lucidfn.device import default_backend, devices

__all__ = ["report"]

# Kernels of OpenBLAS by the instructions that they use, best first; the name to ask for them by.
LEVELS = {"AVX-512": ("SkylakeX", "Cooperlake", "SapphireRapids"), "AVX2": ("Haswell", "Zen")}
FLAGS = {"AVX-512": {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"},
         "AVX2": {"avx2", "fma"}}
VARIABLES = ("LUCIDFN_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
             "GOTO_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
             "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_VERBOSE", "MKL_CBWR",
             "NPY_DISABLE_CPU_FEATURES", SWITCH, *ALLOCATOR, "GLIBC_TUNABLES")
GEMM, COPY = 1024, 1 << 26  # rows of the matrices, bytes copied


class BlasInfo(NamedTuple):
    """What is known of the BLAS behind NumPy; `core` is the kind of processor that its kernels are
    for, None where it does not say."""

    name: str
    core: str | None
    details: str


def ask_openblas(what: str) -> str | None:
    """The text that `openblas_get_<what>` returns; None if no such function is found."""
    for library in load(linked()):
        for prefix, suffix in AFFIXES:
            call = getattr(library, f"{prefix}openblas_get_{what}{suffix}", None)
            if call is not None:
                call.restype = ctypes.c_char_p
                return (call() or b"").decode(errors="replace").strip()
    return None


def blas_info() -> BlasInfo:
    """The BLAS that NumPy was built with, and what runs."""
    config: Any = np.show_config(mode="dicts")
    built = config.get("Build Dependencies", {}).get("blas", {})
    name = f"{built.get('name', 'unknown')} {built.get('version', '')}".strip()
    return BlasInfo(name, ask_openblas("corename"), ask_openblas("config") or "")


def cpu_info(path: Path = Path("/proc/cpuinfo")) -> tuple[str, set[str]]:
    """(name, instruction sets) of the processor, as far as the system says."""
    try:
        text = path.read_text()
    except OSError:
        text = ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine() or "unknown"
    return name, set(fields.get("flags", "").split())


def level_of_cpu(flags: set[str]) -> str | None:
    return next((level for level, needed in FLAGS.items() if needed <= flags), None)


def level_of_core(core: str | None) -> str | None:
    """The instructions that kernels for this kind of processor use."""
    return next((level for level, cores in LEVELS.items()
                 if core is not None and core.lower() in map(str.lower, cores)), None)


def advice(core: str | None, flags: set[str], env: Mapping[str, str]) -> str:
    """Which variable holds BLAS back, or could bring it forward; "" if none."""
    best, runs = level_of_cpu(flags), level_of_core(core)
    order = [*LEVELS, None]
    if core is None or best is None or order.index(runs) <= order.index(best):
        return ""
    asked = env.get("OPENBLAS_CORETYPE")
    has = f"the CPU has {best}, but the kernels for {core} use {runs or 'less'}"
    if asked:
        return f"{has}: OPENBLAS_CORETYPE={asked} asks for them; try without it"
    return f"{has}: try OPENBLAS_CORETYPE={LEVELS[best][0]}, set before Python starts"


# ------------------------------------------------------------------ measured

def best_time(work: Callable[[], Any], seconds: float) -> float:
    """The shortest time of as many runs as there is time for, two at least."""
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def gemm_speed(threads: int | None, seconds: float) -> float:
    """GFLOP/s of a float32 product; with so many threads of BLAS if it lets itself be told."""
    x = np.random.default_rng(0).random((GEMM, GEMM), np.float32)
    out = np.empty_like(x)
    work = lambda: np.matmul(x, x, out=out)
    if threads is None or BLAS.get is None or BLAS.put is None:
        return 2 * GEMM**3 / best_time(work, seconds) / 1e9
    before = BLAS.get()
    BLAS.put(threads)
    try:
        return 2 * GEMM**3 / best_time(work, seconds) / 1e9
    finally:
        BLAS.put(before)


def copy_speed(threads: int, seconds: float) -> float:
    """GB/s read and written in copying an array that fits in no cache."""
    x = np.ones(COPY, np.uint8)
    parts = list(zip(np.array_split(np.empty_like(x), threads), np.array_split(x, threads),
                     strict=True))
    copy = lambda part: np.copyto(*part)
    with ThreadPoolExecutor(threads) as pool:
        work = (lambda: list(pool.map(copy, parts))) if threads > 1 else lambda: copy(parts[0])
        return 2 * COPY / best_time(work, seconds) / 1e9


# ------------------------------------------------------------------ the report

def lines(seconds: float = 1.0) -> Iterator[tuple[str, str]]:
    """(heading, text) of each line; about `seconds` are spent on measuring, none if 0."""
    yield "lucidfn", sys.modules["lucidfn"].__version__
    yield "NumPy", f"{np.__version__}, ml_dtypes {version('ml_dtypes')}"
    yield "Python", f"{platform.python_version()} ({platform.platform()})"
    cpu, flags = cpu_info()
    blas = blas_info()
    yield "processor", f"{cpu}{', ' if level_of_cpu(flags) else ''}{level_of_cpu(flags) or ''}"
    yield "BLAS", blas.name + (f", kernels for {blas.core}" if blas.core else "")
    if blas.details:
        yield "", blas.details
    hint = advice(blas.core, flags, os.environ)
    if hint:
        yield "", hint
    allotted = allotted_cores()
    yield "cores", (f"{available_cores()} may be used of {os.cpu_count()}"
                    + (f" (the container is allotted {allotted})" if allotted else ""))
    of_blas = BLAS.get() if BLAS.get is not None else "unknown"
    yield "threads", f"lucidfn {thread_count()} (config.num_threads), BLAS {of_blas}"
    found = [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    yield "environment", ", ".join(found) or "none of the variables that matter is set"
    yield "freed memory", "stays with the process once something is compiled" \
        if may_keep() and platform.libc_ver()[0] == "glibc" else "is left to the allocator"
    if seconds:
        yield from speeds(seconds / 4)
    here = devices()
    yield "backends", "numpy" + (f", mlx {version('mlx')}" if len(here) > 1 else "")
    yield "devices", f"{', '.join(here)} (default: {default_backend()})"
    for name in here:
        about = find_backend(name).about()
        if about:
            yield "", f"{name}: {about}"
    if "gpu" not in here:
        yield "", "no GPU: " + why_not("gpu")


def why_not(device: str) -> str:
    """What was looked for where there is no such device."""
    try:
        find_backend(device)
    except ValueError as error:
        return str(error)
    return ""


def speeds(each: float) -> Iterator[tuple[str, str]]:
    """What a product and a copy reach, in about four times `each` seconds."""
    threads = thread_count()
    told = BLAS.get is not None and BLAS.put is not None
    one = f"{gemm_speed(1, each):.0f} GFLOP/s with one thread, " if told else ""
    every = BLAS.get() if BLAS.get is not None else "its own"
    yield "float32 product", f"{one}{gemm_speed(None, each):.0f} with {every} of BLAS"
    yield "copy", (f"{copy_speed(1, each):.0f} GB/s read and written with one thread, "
                   f"{copy_speed(threads, each):.0f} with {threads}")


def report(seconds: float = 1.0) -> str:
    """The report as text; `seconds=0` measures nothing."""
    found = list(lines(seconds))
    width = max(len(heading) for heading, _ in found)
    return "\n".join(f"{heading:{width}}  {text}" for heading, text in found)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m lucidfn.info", description="What lucidfn "
                                     "runs on: versions, BLAS, threads, measured speed, backends.")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S",
                        help="time for measuring; 0: none (default: 1)")
    print(report(parser.parse_args().seconds))


if __name__ == "__main__":
    main()
