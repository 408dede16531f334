"""The safetensors format: a header that is checked before anything is believed, and its bytes.

    8 bytes    length of the header, little-endian
    header     JSON: {"__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets"}, ...}
    data       the tensors one after the other, without holes

A file that lucidfn wrote has the checksum of its header in the metadata, and in the header the
checksum of each tensor.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import re
import secrets
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from lucidfn.errors import CorruptFileError
from lucidfn.types import bfloat16, dtype_name

DTYPES = {"BOOL": np.dtype(bool), "BF16": bfloat16} | {name: np.dtype(code) for name, code in {
    "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8"}.items()}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
# Dtypes of the format that lucidfn arrays do not have: bits of an element.
FOREIGN_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
                "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8}
MAX_HEADER = 100_000_000  # the limit of the format's reference implementation
ALIGNMENT = 64  # of the data in the file: a cache line, and any element
PREFIX = "lucidfn."
DIGEST = re.compile(rb'"lucidfn\.header":"([0-9a-f]{32})"')
NO_DIGEST = "0" * 32


class Entry(NamedTuple):
    """One tensor of a file; begin and end count from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    entries: dict[str, Entry]
    metadata: dict[str, str]

    @property
    def ours(self) -> bool:
        """Whether lucidfn wrote the file: then it has checksums, and must have all of them."""
        return (self.metadata.get("format") == "lucidfn"
                or any(key.startswith(PREFIX) for key in self.metadata))


class Blob(NamedTuple):
    """A tensor to be written; `data()` gives its bytes, contiguous."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    data: Callable[[], memoryview]


# ------------------------------------------------------------------ reading

def fault(path: Any, what: str) -> CorruptFileError:
    return CorruptFileError(f"{os.fspath(path)}: {what}")


@contextmanager
def opened(path: Any) -> Iterator[BinaryIO]:
    """A regular file: opening a pipe or a device could wait for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        kind = "a folder" if os.path.isdir(path) else "not a regular file"
        raise IsADirectoryError(f"{os.fspath(path)} is {kind}, expected a safetensors file")
    with open(path, "rb") as file:
        yield file


def read_header(file: BinaryIO, path: Any) -> Header:
    """The header, every claim of which fits the file. CorruptFileError where one does not."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    if len(start) < 8:
        raise fault(path, f"{size} bytes are no safetensors file: it starts with 8 bytes that "
                          "give the length of a header")
    length = int.from_bytes(start, "little")
    if length > min(size - 8, MAX_HEADER):
        raise fault(path, f"the header should be {length} bytes long, but the file has {size - 8} "
                          f"more (and a header at most {MAX_HEADER}): it is truncated, or no "
                          "safetensors file")
    text = file.read(length)
    if len(text) < length:
        raise fault(path, "the file ends within its header")
    table = parse(text, path)
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(type(v) is str for v in metadata.values()):
        raise fault(path, "the metadata in the header must be text by name")
    entries = {name: entry_of(name, value, 8 + length, path) for name, value in table.items()}
    check_layout(entries, 8 + length, size, path)
    header = Header(entries, metadata)
    if header.ours:
        check_digest(start, text, metadata, path)
    return header


def parse(text: bytes, path: Any) -> dict[str, Any]:
    """The header's JSON. Names may not be repeated: readers would differ in which one counts."""
    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
            raise ValueError(f"the name {twice!r} is there twice")
        return found

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        table = json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise fault(path, f"the header is not valid: {error}") from None
    if not isinstance(table, dict):
        raise fault(path, f"the header must be a JSON object, got {type(table).__name__}")
    return table


def is_size(x: Any) -> bool:
    return type(x) is int and 0 <= x < 2**63


def entry_of(name: str, value: Any, base: int, path: Any) -> Entry:
    """One entry of the header; its bytes must be as many as its shape and dtype need."""
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise fault(path, f"tensor {name!r} needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if type(dtype) is not str or dtype not in DTYPES and dtype not in FOREIGN_BITS:
        raise fault(path, f"tensor {name!r} has the unknown dtype {dtype!r:.60}")
    if not isinstance(shape, list) or not all(map(is_size, shape)) or len(shape) > 64:
        raise fault(path, f"tensor {name!r} has the shape {shape!r:.60}, expected at most 64 sizes")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(is_size, offsets)):
        raise fault(path, f"tensor {name!r} has the offsets {offsets!r:.60}, expected two sizes")
    bits = FOREIGN_BITS[dtype] if dtype in FOREIGN_BITS else 8 * DTYPES[dtype].itemsize
    begin, end = offsets
    if 8 * (end - begin) != math.prod(shape) * bits:
        raise fault(path, f"tensor {name!r} of dtype {dtype} and shape {shape!r:.60} has "
                          f"{end - begin} bytes, from {begin} to {end}")
    return Entry(dtype, tuple(shape), base + begin, base + end)


def check_layout(entries: dict[str, Entry], start: int, size: int, path: Any) -> None:
    """Tensors follow each other without overlap or hole, from the header to the end of the file."""
    at, before = start, "the header"
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != at:
            what = "overlaps" if entry.begin < at else "does not follow"
            raise fault(path, f"tensor {name!r} {what} {before}: it starts at byte "
                              f"{entry.begin - start} of the data, expected {at - start}")
        at, before = entry.end, f"{name!r}"
    if at != size:
        raise fault(path, f"the data should end at byte {at}, but the file has {size} bytes: it is "
                          + ("truncated" if size < at else "longer than its header says"))


