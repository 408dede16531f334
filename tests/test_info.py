"""`python -m lucidfn.info`: what it says, and that it says it wherever it runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lucidfn as lf
from lucidfn import info
from lucidfn.backends.numpy.threads import BLAS, Blas

ROOT = Path(__file__).resolve().parents[1]
AVX512 = {"sse2", "avx2", "fma", "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}


def run(*options: str, **environment: str) -> str:
    ran = subprocess.run([sys.executable, "-W", "error", "-m", "lucidfn.info", *options],
                         capture_output=True, text=True, cwd=ROOT,
                         env={**os.environ, **environment})
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def test_the_command_reports_everything() -> None:
    text = run("--seconds", "0.1")
    for heading in ("lucidfn", "NumPy", "Python", "processor", "BLAS", "cores", "threads",
                    "environment", "float32 product", "copy", "backends", "devices"):
        assert any(line.startswith(heading) for line in text.splitlines()), heading
    assert lf.__version__ in text
    assert "GFLOP/s" in text and "GB/s" in text


def test_variables_of_the_user_are_shown() -> None:
    text = run("--seconds", "0", OMP_NUM_THREADS="1", OPENBLAS_CORETYPE="Haswell")
    assert "OMP_NUM_THREADS=1" in text and "OPENBLAS_CORETYPE=Haswell" in text
    assert "GFLOP/s" not in text


@pytest.mark.parametrize(("core", "flags", "env", "expected"), [
    ("SkylakeX", AVX512, {}, ""),
    ("SAPPHIRERAPIDS", AVX512, {}, ""),
    ("Zen", AVX512, {}, "try OPENBLAS_CORETYPE=SkylakeX"),
    ("Haswell", AVX512, {"OPENBLAS_CORETYPE": "Haswell"}, "OPENBLAS_CORETYPE=Haswell asks"),
    ("Nehalem", {"avx2", "fma"}, {}, "try OPENBLAS_CORETYPE=Haswell"),
    ("Haswell", {"avx2", "fma"}, {}, ""),
    ("neoversen1", {"asimd"}, {}, ""),
    (None, AVX512, {}, "")])
def test_advice_on_kernels(core: str | None, flags: set[str], env: dict[str, str],
                           expected: str) -> None:
    found = info.advice(core, flags, env)
    assert expected in found
    assert bool(found) == bool(expected)


def test_an_unknown_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "BLAS", Blas())
    monkeypatch.setattr(info, "linked", lambda: [])
    monkeypatch.setattr(info.np, "show_config", lambda mode: {})
    text = info.report(0.02)
    assert "BLAS             unknown" in text
    assert "BLAS unknown" in text and "of BLAS" in text


def test_a_system_that_says_nothing_of_its_processor(tmp_path: Path) -> None:
    name, flags = info.cpu_info(tmp_path / "missing")
    assert name and flags == set()
    path = tmp_path / "cpuinfo"
    path.write_text("processor : 0\nmodel name\t: A: B\nflags\t: avx2 fma\n\nmodel name : C\n")
    assert info.cpu_info(path) == ("A: B", {"avx2", "fma"})


def test_measuring_leaves_the_threads_of_blas_alone() -> None:
    before = BLAS.get() if BLAS.get is not None else None
    assert info.gemm_speed(1, 0.01) > 0
    assert info.copy_speed(2, 0.01) > 0
    assert before == (BLAS.get() if BLAS.get is not None else None)
