"""Random bits from keys: counter-based generators as pure functions of (key, counter).

A key is one 8-byte element of a structured dtype whose only field names the generator, so a key
array has the shape of its keys. `threefry2x32` follows `jax.random` with partitionable threefry
to the bit; `philox` is NumPy's own Philox-4x64-10 stream, about four times faster. Both are made
block by block, by several threads where there is enough to do; no element depends on the blocks.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod

import numpy as np

from lucidfn.backends.numpy import scratch
from lucidfn.backends.numpy.threads import run_parts, thread_count

IMPLS = ("threefry2x32", "philox")
KEY_DTYPES = {name: np.dtype([(name, "<u8")]) for name in IMPLS}

# Counters per block: three uint32 buffers of this length stay in the second-level cache. It
# divides 2**32, so that the high word of the counter is constant in a block.
BLOCK = 1 << 15

# Fewer numbers than this are made by one thread: they take about a millisecond.
SHARED = 1 << 17

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_SHIFTS = tuple(
    tuple((np.array(r, np.uint32), np.array(32 - r, np.uint32)) for r in row) for row in _ROTATIONS
)
_PARITY = np.uint32(0x1BD11BDA)
_MASK = 0xFFFF_FFFF

# Up to this many blocks Python integers are faster than passes over arrays.
FEW = 6


def key_impl(keys: np.ndarray) -> str:
    """Name of the generator that a key array belongs to."""
    return keys.dtype.names[0]


def key_data(keys: np.ndarray) -> np.ndarray:
    """Words of the keys, uint32[keys.shape + (2,)], the high word first."""
    return keys.reshape(-1).copy().view(np.uint32).reshape(*keys.shape, 2)


def wrap_key_data(data: np.ndarray, impl: str = "threefry2x32") -> np.ndarray:
    """Keys made of uint32[..., 2] words; the inverse of `key_data`.

    Raises ValueError when the last axis is not 2.
    """
    if data.ndim == 0 or data.shape[-1] != 2:
        raise ValueError(f"key data must have shape (..., 2), got {data.shape}")
    words = np.array(data, np.uint32, order="C")
    return words.reshape(-1).view(KEY_DTYPES[impl]).reshape(data.shape[:-1])


def seed(seed: int | np.ndarray, impl: str = "threefry2x32", *, x64: bool = False) -> np.ndarray:
    """Keys of shape `seed.shape` made of integer seeds.

    The low 32 bits of the seed are the second word. The first word is 0, or with `x64=True` the
    high half of a Python int (modulo 2**64) or of a 64-bit array: the keys of
    `jax.random.key(seed)` without and with JAX's 64-bit mode.

    >>> key_data(seed(42)).tolist()
    [0, 42]
    """
    if isinstance(seed, int):
        value, wide = np.array(seed & 0xFFFF_FFFF_FFFF_FFFF, np.uint64), True
    else:
        seed = np.asarray(seed)
        value, wide = seed.astype(np.uint64), seed.dtype.itemsize == 8
    words = np.zeros((*value.shape, 2), np.uint32)
    words[..., 1] = value & np.uint64(0xFFFF_FFFF)
    if x64 and wide:
        words[..., 0] = value >> np.uint64(32)
    return wrap_key_data(words, impl)


def split(keys: np.ndarray, *, shape: Sequence[int]) -> np.ndarray:
    """New keys of shape `keys.shape + shape`: key i is the hash of counter i."""
    shape = tuple(shape)
    words = np.empty((keys.size, prod(shape), 2), np.uint32)

    def store(rows: slice, columns: slice, y0: np.ndarray, y1: np.ndarray) -> None:
        words[rows, columns, 0] = y0
        words[rows, columns, 1] = y1

    _threefry(keys, words.shape[1], store)
    return wrap_key_data(words.reshape(keys.shape + shape + (2,)), key_impl(keys))


def fold_in(keys: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Keys that depend on a key and the low 32 bits of an integer, elementwise (broadcast)."""
    words = key_data(keys)
    low = np.asarray(data).astype(np.uint32)
    if words.ndim == 1 and low.ndim == 0:
        pair = _threefry_one(*words.tolist(), int(low))
        return wrap_key_data(np.array(pair, np.uint32), key_impl(keys))
    y0, y1 = threefry2x32(words[..., 0], words[..., 1], np.zeros((), np.uint32), low)
    return wrap_key_data(np.stack((y0, y1), axis=-1), key_impl(keys))


def random_bits(
    keys: np.ndarray, *, shape: Sequence[int], width: int
) -> np.ndarray:
    """Uniform integers uint{width}[keys.shape + shape], width 8, 16, 32 or 64.

    Raises ValueError for another width.
    """
    if width not in (8, 16, 32, 64):
        raise ValueError(f"width must be 8, 16, 32 or 64, got {width}")
    shape = tuple(shape)
    out = np.empty((keys.size, prod(shape)), f"u{width // 8}")

    def store(rows: slice, columns: slice, words: np.ndarray) -> None:
        out[rows, columns] = words

    draw(keys, out.shape[1], width, store)
    return out.reshape(keys.shape + shape)


