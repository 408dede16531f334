"""The familiar names of NumPy, as compositions of primitives: `import lucidfn.numpy as lnp`."""

from types import ModuleType as _ModuleType

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

# Not names of NumPy: the modules in which the functions stand, and what `methods` installs.
_HIDDEN = {"getitem", "IndexUpdate", "IndexedUpdate"}
__all__ = [_name for _name, _value in globals().items() if not _name.startswith("_") and (
    _name in ("fft", "linalg") or not isinstance(_value, _ModuleType)) and _name not in _HIDDEN]


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
