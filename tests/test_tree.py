"""Pytrees: round trips, order, messages, prefixes, treedefs, and agreement with jax.tree."""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import gc
import operator
import pickle
import weakref
from collections import OrderedDict, defaultdict, namedtuple
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lucidfn import tree
from lucidfn import tree_util as tu
from lucidfn.tree import _treedef


class State(NamedTuple):
    count: Any
    mu: Any


class Color(enum.StrEnum):
    RED = "red"


@tu.register_dataclass
@dataclasses.dataclass
class Model:
    w: Any
    b: Any
    act: Any = tree.static(default="relu")


@tu.register_pytree_node_class
class Pair:
    def __init__(self, x, y, name=None):
        self.x, self.y, self.name = x, y, name

    def tree_flatten(self):
        return (self.x, self.y), self.name

    @classmethod
    def tree_unflatten(cls, name, children):
        return cls(*children, name)

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = None


@tu.register_pytree_with_keys_class
class Keyed:
    def __init__(self, x):
        self.x = x

    def tree_flatten_with_keys(self):
        return [(tu.GetAttrKey("x"), self.x)], None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)

    def __eq__(self, other):
        return self.x == other.x

    __hash__ = None


@tu.register_static
@dataclasses.dataclass(frozen=True)
class Config:
    size: int
    note: str = dataclasses.field(default="", compare=False)


class PlainDict(dict):
    pass


leaf_object = PlainDict(a=1)

# tree, leaves, structure
TREES = [
    (1, [1], "*"),
    (None, [], "None"),
    ((), [], "()"),
    ([], [], "[]"),
    ({}, [], "{}"),
    ((1,), [1], "(*,)"),
    ([1, (2, 3)], [1, 2, 3], "[*, (*, *)]"),
    ({"b": (1, None), "a": 2}, [2, 1], "{'a': *, 'b': (*, None)}"),
    ({3: 1, 1: [2], 2: 3}, [2, 3, 1], "{1: [*], 2: *, 3: *}"),
    ({True: 1}, [1], "{True: *}"),
    ({1.5: 1, 0: 2}, [2, 1], "{0: *, 1.5: *}"),
    ({(1, "a"): 1, (0, "b"): 2}, [2, 1], "{(0, 'b'): *, (1, 'a'): *}"),
    (OrderedDict(z=1, y=[2]), [1, 2], "OrderedDict({'z': *, 'y': [*]})"),
    (defaultdict(list, b=1, a=2), [2, 1], "defaultdict(list, {'a': *, 'b': *})"),
    (State(1, {"w": 2}), [1, 2], "State(count=*, mu={'w': *})"),
    (Model(1, (2, 3), "tanh"), [1, 2, 3], "Model(w=*, b=(*, *), act='tanh')"),
    (Pair(1, [2], "n"), [1, 2], "Pair['n'](*, [*])"),
    (Keyed({"k": 1}), [1], "Keyed({'k': *})"),
    (Config(3), [], "Config(size=3, note='')"),
    ([leaf_object], [leaf_object], "[*]"),
    ([[], {}, (), None, 1], [1], "[[], {}, (), None, *]"),
    ({str(i): i for i in range(300)}, [int(k) for k in sorted(map(str, range(300)))], None),
    (list(range(1000)), list(range(1000)), None),
]


@pytest.mark.parametrize("t, leaves, shown", TREES, ids=[shown for *_, shown in TREES])
def test_round_trip(t, leaves, shown):
    got, treedef = tree.flatten(t)
    assert got == leaves == tree.leaves(t)
    if shown is not None:
        assert repr(treedef) == f"PyTreeDef({shown})"
    rebuilt = tree.unflatten(treedef, leaves)
    assert rebuilt == t and type(rebuilt) is type(t)
    assert tree.structure(rebuilt) == treedef and hash(tree.structure(rebuilt)) == hash(treedef)
    assert treedef.num_leaves == len(leaves)
    assert treedef.num_nodes == 1 + sum(c.num_nodes for c in treedef.children())
    assert tree.map(lambda x: x, t) == t
    assert treedef.flatten_up_to(t) == leaves
    assert treedef.is_prefix_of(treedef)
    assert tree.flatten(t, is_leaf=lambda x: False) == (leaves, treedef)
    paths, with_path = tree.flatten_with_path(t)
    assert with_path == treedef and [x for _, x in paths] == leaves
    assert len({p for p, _ in paths}) == len(leaves)
    assert pickle.loads(pickle.dumps(treedef)) == treedef
    assert copy.deepcopy(treedef) is treedef
    for a, b in ((t, rebuilt), (treedef, t), (t, treedef), (treedef, treedef)):
        assert tu.explain_mismatch(a, b) == ""


