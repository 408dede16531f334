"""The published formats, read without trusting them: IDX files and the CIFAR binary archives.

Nothing is unpickled and nothing is extracted to disk. No more is read than a header announces.
"""

from __future__ import annotations

import gzip
import math
import os
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from lucidfn.data._fetch import DataError

GZIP = b"\x1f\x8b"
IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
LARGEST = 1 << 40  # bytes; what a header announces beyond is taken for damage
LARGEST_MEMBER = 1 << 30
PIXELS = 32 * 32 * 3


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, compressed by gzip or not, in the byte order of this machine.

    The format of MNIST: two zero bytes, the type, the rank, each size as a big-endian uint32, then
    the elements in row-major order. Raises DataError for a file that is damaged, too short or too
    long, OSError where it cannot be opened.
    """
    with open(path, "rb") as raw:
        packed = raw.read(2) == GZIP
        raw.seek(0)
        file = gzip.GzipFile(fileobj=raw) if packed else raw
        try:
            zeros, kind, rank = _header(file.read(4), path)
            if zeros or kind not in IDX_DTYPES:
                raise DataError(f"{path} is no IDX file: it does not begin with two zero bytes and "
                                "a type that IDX has")
            sizes = file.read(4 * rank)
            if len(sizes) < 4 * rank:
                raise DataError(f"{path} is truncated: it ends within its header")
            shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
            dtype = np.dtype(IDX_DTYPES[kind])
            wanted = math.prod(shape) * dtype.itemsize
            if wanted > LARGEST:
                raise DataError(f"{path} is damaged: its header announces the shape {shape}")
            content = _read_up_to(file, wanted)
            more = file.read(1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is truncated or damaged: {error}") from error
    if len(content) != wanted:
        raise DataError(f"{path} is truncated: the header announces {shape}, {wanted} bytes, and "
                        f"{len(content)} are there")
    if more:
        raise DataError(f"{path} is damaged: there is more than the {wanted} bytes that the header "
                        f"announces, {shape}")
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def _header(first: bytes, path: str | os.PathLike[str]) -> tuple[int, int, int]:
    if len(first) < 4:
        raise DataError(f"{path} is truncated: it has {len(first)} bytes, an IDX file has at "
                        "least 4")
    return int.from_bytes(first[:2], "big"), first[2], first[3]


def _read_up_to(file: IO[bytes] | gzip.GzipFile, size: int) -> bytearray:
    """As much as there is, up to `size`: memory grows with the file and not with its header."""
    content = bytearray()
    while len(content) < size:
        block = file.read(min(size - len(content), 1 << 24))
        if not block:
            break
        content += block
    return content


# ------------------------------------------------------------------ CIFAR

def read_cifar(source: Path, members: Sequence[str], labels: int,
               classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 32, 32, 3] and labels int32 [N, labels] of records of the CIFAR format.

    `source` is the published archive (.tar.gz) or the folder that it unpacks to. A record is
    `labels` bytes and the planes of red, green and blue, row by row. Raises DataError.
    """
    contents = _members(source, members)
    size = labels + PIXELS
    for name, content in contents.items():
        if not content or len(content) % size:
            raise DataError(f"{name} in {source} is truncated or damaged: {len(content)} bytes are "
                            f"no whole number of records of {size}")
    if len({len(content) for content in contents.values()}) > 1:
        sizes = {name: len(content) for name, content in contents.items()}
        raise DataError(f"{source} is damaged: its files should be equally long, got {sizes}")
    records = np.concatenate([np.frombuffer(c, "u1").reshape(-1, size) for c in contents.values()])
    found = records[:, :labels].astype("int32")
    if found[:, -1].max() >= classes:
        raise DataError(f"{source} is damaged, or of another data set: it has the label "
                        f"{found[:, -1].max()}, expected at most {classes - 1}")
    planes = records[:, labels:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), found


def _members(source: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The contents of the named files, from a folder or out of an archive."""
    if source.is_dir():
        missing = [name for name in names if not (source / name).is_file()]
        contents = {} if missing else {name: (source / name).read_bytes() for name in names}
    else:
        contents = _archived(source, names)
        missing = [name for name in names if name not in contents]
    if missing:
        raise DataError(f"{source} lacks {', '.join(missing)}; this needs the binary version of "
                        "the data set, not the one for Python or Matlab")
    return {name: contents[name] for name in names}


def _archived(source: Path, names: Sequence[str]) -> dict[str, bytes]:
    contents = {}
    try:
        with tarfile.open(source, "r:*") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                file = archive.extractfile(member) if name in names and member.isreg() else None
                if file is not None:
                    if member.size > LARGEST_MEMBER:
                        raise DataError(f"{source} is damaged: {name} would have {member.size} "
                                        "bytes")
                    contents[name] = bytes(_read_up_to(file, member.size))
                    if len(contents[name]) != member.size:
                        raise DataError(f"{source} is truncated: {name} ends too early")
                if len(contents) == len(names):
                    break
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{source} is truncated, or no archive: {error}") from error
    return contents