def digest_of(start: bytes, text: bytes) -> str:
    """Of the header without its own checksum."""
    plain = DIGEST.sub(lambda m: m[0].replace(m[1], NO_DIGEST.encode()), text, count=1)
    return hashlib.blake2b(start + plain, digest_size=16).hexdigest()


def check_digest(start: bytes, text: bytes, metadata: dict[str, str], path: Any) -> None:
    found = DIGEST.search(text)
    stored = metadata.get(PREFIX + "header")
    if found is None or stored != found[1].decode() or stored != digest_of(start, text):
        raise fault(path, "the header does not have its checksum: the file is damaged")


class Reader:
    """The tensors of an open file: copies of them, or views of the file mapped into memory."""

    def __init__(self, file: BinaryIO, header: Header, path: Any, checksums: dict[str, str] | None,
                 mapped: bool):
        self.file, self.header, self.path, self.checksums = file, header, path, checksums
        self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if mapped else None

    def read(self, name: str) -> np.ndarray:
        """One tensor, verified where there are checksums to verify."""
        entry = self.header.entries[name]
        if entry.dtype not in DTYPES:
            raise TypeError(f"{os.fspath(self.path)}: tensor {name!r} has dtype {entry.dtype}, "
                            "which lucidfn arrays do not have; read others with paths=[...]")
        try:
            out = self.copy(entry) if self.map is None else self.view(entry)
        except ValueError as error:  # such as a shape (0, 2**62)
            raise fault(self.path, f"tensor {name!r} of shape {entry.shape} cannot be made: "
                                   f"{error}") from None
        if self.checksums is not None and checksum(as_bytes(out)) != self.checksums[name]:
            raise fault(self.path, f"tensor {name!r} does not have its checksum: the file is "
                                   "damaged (verify=False would read it all the same)")
        if entry.dtype == "BOOL" and self.map is None and out.view(np.uint8).max(initial=0) > 1:
            raise fault(self.path, f"tensor {name!r} has dtype BOOL, and bytes that are not 0 or 1")
        return out

    def copy(self, entry: Entry) -> np.ndarray:
        out = np.empty(entry.shape, DTYPES[entry.dtype])
        rest = as_bytes(out)
        self.file.seek(entry.begin)
        while len(rest):
            n = self.file.readinto(rest)  # type: ignore[attr-defined]
            if not n:
                raise fault(self.path, "the file became shorter while it was read")
            rest = rest[n:]
        return out

    def view(self, entry: Entry) -> np.ndarray:
        dtype, count = DTYPES[entry.dtype], math.prod(entry.shape)
        if count == 0:
            return np.empty(entry.shape, dtype)
        assert self.map is not None
        out = np.frombuffer(self.map, dtype, count, entry.begin).reshape(entry.shape)
        return out if out.flags.aligned else out.copy()


def as_bytes(x: np.ndarray) -> memoryview:
    """The memory of a contiguous array, without a copy."""
    return memoryview(x.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def checksum(data: memoryview) -> str:
    """CRC-32, which was five times as fast as BLAKE2b where it was measured: 3.3 and 0.64 GB/s."""
    return f"{zlib.crc32(data):08x}"


# ------------------------------------------------------------------ writing

def write(path: Any, blobs: Sequence[Blob], metadata: dict[str, str]) -> None:
    """Write tensors and metadata with their checksums: all of the file, or nothing of it."""
    # The widest elements first, so that all are aligned without holes; else in the given order.
    blobs = sorted(blobs, key=lambda blob: -blob.dtype.itemsize)
    sums = {blob.name: checksum(blob.data()) for blob in blobs}
    table: dict[str, Any] = {"__metadata__": {
        PREFIX + "header": NO_DIGEST, "format": "lucidfn", **metadata,
        PREFIX + "crc32": json.dumps(sums, separators=(",", ":"))}}
    at = 0
    for blob in blobs:
        end = at + math.prod(blob.shape) * blob.dtype.itemsize
        table[blob.name] = {"dtype": NAMES[blob.dtype], "shape": list(blob.shape),
                            "data_offsets": [at, end]}
        at = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise ValueError(f"the structure of this tree needs {len(text)} bytes, expected at most "
                         f"{MAX_HEADER}: stack its arrays, or put long plain values into arrays")
    start = len(text).to_bytes(8, "little")
    text = text.replace(NO_DIGEST.encode(), digest_of(start, text).encode(), 1)
    with replacing(path) as file:
        file.write(start + text)
        for blob in blobs:
            file.write(blob.data())


@contextmanager
def replacing(path: Any) -> Iterator[BinaryIO]:
    """A file that takes its name only when it is complete and on the disk.

    Until then the old file of that name is untouched; after an error nothing is left behind.
    """
    target = os.path.realpath(path)  # a link stays a link
    folder, name = os.path.split(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{os.fspath(path)} cannot be written: there is no folder {folder}")
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    if os.name == "posix":  # the name is on the disk when its folder is
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def storable(dtype: np.dtype) -> bool:
    return dtype.newbyteorder("<") in NAMES


def describe(shape: Sequence[int], dtype: np.dtype | str) -> str:
    """`float32[2,3]`"""
    name = dtype if isinstance(dtype, str) else dtype_name(dtype)
    return f"{name}[{','.join(map(str, shape))}]"