def test_exact_keys_survive_equal_ones():
    for first, second in [({"red": 1}, {Color.RED: 1}), ({1: 0}, {True: 0}), ({0.0: 1}, {-0.0: 1}),
                          ({Color.RED: 1}, {"red": 1})]:
        tree.flatten(first)
        for t in (first, second):
            back = tree.map(lambda x: x, t)
            assert [repr(k) for k in back] == [repr(k) for k in t]
            assert [type(k) for k in back] == [type(k) for k in t]
        assert tree.structure(first) != tree.structure(second)
        assert tu.explain_mismatch(first, second).startswith("trees differ at the root: (")
        assert tree.map(lambda x, y: x, first, second) == first


def test_none_and_is_leaf():
    t = {"a": None, "b": (1, None)}
    assert tree.leaves(t) == [1]
    assert tree.leaves(t, is_leaf=lambda x: x is None) == [None, 1, None]
    assert tree.map(lambda x: 0 if x is None else x, t, is_leaf=lambda x: x is None) == {
        "a": 0, "b": (1, 0)}
    assert tree.leaves(t, is_leaf=lambda x: isinstance(x, tuple)) == [(1, None)]
    assert tree.structure(None) == tree.structure(None) != tree.structure(0)


def test_map_gives_what_stands_in_the_place():
    f = lambda *xs: xs  # noqa: E731
    assert tree.map(f, {"a": 1, "b": 2}, {"a": (3, 4), "b": None}) == {
        "a": (1, (3, 4)), "b": (2, None)}
    assert tree.map(f, [1, 2], [3, 4], [5, [6]]) == [(1, 3, 5), (2, 4, [6])]
    assert tree.map(f, Pair(1, 2, "n"), Pair(3, 4, "n")) == Pair((1, 3), (2, 4), "n")


def test_stop_iteration_in_f_is_not_swallowed():
    with pytest.raises(StopIteration):
        tree.map(lambda x: next(iter(())), (1, 2))


def test_reduce_all_transpose():
    t = {"a": 1, "b": (2, 3)}
    assert tree.reduce(operator.add, t) == 6
    assert tree.reduce(operator.add, t, 10) == 16
    assert tree.reduce(lambda a, b: b, t, None) == 3
    assert tree.reduce(operator.add, (), 0) == 0
    assert tree.reduce_associative(operator.add, tuple("abcde")) == "abcde"
    assert tree.reduce_associative(operator.add, None, identity=0) == 0
    with pytest.raises(TypeError, match="initializer"):
        tree.reduce(operator.add, ())
    with pytest.raises(TypeError, match="identity"):
        tree.reduce_associative(operator.add, ())
    assert tree.all((True, 1)) and not tree.all((True, 0)) and tree.all(())
    rows = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    outer, inner = tree.structure([0, 0]), tree.structure({"a": 0, "b": 0})
    want = {"a": [1, 3], "b": [2, 4]}
    assert tree.transpose(outer, inner, rows) == tree.transpose(outer, None, rows) == want
    assert tree.transpose(tree.structure(()), inner, ()) == {"a": (), "b": ()}
    assert tree.transpose(outer, inner, [{"a": 1, "b": None}] * 2) == {"a": [1, 1],
                                                                       "b": [None, None]}
    with pytest.raises(TypeError, match=r"\[1\]\['b'\]: missing in the tree"):
        tree.transpose(outer, inner, [{"a": 1, "b": 2}, {"a": 3}])