def random_below(
    keys: np.ndarray, *, bound: int, shape: Sequence[int]
) -> np.ndarray:
    """Booleans `random_bits(keys, shape, width=32) < bound`, without storing the bits.

    With `bound = ceil(p * 2**23) << 9` this is `uniform(key, shape) < p` for 23-bit uniforms.
    """
    shape = tuple(shape)
    out = np.empty((keys.size, prod(shape)), np.bool_)
    if bound > _MASK or bound <= 0:
        out.fill(bound > 0)
        return out.reshape(keys.shape + shape)
    limit = np.array(bound, np.uint32)

    def store(rows: slice, columns: slice, words: np.ndarray) -> None:
        np.less(words, limit, out[rows, columns])

    draw(keys, out.shape[1], 32, store)
    return out.reshape(keys.shape + shape)


Finish = Callable[[slice, slice, np.ndarray], None]


def draw(keys: np.ndarray, count: int, width: int, finish: Finish) -> None:
    """Words 0 .. count-1 of every key's stream, uint{width}, block by block.

    `finish(rows, columns, words)` gets those of some keys (of the flat array) and counters. It may
    change them but not keep them, and is called from several threads.
    """
    if key_impl(keys) == "philox":
        _philox(keys, count, width, finish)
        return

    def merge(rows: slice, columns: slice, y0: np.ndarray, y1: np.ndarray) -> None:
        if width == 64:
            halves = np.empty((*y0.shape, 2), np.uint32)
            halves[..., 0] = y1  # little-endian: the low word lies first
            halves[..., 1] = y0
            finish(rows, columns, halves.view(np.uint64)[..., 0])
            return
        words = np.bitwise_xor(y0, y1, y0)
        finish(rows, columns, words if width == 32 else words.astype(f"u{width // 8}"))

    _threefry(keys, count, merge)


