"""The familiar names of NumPy, as compositions of primitives: `import lucidfn.numpy as lnp`."""

from lucidfn.numpy.creation import *  # noqa: F403
from lucidfn.numpy.einstein import *  # noqa: F403
from lucidfn.numpy.elementwise import *  # noqa: F403
from lucidfn.numpy.indexing import *  # noqa: F403
from lucidfn.numpy.linear import *  # noqa: F403
from lucidfn.numpy.reductions import *  # noqa: F403
from lucidfn.numpy.shape import *  # noqa: F403
from lucidfn.numpy.methods import install as _install

_install(globals())