def test_paths():
    t = {"p": State(1, [2]), "m": Model(3, 4), "q": Pair(5, 6), "k": Keyed(7),
         "o": OrderedDict(z=8), "f": tu.Partial(print, 9, end=10)}
    found = {tu.keystr(path): x for path, x in tree.leaves_with_path(t)}
    assert found == {
        "['p'].count": 1, "['p'].mu[0]": 2, "['m'].w": 3, "['m'].b": 4,
        "['q'][<flat index 0>]": 5, "['q'][<flat index 1>]": 6, "['k'].x": 7, "['o']['z']": 8,
        "['f'].args[0]": 9, "['f'].keywords['end']": 10}
    path = (tu.DictKey("a"), tu.SequenceKey(0), tu.GetAttrKey("b"), tu.FlattenedIndexKey(1))
    assert tu.keystr(path[:3]) == "['a'][0].b"
    assert tu.keystr(path, simple=True, separator="/") == "a/0/b/1"
    assert tu.keystr((), simple=True, separator="/") == ""
    assert tu.DictKey("a") == tu.DictKey("a") != tu.SequenceKey("a")
    named = tree.map_with_path(lambda p, x, y: (tu.keystr(p), x, y), {"a": [1]}, {"a": [2]})
    assert named == {"a": [("['a'][0]", 1, 2)]}
    leaves = tree.leaves_with_path({"a": {"b": 1}}, is_leaf=lambda p, x: len(p) == 1,
                                   is_leaf_takes_path=True)
    assert leaves == [((tu.DictKey("a"),), {"b": 1})]


# ------------------------------------------------------------------ messages

Other = namedtuple("Other", "count mu")
MISMATCHES = [
    ({"layer1": {"w": 1, "b": 2}}, {"layer1": {"b": 2}},
     "trees differ at ['layer1']['w']: missing in the second tree"),
    ({"a": 1}, {"a": 1, "c": 2}, "trees differ at ['c']: missing in the first tree"),
    ((1, 2), [1, 2],
     "trees differ at the root: tuple of length 2 in the first tree, "
     "list of length 2 in the second tree"),
    ({"a": (1, 2)}, {"a": (1, 2, 3)},
     "trees differ at ['a']: length 2 in the first tree, 3 in the second tree"),
    ([1, None], [1, 2.5],
     "trees differ at [1]: None in the first tree, leaf of type float in the second tree"),
    (State(1, 2), Other(1, 2),
     "trees differ at the root: State in the first tree, Other in the second tree"),
    (State({"x": 1}, 2), State({"y": 1}, 2),
     "trees differ at 2 places:\n  .count['x']: missing in the second tree\n"
     "  .count['y']: missing in the first tree"),
    (OrderedDict(a=1, b=2), OrderedDict(b=1, a=2),
     "trees differ at the root: ('a', 'b') in the first tree, ('b', 'a') in the second tree"),
    ([Model(1, 2, "relu")], [Model(1, 2, "tanh")],
     "trees differ at [0]: ('relu',) in the first tree, ('tanh',) in the second tree"),
    (Config(1), Config(2),
     "trees differ at the root: Config(size=1, note='') in the first tree, "
     "Config(size=2, note='') in the second tree"),
]


@pytest.mark.parametrize("a, b, message", MISMATCHES, ids=range(len(MISMATCHES)))
def test_mismatch_names_the_paths(a, b, message):
    for act in (lambda: tree.map(lambda x, y: x, a, b),
                lambda: tree.structure(a).flatten_up_to(b)):
        with pytest.raises(ValueError) as e:
            act()
        assert str(e.value) == message
    assert not tree.structure(a).is_prefix_of(tree.structure(b))
    assert tu.explain_mismatch(tree.structure(a), b) == message
    assert "places" in message or tu.explain_mismatch(
        a, tree.structure(b)).startswith(message.split(":")[0])


def test_explain_mismatch_options():
    a, b = {"x": 1, "y": (1, 2)}, {"x": 1, "y": 3}
    text = tu.explain_mismatch(a, b, ("grads", "params"), root="params")
    assert text == ("trees differ at params['y']: tuple of length 2 in grads, "
                    "leaf of type int in params")
    assert tu.explain_mismatch(b, a, prefix=True) == "" != tu.explain_mismatch(b, a)
    many = {str(i): i for i in range(20)}
    lines = tu.explain_mismatch(many, {}).splitlines()
    assert lines[0] == "trees differ at 20 places:" and lines[-1] == "  ... and 12 more"
    assert len(lines) == 10
    with pytest.raises(ValueError, match="missing in tree 3"):
        tree.map(lambda *xs: xs, {"a": 1}, {"a": 1}, {})


