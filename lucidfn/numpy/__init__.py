"""The familiar names of NumPy, as compositions of primitives: `import lucidfn.numpy as lnp`."""

from lucidfn.numpy import fft, linalg  # noqa: F401
from lucidfn.numpy.bits import *  # noqa: F403
from lucidfn.numpy.calculus import *  # noqa: F403
from lucidfn.numpy.creation import *  # noqa: F403
from lucidfn.numpy.cumulative import *  # noqa: F403
from lucidfn.numpy.einstein import *  # noqa: F403
from lucidfn.numpy.elementwise import *  # noqa: F403
from lucidfn.numpy.files import *  # noqa: F403
from lucidfn.numpy.functional import *  # noqa: F403
from lucidfn.numpy.grids import *  # noqa: F403
from lucidfn.numpy.histograms import *  # noqa: F403
from lucidfn.numpy.indexing import *  # noqa: F403
from lucidfn.numpy.joining import *  # noqa: F403
from lucidfn.numpy.linear import *  # noqa: F403
from lucidfn.numpy.math import *  # noqa: F403
from lucidfn.numpy.methods import install as _install
from lucidfn.numpy.nanreductions import *  # noqa: F403
from lucidfn.numpy.padding import *  # noqa: F403
from lucidfn.numpy.polynomials import *  # noqa: F403
from lucidfn.numpy.predicates import *  # noqa: F403
from lucidfn.numpy.quantiles import *  # noqa: F403
from lucidfn.numpy.reductions import *  # noqa: F403
from lucidfn.numpy.selecting import *  # noqa: F403
from lucidfn.numpy.shape import *  # noqa: F403
from lucidfn.numpy.sorting import *  # noqa: F403
from lucidfn.numpy.typenames import *  # noqa: F403
from lucidfn.numpy.updates import *  # noqa: F403

_install(globals())
