"""The memory that arrays free stays with the process, for the arrays of the next call.

By itself, glibc returns large blocks to the system as soon as they are free. A training step would
then get every output and every temporary as fresh pages, and its first write to each page is a
fault. With the limits raised, the allocator is the pool of outputs that nobody holds any more: it
knows what is free, so that nothing that somebody holds (an Array, a view, an ndarray, DLPack) is
ever overwritten.
"""

from __future__ import annotations

import ctypes
import functools
import os

# Of malloc.h: the free memory at the end of the heap from which it is returned, and the size from
# which a block is a mapping of its own, returned when it is freed.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
KEPT = 1 << 30  # bytes, of either
SWITCH = "LUCIDFN_KEEP_MEMORY"  # "0": leave the allocator alone
# What a user has said about the allocator holds.
ALLOCATOR = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_",
             "MALLOC_TOP_PAD_")


def may_keep() -> bool:
    """Whether the environment leaves the allocator to us."""
    env = os.environ
    return env.get(SWITCH, "1") != "0" and not any(name in env for name in ALLOCATOR) and \
        "glibc.malloc" not in env.get("GLIBC_TUNABLES", "")


@functools.cache
def keep_freed_memory() -> bool:
    """Have the allocator keep up to a gigabyte of what is freed; whether it does.

    Done once, when the first function is compiled. Only glibc has these settings; others keep
    theirs.
    """
    if not may_keep() or os.name != "posix":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    done = [mallopt(MMAP_THRESHOLD, KEPT) or mallopt(MMAP_THRESHOLD, 1 << 25),
            mallopt(TRIM_THRESHOLD, KEPT)]  # older ones allow 32 MB for the first
    return all(done)