def test_errors():
    with pytest.raises(TypeError, match=r"do not sort: 1 \(int\) and 'a' \(str\)"):
        tree.flatten({1: 1, "a": 2})
    treedef = tree.structure((1, 2))
    for leaves in ([1], [1, 2, 3], iter([1])):
        with pytest.raises(ValueError, match="a tree of 2 leaves cannot be built from"):
            treedef.unflatten(leaves)
    assert treedef.unflatten(iter([1, 2])) == (1, 2)
    with pytest.raises(ValueError, match="Pair is registered as a pytree node already"):
        tu.register_pytree_node_class(Pair)
    with pytest.raises(ValueError, match="dict is registered"):
        tu.register_pytree_node(dict, lambda x: ((), x), lambda data, _: data)
    with pytest.raises(AttributeError, match="immutable"):
        treedef.num_leaves = 3
    with pytest.raises(TypeError, match="metadata of Pair are not hashable"):
        hash(tree.structure(Pair(1, 2, [3])))
    assert tree.structure(Pair(1, 2, [3])) == tree.structure(Pair(1, 2, [3]))
    with pytest.raises(ValueError, match="int is a leaf"):
        tu.flatten_one_level(3)

    class Wrong:
        pass

    tu.register_pytree_node(Wrong, lambda x: 3, lambda data, children: Wrong())
    with pytest.raises(TypeError, match=r"flatten function of .*Wrong must return \(children, "):
        tree.flatten(Wrong())


# ------------------------------------------------------------------ prefixes

def is_none(x):
    return x is None


PREFIXES = [
    (0, (1, {"a": 2}), [0, 0]),
    (None, (1, 2), [None, None]),
    ((0, None), (1, {"a": 2, "b": 3}), [0, None, None]),
    ((0, {"a": 1, "b": None}), (1, {"a": (2, 3), "b": [4]}), [0, 1, 1, None]),
    ({"a": 0}, {"a": None}, []),
    ((0, 1), (None, 5), [1]),
    ([], [], []),
    (7, (), []),
]


@pytest.mark.parametrize("prefix, full, want", PREFIXES)
def test_flatten_prefix(prefix, full, want):
    assert tu.flatten_prefix(prefix, full, is_none) == want
    assert tu.prefix_errors(prefix, full, is_none) == []


def test_prefix_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"differ at in_axes\[1\]\['b'\]: missing in in_axes$"):
        tu.flatten_prefix((0, {"a": 1}), (1, {"a": 2, "b": 3}))
    with pytest.raises(ValueError, match=r"out_axes: tuple of length 2 in out_axes, leaf of type"):
        tu.flatten_prefix((0, 1), 3, name="out_axes")
    (make,) = tu.prefix_errors((0, 1), (1, 2, 3))
    assert "at spec: length 2 in spec, 3 in the full tree" in str(make("spec"))
    assert tree.broadcast((1, 2), ((3, 4), {"a": 5})) == ((1, 1), {"a": 2})


# ------------------------------------------------------------------ treedefs

def test_treedefs():
    s = tree.structure
    assert s({"a": 1, "b": 2}) is s({"b": 3, "a": 4})
    assert s((1, 2)) != s([1, 2]) and s((1, 2)) != 3
    assert s(((1, 2), 3)) == tu.treedef_tuple([s((1, 2)), s(1)])
    assert tu.treedef_children(s((1, [2]))) == [s(1), s([1])]
    assert tu.treedef_is_leaf(s(1)) and not tu.treedef_is_leaf(s((1,)))
    assert s((1, 2)).compose(s([1])) == s(([1], [1]))
    assert s((1, 2)).is_prefix_of(s((1, (2, 3)))) and not s((1, (2, 3))).is_prefix_of(s((1, 2)))
    assert s({"b": 1, "a": 2}).node_data() == (dict, ["a", "b"]) and s(1).node_data() is None
    assert s(State(1, 2)).node_data() == (State, None)
    assert tu.build_tree(s({"a": 0, "b": (0, None)}), [1, [2, None]]) == {"a": 1, "b": (2, None)}
    assert tu.all_leaves([1, "a"]) and not tu.all_leaves([1, (2,)])
    assert not tu.all_leaves([None]) and tu.all_leaves([None], is_leaf=is_none)
    assert tu.is_tree_node(dict) and tu.is_tree_node(State) and not tu.is_tree_node(PlainDict)
    assert tu.flatten_one_level({"b": [1], "a": 2}) == ((2, [1]), ("a", "b"))


