"""Trees in files: what comes back is what was saved, and what does not fit is said in full."""

import json
import os
import subprocess
import sys
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from optim_tables import OPTIMIZERS

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import io, nn, optim, random, tree, tree_util
from lucidfn.errors import CorruptFileError
from lucidfn.io._safetensors import write
from lucidfn.types import bfloat16, is_key


class Pair(NamedTuple):
    first: Any
    second: Any


@tree_util.register_dataclass
@dataclass
class Run:
    params: Any
    step: int
    name: str = tree.static(default="run")
    sizes: tuple[int, ...] = tree.static(default=())


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "tree.safetensors")


def bits(x: Any) -> Any:
    """What must be equal to the bit."""
    if isinstance(x, lf.Array | np.ndarray | np.generic):
        raw = np.asarray(random.key_data(x) if is_key(x.dtype) else x)
        return type(x), str(x.dtype), x.shape, raw.tobytes(), getattr(x, "weak", None)
    return type(x), repr(x)


def assert_same(a: Any, b: Any) -> None:
    assert tree.structure(a) == tree.structure(b)
    assert [bits(x) for x in tree.leaves(a)] == [bits(x) for x in tree.leaves(b)]


def round_trip(path: str, x: Any) -> Any:
    lf.save(path, x)
    for options in ({}, {"verify": False}, {"mmap": True}, {"verify": False, "mmap": False},
                    {"like": x}):
        assert_same(lf.load(path, **options), x)
    return lf.load(path)


# ------------------------------------------------------------------ round trips

DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
          "float16", "bfloat16", "float32", "float64", "complex64", "complex128"]


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3, 5)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_shapes(path: str, dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=(2, *shape)) * 50
    x = (values[0] + 1j * values[1]) if "complex" in dtype else values[0]
    x = np.asarray(x).astype(bfloat16 if dtype == "bfloat16" else dtype)
    round_trip(path, {"array": lnp.asarray(x), "numpy": x, "scalar": x.reshape(-1)[:1].sum()})


@pytest.mark.parametrize("impl", ["threefry2x32", "philox"])
def test_random_keys(path: str, impl: str) -> None:
    key = random.key(7, impl=impl)
    back = round_trip(path, {"one": key, "many": random.split(key, (2, 3))})
    np.testing.assert_array_equal(random.normal(back["one"], (4,)), random.normal(key, (4,)))


@pytest.mark.parametrize("x", [
    None, 1, True, 0.1, -0.0, float("nan"), float("-inf"), 5e-324, 2**70, -2**63, 10**3000, 1 - 2j,
    complex(float("nan"), -0.0), "text", "\ud800 \u00e9 \0", b"\x00\xff", np.dtype("float16"),
    bfloat16, [], (), {}, [1, [2.5, (None, "x")]], {"b": 1, "a": {"c": []}}, {1: "x", 2: 3},
    {(1, "a"): 2}, {"a.b": lnp.ones(1), "a": {"b": lnp.zeros(2)}}, {"__metadata__": lnp.ones(2)},
    {"": lnp.ones(2)}, OrderedDict(b=1, a=lnp.ones(2)), defaultdict(list, {"x": [1]}),
    Pair(lnp.ones(2), Pair(None, 3)), Run({"w": lnp.ones(2)}, 7, "name", (1, 2)),
    lnp.asarray(2.0), np.float64(2.5), np.int8(-3)], ids=lambda x: repr(x)[:40])
def test_trees(path: str, x: Any) -> None:
    back = round_trip(path, x)
    assert type(back) is type(x)
    if isinstance(x, dict):
        assert list(back) == list(x)  # the order of insertion


def test_integers_beyond_what_python_prints(path: str) -> None:
    lf.save(path, {"n": 10**5000})
    assert lf.load(path)["n"] == 10**5000


def test_weak_types_stay_weak(path: str) -> None:
    lf.save(path, lnp.asarray(2.0))
    assert lf.load(path).weak and (lf.load(path) * lnp.ones(2, "bfloat16")).dtype == bfloat16


@pytest.mark.parametrize("make", [
    lambda x: x.T, lambda x: x[::-1], lambda x: x[:, ::2], lambda x: np.asfortranarray(x),
    lambda x: np.broadcast_to(x[:1], (5, *x.shape[1:])), lambda x: x.astype(">f4"),
    lambda x: x.astype("complex128").T])
