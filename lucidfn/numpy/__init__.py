"""The familiar names of NumPy, as compositions of primitives: `import lucidfn.numpy as lnp`."""

from lucidfn.numpy.elementwise import *  # noqa: F403