def test_metadata_decides_equality():
    s = tree.structure
    assert s(Pair(1, 2, 1)) != s(Pair(1, 2, 1.0)) and s(Pair(1, 2, 1)) != s(Pair(1, 2, True))
    assert s(Pair(1, 2, 0.0)) != s(Pair(1, 2, -0.0))
    assert s(Pair(1, 2, float("nan"))) == s(Pair(1, 2, float("nan")))
    assert s([Config(1)]) == s([Config(1)]) != s([Config(2)])
    assert hash(s([Config(1)])) == hash(s([Config(1, "note")]))
    # Equal is not identical: each tree gives back its own object.
    for config in (Config(1, "a"), Config(1, "b")):
        assert tree.map(lambda x: x, [config])[0] is config


def test_metadata_is_not_kept_alive():
    class Big:
        pass

    big = Big()
    ref = weakref.ref(big)
    treedef = tree.structure({"a": [Pair(1, 2, big)]})
    assert tree.structure({"a": [Pair(3, 4, big)]}) is treedef
    del big, treedef
    gc.collect()
    assert ref() is None


def test_many_structures_stay_bounded():
    for n in range(6000):
        t = {f"k{n}": [n], "x": n}
        assert tree.map(lambda x: x, t) == t
    assert len(_treedef._kept) < 5000 and len(_treedef._flat_dicts) < 5000


# ------------------------------------------------------------------ registration

def test_register_dataclass():
    assert tree.structure(Model(1, 2)).node_data() == (Model, ("relu",))

    @functools.partial(tu.register_dataclass, data_fields=["y", "x"], meta_fields=["op"])
    @dataclasses.dataclass(frozen=True)
    class Point:
        x: Any
        y: Any
        op: str
        derived: Any = dataclasses.field(init=False, default=3)

    assert tree.leaves(Point(1, 2, "add")) == [2, 1]
    assert tree.map(str, Point(1, 2, "add")) == Point("1", "2", "add")

    @dataclasses.dataclass
    class Some:
        x: Any
        y: Any = 5

    with pytest.raises(ValueError, match=r"missing \['y'\], unknown \['z'\]"):
        tu.register_dataclass(Some, ["x", "z"], [])
    with pytest.raises(TypeError, match="both data_fields and meta_fields"):
        tu.register_dataclass(Some, ["x", "y"])
    with pytest.raises(TypeError, match="is not a dataclass"):
        tu.register_dataclass(type("Plain", (), {}))
    with pytest.raises(ValueError, match="cannot be both"):
        tu.register_dataclass(Some, ["x", "y"], ["y"])
    assert tree.leaves(Some(1, 2)) == [Some(1, 2)]  # a leaf until it is registered
    tu.register_dataclass(Some, drop_fields=["y"])
    assert tree.leaves(Some(1, 2)) == [1] and tree.map(abs, Some(-1, 2)) == Some(1, 5)
    assert tree.leaves({"a": Some(1, 2), "b": 3}) == [1, 3]


def test_register_named_tuple_and_subclasses():
    base = namedtuple("base", "x y")

    class Sub(base):
        def __new__(cls, xy):
            return base.__new__(cls, *xy)

    t = Sub((1, 2))
    assert tree.map(str, t) == ("1", "2") and type(tree.map(str, t)) is Sub
    tu.register_pytree_node(Sub, lambda s: ((s.x,), s.y), lambda y, c: Sub((c[0], y)))
    assert tree.leaves(t) == [1]