def threefry2x32(
    k0: np.ndarray, k1: np.ndarray, x0: np.ndarray, x1: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Threefry-2x32 with 20 rounds of key (k0, k1) on the block (x0, x1), broadcast, uint32.

    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
    """
    shape = np.broadcast_shapes(*(np.shape(a) for a in (k0, k1, x0, x1)))
    k0, k1, x0, x1 = (
        np.broadcast_to(np.asarray(a, np.uint32), shape).reshape(-1) for a in (k0, k1, x0, x1)
    )
    y0, y1 = np.empty_like(x0), np.empty_like(x1)
    free = np.empty(min(BLOCK, y0.size), np.uint32)
    for start in range(0, y0.size, BLOCK):
        block = slice(start, min(start + BLOCK, y0.size))
        (a, b), *schedule = _key_schedule(k0[block], k1[block])
        np.add(x1[block], b, y1[block])
        np.add(x0[block] + a, y1[block], y0[block])
        _rounds(schedule, y0[block], y1[block], free[: block.stop - start])
    return y0.reshape(shape), y1.reshape(shape)


def _threefry_one(k0: int, k1: int, x1: int) -> tuple[int, int]:
    """The block (0, x1) in Python integers: faster than arrays for a few of them."""
    keys = (k0, k1, k0 ^ k1 ^ int(_PARITY))
    x0, x1 = k0, (x1 + k1) & _MASK
    for step in range(5):
        for r in _ROTATIONS[step & 1]:
            x0 = (x0 + x1) & _MASK
            x1 = ((x1 << r | x1 >> (32 - r)) & _MASK) ^ x0
        x0 = (x0 + keys[(step + 1) % 3]) & _MASK
        x1 = (x1 + keys[(step + 2) % 3] + step + 1) & _MASK
    return x0, x1


Store = Callable[[slice, slice, np.ndarray, np.ndarray], None]
Schedule = list[tuple[np.ndarray, np.ndarray]]


def _key_schedule(k0: np.ndarray, k1: np.ndarray) -> Schedule:
    """What is added to the two words before the rounds and after every four of them."""
    # Arrays of at least one axis: NumPy warns when a 0-d integer wraps around.
    words = (k0, k1, k0 ^ k1 ^ _PARITY)
    return [(words[i % 3], words[(i + 1) % 3] + np.uint32(i)) for i in range(6)]


def _key_constants(k0: int, k1: int) -> Schedule:
    """`_key_schedule` of one key, as arrays without axes: much the cheapest operands."""
    words = (k0, k1, k0 ^ k1 ^ int(_PARITY))
    return [(np.array(words[i % 3], np.uint32),
             np.array((words[(i + 1) % 3] + i) & _MASK, np.uint32)) for i in range(6)]


def _rounds(schedule: Schedule, x0: np.ndarray, x1: np.ndarray, free: np.ndarray) -> None:
    """The 20 rounds in place, but for the sum x0 + x1 that the first one begins with."""
    # Positional outputs: the overhead of 111 calls matters, also of 0.4 us each.
    add, xor, either = np.add, np.bitwise_xor, np.bitwise_or
    left, right = np.left_shift, np.right_shift
    for step in range(5):
        for place, (up, down) in enumerate(_SHIFTS[step % 2]):
            if step or place:
                add(x0, x1, x0)
            left(x1, up, free)
            right(x1, down, x1)
            either(x1, free, x1)
            xor(x1, x0, x1)
        add(x0, schedule[step][0], x0)
        add(x1, schedule[step][1], x1)


def _threefry(keys: np.ndarray, count: int, store: Store) -> None:
    """Hash the counters 0 .. count-1 under every key; blocks of results go to `store`."""
    words = key_data(keys).reshape(-1, 2)
    if 0 < len(words) * count <= FEW:
        pairs = np.array([[_threefry_one(k0, k1, i) for i in range(count)]
                          for k0, k1 in words.tolist()], np.uint32)
        store(slice(0, len(words)), slice(0, count), pairs[..., 0], pairs[..., 1])
        return
    size = min(BLOCK, len(words) * count)
    iota = np.arange(min(count, size), dtype=np.uint32)

    def work(blocks: Iterable[Block]) -> None:
        buffers = _aligned(3, size)
        for rows, columns in blocks:
            y0, y1 = _hashed(words[rows], columns, iota[: columns.stop - columns.start], buffers)
            store(rows, columns, y0, y1)

    _share(_blocks(len(words), count, BLOCK), len(words) * count, work)


def _hashed(words: np.ndarray, columns: slice, iota: np.ndarray,
            buffers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hashes uint32[keys, counters] of some counters under some keys, in the buffers."""
    rows, count = len(words), len(iota)
    start = np.array(columns.start & _MASK, np.uint32)
    # The longer axis lies innermost: loops over few elements are slow.
    upright = rows > count
    shape = (count, rows) if upright else (rows, count)
    x0, x1, free = (b[: rows * count].reshape(shape) for b in buffers)
    if rows == 1:
        (a, b), *schedule = _key_constants(*words[0].tolist())
    else:
        key = words.T if upright else words.T[:, :, None]
        (a, b), *schedule = _key_schedule(np.ascontiguousarray(key[0]),
                                          np.ascontiguousarray(key[1]))
    np.add(iota[:, None] if upright else iota, start, x1)
    np.add(x1, b, x1)
    np.add(x1, a, x0)
    if columns.start > _MASK:
        np.add(x0, np.array(columns.start >> 32, np.uint32), x0)
    _rounds(schedule, x0, x1, free)
    return (x0.T, x1.T) if upright else (x0, x1)


def _aligned(count: int, size: int) -> np.ndarray:
    """`count` buffers uint32[size] of this thread that begin with cache lines: vector loads that
    straddle two lines cost an eighth of the time."""
    pitch = -(-size // 16) * 16
    memory = scratch.flat("random words", (count * pitch + 16,), np.dtype(np.uint32))
    first = -memory.__array_interface__["data"][0] % 64 // 4
    return memory[first : first + count * pitch].reshape(count, pitch)


# ------------------------------------------------------------------ blocks

Block = tuple[slice, slice]


def _blocks(keys: int, count: int, size: int) -> Iterator[Block]:
    """Cut keys x counters into rectangles of at most `size` elements: (keys, counters)."""
    if count == 0:
        return
    rows = max(1, size // count)
    for first in range(0, keys, rows):
        for start in range(0, count, size):
            yield slice(first, min(first + rows, keys)), slice(start, min(start + size, count))


def _share(blocks: Iterable[Block], size: int, work: Callable[[Iterable[Block]], None]) -> None:
    """work(blocks), on all threads where there are `size` >= SHARED elements: each takes the next
    block that is left."""
    parts = thread_count() if size >= SHARED else 1
    if parts == 1:
        work(blocks)
        return
    pending = deque(blocks)

    def taken() -> Iterator[Block]:
        try:
            while True:
                yield pending.popleft()
        except IndexError:
            return

    run_parts(lambda _: work(taken()), parts)


# ------------------------------------------------------------------ philox

# From this many 64-bit words on the call that lets other threads run is the faster one.
_LONG = 1 << 10


def _philox(keys: np.ndarray, count: int, width: int, finish: Finish) -> None:
    """Numbers from the Philox streams whose keys are `keys`, from counter 0 on."""
    words = keys.reshape(-1).view(np.uint64)
    whole = 256 // width  # numbers per counter: blocks begin with one
    size = max(BLOCK // whole, 1) * whole

    def work(blocks: Iterable[Block]) -> None:
        stream = np.random.Philox(key=0)
        numbers = np.random.Generator(stream).integers
        # Setting the state is several times cheaper than making a generator for each key.
        state = stream.state
        for rows, columns in blocks:
            length = columns.stop - columns.start
            need = -(-length * width // 64)
            state["state"]["counter"][0] = columns.start // whole
            out = np.empty((rows.stop - rows.start, need), np.uint64)
            for row, key in zip(out, words[rows], strict=True):
                state["state"]["key"][0] = key
                stream.state = state
                row[:] = stream.random_raw(need) if need < _LONG else \
                    numbers(0, 2**64 - 1, need, np.uint64, True)
            finish(rows, columns, out.view(f"u{width // 8}")[:, :length])

    if len(words):
        # Four times as fast as threefry.
        _share(_blocks(len(words), count, size), len(words) * count // 4, work)