def test_memory_that_is_not_contiguous(path: str, make: Any) -> None:
    x = make(np.arange(24, dtype="float32").reshape(4, 6))
    lf.save(path, {"x": x, "y": lnp.asarray(x.astype(x.dtype.newbyteorder("=")))})
    back = lf.load(path)
    np.testing.assert_array_equal(back["x"], x)
    np.testing.assert_array_equal(back["y"], x)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_every_optimizer_state(path: str, case: Any) -> None:
    params = {"w": lnp.ones((3, 4)), "b": lnp.zeros(4)}
    state = case.make(case.lr).init(params)
    round_trip(path, {"params": params, "opt": state, "key": random.key(1), "step": 12})


def test_state_of_layers(path: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.relu)
    params, state = model.init(random.key(0))
    round_trip(path, (params, state))


def test_types_of_optimizers_are_known_to_a_fresh_process(path: str) -> None:
    lf.save(path, optim.adam(1e-3).init({"w": lnp.ones(3)}))
    code = f"import lucidfn as lf; print(type(lf.load({path!r})[0]).__name__)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                         cwd=Path(lf.__file__).parents[1])
    assert ran.stdout.strip() == "AdamState", ran.stderr


# ------------------------------------------------------------------ refused

@pytest.mark.parametrize(("x", "words"), [
    ({"a": {1, 2}}, ["set", "'a'", "register_dataclass"]),
    ({"a": [lambda: 0]}, ["function", "'a.0'"]),
    ({"m": nn.Linear(2, 3)}, ["Linear", "'m'", "params and state"]),
    (np.array(["x"]), ["dtype is <U1"]),
    (np.array([None]), ["dtype is object"]),
    (np.ma.masked_array([1.0]), ["MaskedArray"]),
    (tree_util.Partial(max, 1), ["Partial", "structure"]),
    (defaultdict(lambda: 0, x=1), ["default_factory"]),
    ({"run": Run(1, 2, name=nn.Linear(2, 3))}, ["'run'", "static field of Run", "plain"]),
    (optim.adam(1e-3), ["function"]),
], ids=lambda x: type(x).__name__)
def test_what_cannot_be_saved(path: str, x: Any, words: list[str]) -> None:
    with pytest.raises(TypeError) as error:
        lf.save(path, x)
    assert all(word in str(error.value) for word in words), error.value
    assert not os.listdir(os.path.dirname(path))


def test_traced_values_are_refused(path: str) -> None:
    with pytest.raises(TypeError, match="'w': it is a traced value"):
        lf.jit(lambda x: lf.save(path, {"w": x}))(lnp.ones(2))


def test_unknown_types(path: str) -> None:
    Local = namedtuple("Local", ["x"], module="a.module.elsewhere")
    lf.save(path, {"local": Local(1)})
    assert lf.load(path)["local"] == Local(1)  # registered by the save
    other = Path(path).with_name("other.safetensors")
    write_ours(other, {"namedtuple": "no.such.module:Thing", "fields": ["x"], "items": [1]})
    with pytest.raises(ValueError, match="a 'Thing' of the module 'no.such.module'"):
        lf.load(other)
    assert "no.such.module" not in sys.modules
    Thing = namedtuple("Thing", ["x"], module="no.such.module")
    assert lf.load(other, types=[Thing]) == Thing(1)
    assert lf.load(other, {"x": 0}) == {"x": 1}  # then the type is not needed


def write_ours(path: Any, structure: Any) -> None:
    """A file that is sound but for its structure."""
    write(path, [], {"lucidfn.version": "1", "lucidfn.tree": json.dumps(structure)})