def test_partial():
    p = tu.Partial(divmod, 7)
    assert p(2) == (3, 1) and tree.leaves(p) == [7]
    assert tree.map(lambda x: 2 * x, p)(3) == divmod(14, 3)
    nested = tu.Partial(tu.Partial(max, 1), 5, key=abs)
    assert tree.leaves(nested) == [1, 5, abs] and nested(-9) == -9
    hidden = functools.partial(max, 10)
    outer = tu.Partial(hidden, 3)
    assert tree.leaves(outer) == [3] and outer(4) == 10
    assert tree.structure(outer) == tree.structure(tu.Partial(hidden, 4))
    assert tree.structure(p) != tree.structure(tu.Partial(max, 7))


# ------------------------------------------------------------------ random trees

keys = st.sampled_from("abcdef")
random_trees = st.recursive(
    st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=2), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(st.integers(0, 5), inner, max_size=3),
        st.dictionaries(keys, inner, max_size=3).map(OrderedDict),
        st.dictionaries(keys, inner, max_size=3).map(lambda d: defaultdict(list, d)),
        st.builds(State, inner, inner)),
    max_leaves=20)


@given(random_trees, random_trees)
@settings(max_examples=200, deadline=None)
def test_random_trees(a, b):
    for t in (a, b):
        leaves, treedef = tree.flatten(t)
        assert treedef.unflatten(leaves) == t
        assert [x for _, x in tree.leaves_with_path(t)] == leaves
        assert tree.flatten(t, lambda x: False) == (leaves, treedef)
        assert tu.flatten_prefix(0, t) == [0] * len(leaves)
        doubled = tree.map(lambda x: (x, [x]), t)
        assert treedef.flatten_up_to(doubled) == [(x, [x]) for x in leaves]
        assert treedef.is_prefix_of(tree.structure(doubled))
    equal = tree.structure(a) == tree.structure(b)
    assert equal == (tu.explain_mismatch(a, b) == "")
    assert equal <= tree.structure(a).is_prefix_of(tree.structure(b))


@pytest.mark.peers
@given(random_trees, random_trees)
@settings(max_examples=200, deadline=None)
def test_agrees_with_jax(a, b):
    jax = pytest.importorskip("jax")
    jtu = jax.tree_util
    for t in (a, b):
        leaves, treedef = tree.flatten(t)
        want, jax_treedef = jax.tree.flatten(t)
        assert leaves == want
        assert (treedef.num_leaves, treedef.num_nodes) == (
            jax_treedef.num_leaves, jax_treedef.num_nodes)
        assert treedef.node_data() == jax_treedef.node_data() or isinstance(t, defaultdict)
        assert ([tu.keystr(p) for p, _ in tree.leaves_with_path(t)]
                == [jtu.keystr(p) for p, _ in jtu.tree_leaves_with_path(t)])
        assert tree.leaves(t, is_none) == jax.tree.leaves(t, is_leaf=is_none)
        assert list(tree.map(str, t)) == list(jax.tree.map(str, t)) if isinstance(t, dict) else 1
    assert (tree.structure(a) == tree.structure(b)) == (
        jax.tree.structure(a) == jax.tree.structure(b))
    outcomes = []
    for f in (tree.map, jax.tree.map):
        try:
            outcomes.append(f(lambda x, y: (x, y), a, b))
        except ValueError:
            outcomes.append("differ")
    assert outcomes[0] == outcomes[1]


@pytest.mark.peers
def test_jax_has_no_tree_name_that_is_missing_here():
    jax = pytest.importorskip("jax")
    absent = {n for n in dir(jax.tree) if n[0] != "_"} - set(dir(tree))
    assert not absent
    absent = {n for n in dir(jax.tree_util) if n[0] != "_"} - set(dir(tu))
    assert absent <= {"default_registry", "flatten_one_level_with_keys"}
    # The one difference: jax calls every structure of one node a leaf.
    assert not tu.treedef_is_leaf(tree.structure(None))
    assert jax.tree_util.treedef_is_leaf(jax.tree.structure(None))
    for prefix, full in [((1, 2), ((3, 4), {"a": 1})), ((1, None), (2, None)), (5, (None, 1))]:
        assert tree.broadcast(prefix, full) == jax.tree.broadcast(prefix, full)
    assert (tree.broadcast((1, None), ((2, None), {"a": 1}), is_none)
            == jax.tree.broadcast((1, None), ((2, None), {"a": 1}), is_none))
