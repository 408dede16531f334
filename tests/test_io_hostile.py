"""Files that are damaged or made to harm: a clear error, never a crash or a wrong array."""

import json
import os
import random as python_random
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import io, optim, random, tree
from lucidfn.errors import CorruptFileError
from lucidfn.io._safetensors import Blob, as_bytes, write
from lucidfn.types import is_key

# Random corruptions in each of the tests below; the bar is 10000.
COUNT = int(os.environ.get("LUCIDFN_CORRUPTIONS", "400"))


class Pair(NamedTuple):
    first: Any
    second: Any


def file_of(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(begin: int, end: int, shape: Any = None, dtype: Any = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape,
            "data_offsets": [begin, end]}


HEADERS: dict[str, tuple[Any, bytes, str]] = {
    "not JSON": (b"{'a': 1}", b"", "not valid"),
    "not an object": ([1], b"", "must be a JSON object, got list"),
    "not UTF-8": (b'{"\xff": 1}', b"", "not valid"),
    "nested": (b"[" * 200_000, b"", "not valid"),
    "NaN": (b'{"a": NaN}', b"", "NaN is not JSON"),
    "a long number": (b'{"a": ' + b"9" * 10_000 + b"}", b"", "not valid"),
    "a name twice": (b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}, "a": {"dtype": '
                     b'"U8", "shape": [1], "data_offsets": [0, 1]}}', b"1", "'a' is there twice"),
    "a key twice": (b'{"a": {"dtype": "U8", "dtype": "I8", "shape": [1], "data_offsets": [0, 1]}}',
                    b"1", "'dtype' is there twice"),
    "metadata that are no text": ({"__metadata__": {"a": 1}}, b"", "must be text"),
    "metadata that are no object": ({"__metadata__": "a"}, b"", "must be text"),
    "an entry that is no object": ({"a": 3}, b"", "needs exactly dtype, shape"),
    "a key missing": ({"a": {"dtype": "U8", "shape": [0]}}, b"", "needs exactly"),
    "a key too many": ({"a": entry(0, 1) | {"x": 1}}, b"1", "needs exactly"),
    "an unknown dtype": ({"a": entry(0, 1, dtype="U9")}, b"1", "unknown dtype 'U9'"),
    "a dtype that is no text": ({"a": entry(0, 1, dtype=[])}, b"1", "unknown dtype"),
    "a negative size": ({"a": entry(0, 1, [-1])}, b"1", "the shape"),
    "a fractional size": ({"a": entry(0, 1, [1.0])}, b"1", "the shape"),
    "a size that is true": ({"a": entry(0, 1, [True])}, b"1", "the shape"),
    "100 axes": ({"a": entry(0, 1, [1] * 100)}, b"1", "the shape"),
    "sizes beyond 64 bits": ({"a": entry(0, 1, [2**32, 2**32])}, b"1", "has 1 bytes"),
    "a size beyond 64 bits": ({"a": entry(0, 1, [2**64])}, b"1", "the shape"),
    "nothing of a huge size": ({"a": entry(0, 0, [0, 2**62, 2**62])}, b"", "cannot be made"),
    "offsets that are no numbers": ({"a": {"dtype": "U8", "shape": [1], "data_offsets": ["0", 1]}},
                                    b"1", "the offsets"),
    "three offsets": ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 2]}}, b"1",
                      "the offsets"),
    "offsets in reverse": ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 0]}}, b"1",
                           "has -1 bytes"),
    "negative offsets": ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [-1, 0]}}, b"1",
                         "the offsets"),
    "too few bytes": ({"a": entry(0, 3, dtype="F32", shape=[1])}, b"123", "has 3 bytes"),
    "an overlap": ({"a": entry(0, 4), "b": entry(2, 6)}, b"123456", "'b' overlaps 'a'"),
    "one inside the other": ({"a": entry(0, 6), "b": entry(2, 4)}, b"123456", "'b' overlaps 'a'"),
    "a hole": ({"a": entry(0, 2), "b": entry(4, 6)}, b"123456", "'b' does not follow 'a'"),
    "a hole at the start": ({"a": entry(2, 6)}, b"123456", "'a' does not follow the header"),
    "data beyond the end": ({"a": entry(0, 2**40)}, b"123456", "truncated"),
    "data left over": ({"a": entry(0, 2)}, b"123456", "longer than its header says"),
    "a bool of 2": ({"a": entry(0, 2, dtype="BOOL")}, b"\1\2", "bytes that are not 0 or 1"),
    "our name without checksums": ({"__metadata__": {"format": "lucidfn"}}, b"", "checksum"),
    "a checksum missing": ({"__metadata__": {"lucidfn.tree": "1"}}, b"", "checksum"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers(tmp_path: Path, name: str) -> None:
    header, data, message = HEADERS[name]
    path = file_of(tmp_path / "x.safetensors", header, data)
    with pytest.raises(CorruptFileError, match=message) as error:
        lf.load(path)
    assert str(error.value).startswith(f"{path}: ") and len(str(error.value)) < 600
    if message not in ("cannot be made", "bytes that are not 0 or 1"):
        with pytest.raises(CorruptFileError):
            io.shapes(path)
        with pytest.raises(CorruptFileError):
            lf.load(path, verify=False)


@pytest.mark.parametrize("content", [b"", b"\0", b"\0" * 7, b"\0" * 8, b"\1\0\0\0\0\0\0\0",
                                     b"PK\3\4" * 10, b"\x80\x02}q\0.", b"\xff" * 20])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError):
        lf.load(path)


