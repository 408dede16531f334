"""Random bits from keys: counter-based generators as pure functions of (key, counter).

A key is one 8-byte element of a structured dtype whose only field names the generator, so a key
array has the shape of its keys. `threefry2x32` follows `jax.random` with partitionable threefry
to the bit; `philox` is NumPy's own Philox-4x64-10 stream, about four times faster, and no element
of either depends on how many blocks the work is cut into.
"""

from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np

IMPLS = ("threefry2x32", "philox")
KEY_DTYPES = {name: np.dtype([(name, "<u8")]) for name in IMPLS}

# Counters per block: three uint32 buffers of this length stay in the second-level cache. It
# divides 2**32, so that the high word of the counter is constant in a block.
BLOCK = 1 << 16

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

    _threefry_counters(keys, words.shape[1], store)
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
    if key_impl(keys) == "philox":
        _philox_bits(keys, out)
        return out.reshape(keys.shape + shape)

    def store(rows: slice, columns: slice, y0: np.ndarray, y1: np.ndarray) -> None:
        if width == 64:
            halves = out[rows, columns].view(np.uint32).reshape(*y0.shape, 2)
            halves[..., 0] = y1  # little-endian: the low word lies first
            halves[..., 1] = y0
        else:
            np.bitwise_xor(y0, y1, out=out[rows, columns], casting="unsafe")

    _threefry_counters(keys, out.shape[1], store)
    return out.reshape(keys.shape + shape)


def random_below(
    keys: np.ndarray, *, bound: int, shape: Sequence[int]
) -> np.ndarray:
    """Booleans `random_bits(keys, shape, width=32) < bound`, without storing the bits.

    With `bound = ceil(p * 2**23) << 9` this is `uniform(key, shape) < p` for 23-bit uniforms.
    """
    shape = tuple(shape)
    out = np.empty((keys.size, prod(shape)), np.bool_)
    if bound > 0xFFFF_FFFF or bound <= 0:
        out.fill(bound > 0)
    elif key_impl(keys) == "philox":
        np.less(random_bits(keys.reshape(-1), shape=out.shape[1:], width=32), bound, out=out)
    else:

        def store(rows: slice, columns: slice, y0: np.ndarray, y1: np.ndarray) -> None:
            np.less(np.bitwise_xor(y0, y1, out=y0), np.uint32(bound), out=out[rows, columns])

        _threefry_counters(keys, out.shape[1], store)
    return out.reshape(keys.shape + shape)


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
    y0, y1 = x0.copy(), x1.copy()
    scratch = np.empty(min(BLOCK, y0.size), np.uint32)
    for start in range(0, y0.size, BLOCK):
        block = slice(start, min(start + BLOCK, y0.size))
        t = scratch[: block.stop - start]
        _threefry_rounds(_key_schedule(k0[block], k1[block]), y0[block], y1[block], t)
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


def _threefry_rounds(
    schedule: Schedule, x0: np.ndarray, x1: np.ndarray, scratch: np.ndarray
) -> None:
    """The 20 rounds, in place on x0 and x1."""
    # Positional outputs and in-place steps: 112 passes make the call overhead matter.
    add, xor, either = np.add, np.bitwise_xor, np.bitwise_or
    left, right = np.left_shift, np.right_shift
    add(x0, schedule[0][0], x0)
    add(x1, schedule[0][1], x1)
    for step in range(5):
        for up, down in _SHIFTS[step % 2]:
            add(x0, x1, x0)
            left(x1, up, scratch)
            right(x1, down, x1)
            either(x1, scratch, x1)
            xor(x1, x0, x1)
        add(x0, schedule[step + 1][0], x0)
        add(x1, schedule[step + 1][1], x1)


def _threefry_counters(keys: np.ndarray, count: int, store: Store) -> None:
    """Hash the counters 0 .. count-1 under every key; blocks of results go to `store`."""
    words = key_data(keys).reshape(-1, 2)
    if 0 < len(words) * count <= FEW:
        pairs = np.array([[_threefry_one(k0, k1, i) for i in range(count)]
                          for k0, k1 in words.tolist()], np.uint32)
        store(slice(0, len(words)), slice(0, count), pairs[..., 0], pairs[..., 1])
        return
    blocks = list(_blocks(len(words), count))
    size = max(((r.stop - r.start) * (c.stop - c.start) for r, c in blocks), default=0)
    buffers = np.empty((3, size), np.uint32)
    iota = np.arange(min(count, BLOCK), dtype=np.uint32)
    for rows, columns in blocks:
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        x0, x1, scratch = (b[: prod(shape)].reshape(shape) for b in buffers)
        x0.fill(columns.start >> 32)
        np.add(iota[: shape[1]], np.uint32(columns.start & 0xFFFF_FFFF), out=x1)
        schedule = _key_schedule(words[rows, :1], words[rows, 1:])
        _threefry_rounds(schedule, x0, x1, scratch)
        store(rows, columns, x0, x1)


def _blocks(keys: int, count: int) -> Iterator[tuple[slice, slice]]:
    """Cut keys x counters into rectangles of at most BLOCK elements: (keys, counters)."""
    if count == 0:
        return
    rows = max(1, BLOCK // count)
    for first in range(0, keys, rows):
        for start in range(0, count, BLOCK):
            yield slice(first, min(first + rows, keys)), slice(start, min(start + BLOCK, count))


def _philox_bits(keys: np.ndarray, out: np.ndarray) -> None:
    """Fill row i of `out` from the Philox stream whose key is keys[i], counter 0."""
    if out.size == 0:
        return
    generator = np.random.Philox(key=0)
    # Setting the state is several times cheaper than making a generator for each key.
    state = generator.state
    words = -(-out.shape[1] * out.itemsize // 8)
    for row, key in zip(out, keys.reshape(-1).view(np.uint64), strict=True):
        state["state"]["key"][0] = key
        generator.state = state
        row[...] = generator.random_raw(words).view(out.dtype)[: row.size]
