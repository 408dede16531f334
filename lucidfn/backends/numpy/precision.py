"""How the kernels treat the two half precisions: computed in float32, returned as they came."""

import ml_dtypes
import numpy as np

HALVES = frozenset({np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)})
SINGLE = np.dtype(np.float32)


def widened(x: np.ndarray) -> np.ndarray:
    """x itself, or a float32 copy of a float16 or bfloat16 x (which is exact)."""
    return x.astype(SINGLE) if x.dtype in HALVES else x
