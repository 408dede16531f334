"""lucidfn: composable transformations of pure NumPy functions, with an IR one can read."""

from lucidfn import backends as _backends  # noqa: F401
from lucidfn.api import *  # noqa: F403
from lucidfn.array import Array, typeof
import lucidfn.backends.numpy