@pytest.mark.parametrize("length", [2**63, 2**40, 100_000_001, 50])
def test_absurd_lengths_of_headers_take_no_memory(tmp_path: Path, length: int) -> None:
    path = file_of(tmp_path / "x.safetensors", {}, length=length)
    tracemalloc.start()
    with pytest.raises(CorruptFileError, match=f"should be {length} bytes long"):
        lf.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("structure", [{"list": [{"array": "x"}] * 10**5}, {"list": []},
                                       {"list": [{"array": "y"}]}])
def test_a_tensor_stands_in_one_place(tmp_path: Path, structure: Any) -> None:
    """A file cannot ask for its tensors many times over, even with the right checksums."""
    path, x = tmp_path / "x.safetensors", np.ones(10**5)
    write(path, [Blob("x", x.dtype, x.shape, lambda: as_bytes(x))],
          {"lucidfn.version": "1", "lucidfn.tree": json.dumps(structure)})
    with pytest.raises(CorruptFileError, match="not valid: its arrays are not those of the file"):
        lf.load(path)


def test_names_run_nothing(tmp_path: Path) -> None:
    """Names of tensors are names only, whatever they look like."""
    names = ["__class__", "../../etc/passwd", "__import__('os')", "a\0b", "{0}", "%s"]
    header = {name: entry(i, i + 1) for i, name in enumerate(names)}
    found = lf.load(file_of(tmp_path / "x.safetensors", header, bytes(len(names))))
    assert list(found) == names


# ------------------------------------------------------------------ random corruptions

def corrupted(rng: python_random.Random, data: bytes, upto: int) -> bytes:
    """Bits flipped, bytes changed, pieces removed, repeated, moved, zeroed or cut off."""
    out, n = bytearray(data), len(data)
    i, j = sorted(rng.randrange(upto) for _ in range(2))
    kind = rng.randrange(9)
    if kind == 0:
        for _ in range(rng.choice([1, 1, 1, 2, 8])):
            out[rng.randrange(upto)] ^= 1 << rng.randrange(8)
    elif kind == 1:
        for _ in range(rng.choice([1, 1, 4, 16])):
            out[rng.randrange(upto)] = rng.randrange(256)
    elif kind == 2:
        out[i] = rng.choice(b'0123456789"[]{},:- ')
    elif kind == 3:
        del out[rng.randrange(n):]
    elif kind == 4:
        del out[i:min(j, i + rng.choice([1, 2, 8, 200])) + 1]
    elif kind == 5:
        out[i:i] = out[i:j] if rng.random() < 0.5 else rng.randbytes(rng.choice([1, 8, 64]))
    elif kind == 6:
        out[i:j + 1] = bytes(j + 1 - i)
    elif kind == 7:
        size = min(rng.choice([1, 4, 64]), n - j)
        out[i:i + size], out[j:j + size] = out[j:j + size], out[i:i + size]
    else:
        out += rng.randbytes(rng.choice([1, 100]))
    return bytes(out)


def bits(x: Any) -> Any:
    if isinstance(x, lf.Array | np.ndarray):
        raw = np.asarray(random.key_data(x) if is_key(x.dtype) else x)
        return str(x.dtype), x.shape, raw.tobytes()
    return repr(x)


def test_our_files_corrupted(tmp_path: Path) -> None:
    """No corruption of a file of ours is taken for data, not even one of a plain value."""
    params = {"w": lnp.arange(60.0).reshape(3, 20), "b": lnp.zeros(0), "h": lnp.ones(7, "bfloat16")}
    whole = OrderedDict(params=params, opt=optim.adam(1e-3).init(params), key=random.key(0),
                        step=17, history=[0.5, 0.25, float("nan")], z=np.complex128(1 + 2j),
                        pair=Pair("text", (None, b"bytes", True)))
    good, path = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    lf.save(good, whole)
    data = good.read_bytes()
    length = 8 + int.from_bytes(data[:8], "little")
    rng, wanted = python_random.Random(0), [bits(x) for x in tree.leaves(whole)]
    refused = 0
    for i in range(COUNT):
        bad = corrupted(rng, data, length if i % 2 else len(data))
        path.write_bytes(bad)
        for like in (None, whole):
            try:
                back = lf.load(path, like)
            except CorruptFileError:
                refused += bad != data
                continue
            assert bad == data
            assert [bits(x) for x in tree.leaves(back)] == wanted
        assert bad == data or refused
    assert refused > COUNT


def test_foreign_headers_corrupted(tmp_path: Path) -> None:
    """A foreign file has no checksums: what is read is what its header says, or it is refused."""
    header = {"__metadata__": {"format": "pt"}, "a.weight": entry(0, 24, [2, 3], "F32"),
              "a.bias": entry(24, 28, [2], "BF16"), "n": entry(28, 36, [], "I64"),
              "mask": entry(36, 39, dtype="BOOL"), "none": entry(39, 39, [0, 4], "F64")}
    path = file_of(tmp_path / "x.safetensors", header, bytes(39))
    data = path.read_bytes()
    length = 8 + int.from_bytes(data[:8], "little")
    rng, refused = python_random.Random(1), 0
    tracemalloc.start()
    for i in range(COUNT):
        bad = corrupted(rng, data, length)
        path.write_bytes(bad)
        try:
            found = lf.load(path, verify=i % 3 > 0)
        except (CorruptFileError, TypeError) as error:  # TypeError: a dtype that lucidfn lacks
            assert isinstance(error, CorruptFileError) or "do not have" in str(error)
            refused += 1
            continue
        table = json.loads(bad[8:8 + int.from_bytes(bad[:8], "little")])
        table.pop("__metadata__", None)
        assert {k: list(x.shape) for k, x in found.items()} == {
            k: e["shape"] for k, e in table.items()}
        assert sum(x.nbytes for x in found.values()) <= len(bad)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > COUNT / 4 and peak < 2_000_000
