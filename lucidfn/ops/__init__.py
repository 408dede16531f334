"""The primitives: what can be computed. One instance each, with all its rules.

Rules are written with primitives only (never with the public operators), on raw arrays, Python
scalars and tracers.
"""

from lucidfn.ops.contract import *  # noqa: F403
from lucidfn.ops.cumulative import *  # noqa: F403
from lucidfn.ops.elementwise import *  # noqa: F403
from lucidfn.ops.reduce import *  # noqa: F403
from lucidfn.ops.shape import *  # noqa: F403