@pytest.mark.parametrize("structure", [
    [], {"list": 3}, {"unknown": 1}, {"dict": [[1]]}, {"dict": [["a", 1], ["a", 2]]},
    {"dict": [[{"list": []}, 1]]}, {"array": "gone"}, {"array": 3}, {"array": "x", "more": 1},
    {"namedtuple": "x", "fields": []}, {"namedtuple": "os:system", "fields": [], "items": []},
    {"node": "builtins:eval", "data": None, "keys": [], "items": []},
    {"node": "lucidfn.tree._dataclass:Partial", "data": "print", "keys": ["a", "b"],
     "items": [{"tuple": []}, {"dict": []}]},
    {"namedtuple": "lucidfn.optim.adaptive:AdamState", "fields": ["a"], "items": [1]},
    {"defaultdict": [], "factory": "eval"}, {"defaultdict": [], "factory": []}, {"float": "1e5"},
    {"complex": 3}, {"complex": [1, "x"]}, {"bytes": "zz"}, {"int": "ten"}, {"dtype": "object"},
    {"dtype": []}, {"int": 5}, {"list": [{"list": [[]]}]}, {"tuple": [{"array": []}]},
    {"array": "x", "as": "eval"}, {"array": "x", "dtype": "key<other>"},
], ids=lambda x: json.dumps(x)[:50])
def test_structures_that_are_not_valid(path: str, structure: Any) -> None:
    write_ours(path, structure)
    for read in (lambda: lf.load(path), lambda: lf.load(path, {"a": lnp.ones(2)}),
                 lambda: lf.load(path, paths="a.b")):
        with pytest.raises((ValueError, KeyError)):
            read()


# ------------------------------------------------------------------ like, paths, maps

def test_like_reports_everything_at_once(path: str) -> None:
    lf.save(path, {"a": lnp.ones(3), "b": {"c": lnp.ones((2, 2)), "gone": 1}, "n": 3, "s": "x"})
    like = {"a": lnp.ones(4), "b": {"c": lnp.ones((2, 2), "bfloat16"), "new": lnp.ones(1)},
            "n": 2.5, "s": lnp.ones(2)}
    with pytest.raises(ValueError) as error:
        lf.load(path, like)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("tree.safetensors does not fit `like`")
    assert [line.strip() for line in lines[1:]] == [
        "missing in the file: b.new (float32[1])", "unexpected in the file: b.gone (int)",
        "different: a is float32[3] in the file, expected float32[4]",
        "different: b.c is float32[2,2] in the file, expected bfloat16[2,2]",
        "different: n is int in the file, expected float",
        "different: s is str in the file, expected float32[2]"]


def test_like_gives_its_own_containers(path: str) -> None:
    lf.save(path, {"first": lnp.ones(2), "second": [1, 2]})
    shapes = lf.eval_shape(lambda: Pair(lnp.ones(2), None))
    back = lf.load(path, Pair(shapes.first, (0, 0)))
    assert back.second == (1, 2) and isinstance(back, Pair)
    lf.save(path, {"step": lnp.asarray(3)})
    assert int(lf.load(path, {"step": 0})["step"]) == 3


def test_many_differences_are_cut(path: str) -> None:
    lf.save(path, {})
    with pytest.raises(ValueError, match=r"and 970 more"):
        lf.load(path, [lnp.ones(1)] * 1000)


def test_parts(path: str) -> None:
    whole = {"params": {"a.b": lnp.ones(2), "a": {"b": lnp.zeros(3)}}, "opt": (Pair(1, 2), None)}
    lf.save(path, whole)
    assert_same(lf.load(path, paths="opt.0"), Pair(1, 2))
    assert lf.load(path, paths="params.a.b").shape == (2,)
    assert lf.load(path, paths=["opt.0.first", "opt.1"]) == {"opt.0.first": 1, "opt.1": None}
    assert_same(lf.load(path, {"b": lnp.ones(3)}, paths="params.a"), {"b": lnp.zeros(3)})
    with pytest.raises(KeyError, match="nothing at 'params.c'; it has .*opt.0.first"):
        lf.load(path, paths="params.c")
    with pytest.raises(TypeError, match="one path at a time"):
        lf.load(path, {}, paths=["opt"])


def test_a_part_is_read_and_verified_alone(path: str) -> None:
    lf.save(path, {"a": lnp.ones(1000), "b": lnp.ones(1000)})
    damaged = bytearray(Path(path).read_bytes())
    damaged[-1] ^= 1  # in b
    Path(path).write_bytes(damaged)
    assert lf.load(path, paths="a").sum() == 1000
    with pytest.raises(CorruptFileError, match="tensor 'b' does not have its checksum"):
        lf.load(path)
    assert lf.load(path, verify=False)["b"].shape == (1000,)


def test_shapes_are_read_from_the_header(path: str) -> None:
    lf.save(path, {"k": random.split(random.key(0)), "c": np.ones(2, "complex128"), "n": 3})
    found = io.shapes(path)
    assert found["n"] == 3 and found["c"].dtype == "complex128" and found["c"].shape == (2,)
    assert found["k"].shape == (2,) and is_key(found["k"].dtype)


