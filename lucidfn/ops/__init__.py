"""The primitives: what can be computed. One instance each, with all its rules.

Rules are written with primitives only (never with the public operators), on raw arrays, Python
scalars and tracers.
"""

from lucidfn.ops.activation import *  # noqa: F403
from lucidfn.ops.contract import *  # noqa: F403
from lucidfn.ops.conv import *  # noqa: F403
from lucidfn.ops.cumulative import *  # noqa: F403
from lucidfn.ops.decompositions import *  # noqa: F403
from lucidfn.ops.dynamic import *  # noqa: F403
from lucidfn.ops.elementwise import *  # noqa: F403
from lucidfn.ops.fourier import *  # noqa: F403
from lucidfn.ops.indexing import *  # noqa: F403
from lucidfn.ops.linalg import *  # noqa: F403
from lucidfn.ops.naming import *  # noqa: F403
from lucidfn.ops.random import *  # noqa: F403
from lucidfn.ops.reduce import *  # noqa: F403
from lucidfn.ops.resample import *  # noqa: F403
from lucidfn.ops.scatter import *  # noqa: F403
from lucidfn.ops.shape import *  # noqa: F403
from lucidfn.ops.sorting import *  # noqa: F403
from lucidfn.ops.special import *  # noqa: F403
from lucidfn.ops.split import *  # noqa: F403
from lucidfn.ops.systems import *  # noqa: F403
from lucidfn.ops.tapes import *  # noqa: F403
from lucidfn.ops.window import *  # noqa: F403
