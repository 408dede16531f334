"""Pytrees: nested containers of arrays, and the functions that map over them.

Tuples, lists, dicts (in the order of their sorted keys), OrderedDict, defaultdict, named tuples
and None (a container of nothing) are containers; other types become so by registration
(`lucidfn.tree_util`). Everything else is a leaf.

    tree.map(lambda w, g: w - 0.1 * g, params, grads)
"""

from lucidfn.tree._dataclass import static
from lucidfn.tree._functions import (
    explain_mismatch,
    flatten_prefix,
)
from lucidfn.tree._functions import tree_all as all
from lucidfn.tree._functions import tree_broadcast as broadcast
from lucidfn.tree._functions import tree_flatten as flatten
from lucidfn.tree._functions import tree_flatten_with_path as flatten_with_path
from lucidfn.tree._functions import tree_leaves as leaves
from lucidfn.tree._functions import tree_leaves_with_path as leaves_with_path
from lucidfn.tree._functions import tree_map as map
from lucidfn.tree._functions import tree_map_with_path as map_with_path
from lucidfn.tree._functions import tree_reduce as reduce
from lucidfn.tree._functions import tree_reduce_associative as reduce_associative
from lucidfn.tree._functions import tree_structure as structure
from lucidfn.tree._functions import tree_transpose as transpose
from lucidfn.tree._functions import tree_unflatten as unflatten
from lucidfn.tree._treedef import PyTreeDef

__all__ = [
    "PyTreeDef", "all", "broadcast", "explain_mismatch", "flatten", "flatten_prefix",
    "flatten_with_path", "leaves", "leaves_with_path", "map", "map_with_path", "reduce",
    "reduce_associative", "static", "structure", "transpose", "unflatten",
]