def test_mapped_arrays_are_never_written_to(path: str) -> None:
    lf.save(path, {"w": lnp.ones((64, 64)), "k": random.key(0)})
    before = Path(path).read_bytes()
    params = lf.load(path, verify=False)
    step = lf.jit(lambda p: {"w": p["w"] * 2.0 + 1.0, "k": p["k"]}, donate_argnums=0)
    assert float(step(params)["w"][0, 0]) == 3.0
    w = lf.load(path, verify=False)["w"]
    assert float(w.at[0, 0].set(5.0)[0, 0]) == 5.0 and float(w.T.reshape(-1)[0]) == 1.0
    assert float(lf.grad(lambda x: (x * x).sum())(w)[0, 0]) == 2.0
    assert Path(path).read_bytes() == before


def test_loaded_arrays_can_be_donated(path: str) -> None:
    lf.save(path, {"w": lnp.ones((64, 64))})
    params = lf.load(path)
    lf.jit(lambda p: p["w"] + 1.0, donate_argnums=0)(params)
    with pytest.raises(lf.DonatedArrayError):
        np.asarray(params["w"])


def test_alignment_of_a_map(path: str) -> None:
    lf.save(path, {"a": np.ones(3, "u1"), "b": np.ones(5, "f8"), "c": np.ones(3, "f2")})
    assert all(x.flags.aligned for x in lf.load(path, verify=False).values())


# ------------------------------------------------------------------ other readers and writers

def test_other_readers_read_ours(path: str) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    lf.save(path, {"w": lnp.arange(6.0).reshape(2, 3).T, "n": {"i": np.int64(4)}, "s": 1})
    theirs = safetensors.load_file(path)
    assert sorted(theirs) == ["n.i", "w"]
    np.testing.assert_array_equal(theirs["w"], np.arange(6.0).reshape(2, 3).T)


def test_ours_reads_other_writers(path: str) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    arrays = {"layer.weight": np.arange(6, dtype="float32").reshape(2, 3),
              "layer.bias": np.ones(2, "float16"), "n": np.array(3)}
    safetensors.save_file(arrays, path, metadata={"format": "np"})
    back = lf.load(path)
    assert isinstance(back["n"], lf.Array) and sorted(back) == sorted(arrays)
    np.testing.assert_array_equal(back["layer.weight"], arrays["layer.weight"])
    assert sorted(lf.load(path, paths="layer")) == ["bias", "weight"]
    nested = {"layer": {"weight": lnp.zeros((2, 3)), "bias": lnp.zeros(2, "float16")},
              "n": np.array(3)}
    np.testing.assert_array_equal(lf.load(path, nested)["layer"]["weight"], arrays["layer.weight"])


def test_dtypes_that_lucidfn_lacks(path: str) -> None:
    header = {"a": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [0, 3]},
              "b": {"dtype": "U8", "shape": [2], "data_offsets": [3, 5]}}
    text = json.dumps(header).encode()
    Path(path).write_bytes(len(text).to_bytes(8, "little") + text + bytes(5))
    with pytest.raises(TypeError, match="'a' has dtype F8_E4M3, which lucidfn arrays do not have"):
        lf.load(path)
    assert lf.load(path, paths="b").shape == (2,)
    assert io.shapes(path)["a"] == "F8_E4M3[3]"


# ------------------------------------------------------------------ atomic

def test_an_error_leaves_the_old_file(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lf.save(path, {"x": 1})
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
            def fail(*args: Any) -> None:
                raise OSError("disk full")
            patch.setattr(os, name, fail)
            lf.save(path, {"x": lnp.ones(5)})
        assert lf.load(path) == {"x": 1}
        assert os.listdir(os.path.dirname(path)) == ["tree.safetensors"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder .*runs"):
        lf.save(tmp_path / "runs" / "x.safetensors", {})


def test_links_stay_links(path: str) -> None:
    link = path.replace("tree", "link")
    os.symlink(path, link)
    lf.save(link, {"x": 2})
    assert os.path.islink(link) and lf.load(path) == {"x": 2}


def test_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="a folder"):
        lf.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        lf.load(tmp_path / "none")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="not a regular file"):  # and does not wait
            lf.load(tmp_path / "pipe")
