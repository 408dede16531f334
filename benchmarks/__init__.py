"""Benchmarks of lucidfn against NumPy, JAX and PyTorch: `python -m benchmarks`.

Some environments preset OpenBLAS to kernels narrower than the CPU's. Users have no such preset, so
importing this package removes it, here and in the processes started from here, before NumPy loads.
"""

import os
import sys

PRESETS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

if any(name in os.environ for name in PRESETS) and "numpy" in sys.modules:
    raise ImportError(f"import benchmarks before numpy, or unset {' and '.join(PRESETS)}")
for _name in PRESETS:
    os.environ.pop(_name, None)
