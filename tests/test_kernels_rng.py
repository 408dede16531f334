"""Random bits: stored values of `jax.random` (partitionable threefry), known answers, sanity."""

import numpy as np
import pytest

from lucidfn.backends.numpy import rng, samplers

# seed, words of jax.random.key(seed)
KEYS = [
    (0, [0, 0]),
    (1, [0, 1]),
    (42, [0, 42]),
    (-1, [0, 4294967295]),
    (2**32 + 5, [0, 5]),
    (2**63 - 1, [0, 4294967295]),
]

# The same with jax_enable_x64.
KEYS64 = [
    (0, [0, 0]),
    (1, [0, 1]),
    (42, [0, 42]),
    (-1, [4294967295, 4294967295]),
    (2**32 + 5, [1, 5]),
    (2**63 - 1, [2147483647, 4294967295]),
]

# seed, shape, width, jax.random.bits(key(seed), shape, uint{width}).ravel()
BITS = [
    (0, (), 32, [4070199207]),
    (1, (1,), 32, [1883912375]),
    (42, (5,), 32, [2098992034, 2919706841, 2646866425, 2409546199, 1935504149]),
    (
        -1,
        (3, 4),
        32,
        [
            2226700399,
            2348827549,
            2002407339,
            3973470413,
            1347664280,
            1591134625,
            119674969,
            520574829,
            827288690,
            1669566182,
            2875948738,
            2474516107,
        ],
    ),
    (42, (7,), 8, [162, 217, 249, 215, 21, 216, 153]),
    (42, (7,), 16, [5026, 12505, 63993, 49623, 29461, 20184, 47001]),
    (0, (3, 1, 3), 8, [167, 146, 40, 53, 183, 67, 125, 254, 99]),
    (2**32 + 5, (2,), 16, [44166, 56420]),
    (42, (0,), 32, []),
    (42, (3, 0), 8, []),
    (42, (), 64, [7871734211187709741]),
    (42, (3,), 64, [7871734211187709741, 276886910877598708, 10591095138341673235]),
    (
        1,
        (2, 2),
        64,
        [2179487362436112514, 8370371427069427784, 10487943526538222699, 15325442148188575646],
    ),
]

# seed, shape, words of jax.random.split(key(seed), shape)
SPLITS = [
    (0, (), [1797259609, 2579123966]),
    (1, (1,), [[507451445, 1853169794]]),
    (
        42,
        (5,),
        [
            [1832780943, 270669613],
            [64467757, 2916123636],
            [2465931498, 255383827],
            [3134548294, 894150801],
            [2954079971, 3276725750],
        ],
    ),
    (
        -1,
        (3, 2),
        [
            [[2973345818, 897673333], [3461607691, 1112781462]],
            [[3122495753, 3444035234], [567453946, 3439652919]],
            [[3154288659, 3964737931], [1579579627, 15774026]],
        ],
    ),
    (42, (0,), []),
]

# seed, data, words of jax.random.fold_in(key(seed), data)
FOLDS = [
    (0, 0, [1797259609, 2579123966]),
    (0, 7, [2716826189, 292468403]),
    (42, 1, [64467757, 2916123636]),
    (42, 2**31, [3181546281, 2228815013]),
    (42, 2**32 - 1, [2398536845, 3890976714]),
    (-1, 3, [567453946, 3439652919]),
]

# key, counter, hash: known answers of Random123 for threefry2x32 with 20 rounds
THREEFRY = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]

# width, first three values of the Philox stream of seed 42
PHILOX = [
    (8, [78, 38, 201]),
    (16, [9806, 17353, 13807]),
    (32, [1137256014, 1074673135, 358935826]),
    (64, [4615685969852048974, 4151720400346475794, 1509520784749093798]),
]


@pytest.mark.parametrize(("key", "counter", "answer"), THREEFRY)
def test_threefry_known_answers(key, counter, answer):
    words = [np.array([[word]], np.uint32) for word in key + counter]
    y0, y1 = rng.threefry2x32(*words)
    assert (y0.item(), y1.item()) == answer
    assert y0.shape == y1.shape == (1, 1) and y0.dtype == np.uint32


def test_threefry_broadcasts_and_leaves_its_inputs():
    k0, k1 = np.arange(3, dtype=np.uint32)[:, None], np.uint32(7)
    x0, x1 = np.arange(4, dtype=np.uint32), np.zeros((), np.uint32)
    y0, y1 = rng.threefry2x32(k0, k1, x0, x1)
    assert y0.shape == y1.shape == (3, 4)
    one = rng.threefry2x32(np.uint32(2), k1, np.uint32(3), x1)
    assert (y0[2, 3], y1[2, 3]) == one and one[0].shape == ()
    assert x0.tolist() == [0, 1, 2, 3]
    assert rng.threefry2x32(k0[:0], k1, x0, x1)[0].shape == (0, 4)


@pytest.mark.parametrize("impl", rng.IMPLS)
@pytest.mark.parametrize(("x64", "table"), [(False, KEYS), (True, KEYS64)])
def test_seed(table, x64, impl):
    for seed, words in table:
        key = rng.seed(seed, impl, x64=x64)
        assert key.shape == () and rng.key_impl(key) == impl and key.dtype.itemsize == 8
        assert rng.key_data(key).tolist() == words
    seeds = np.array([[seed for seed, _ in table]], np.int64)
    assert rng.key_data(rng.seed(seeds, x64=x64)).tolist() == [[words for _, words in table]]


def test_seed_of_narrow_and_huge_integers():
    for dtype in (np.int8, np.int32):
        assert rng.key_data(rng.seed(dtype(-3), x64=True)).tolist() == [0, 2**32 - 3]
    assert rng.key_data(rng.seed(np.uint32(2**32 - 1), x64=True)).tolist() == [0, 2**32 - 1]
    assert rng.key_data(rng.seed(2**200 + 9, x64=True)).tolist() == [0, 9]
    assert rng.seed(np.zeros((2, 0), np.int32)).shape == (2, 0)


@pytest.mark.parametrize(("seed", "shape", "width", "values"), BITS)
def test_bits(seed, shape, width, values):
    got = rng.random_bits(rng.seed(seed), shape=shape, width=width)
    assert got.shape == shape and got.dtype == f"uint{width}"
    assert got.ravel().tolist() == values


@pytest.mark.parametrize(("seed", "shape", "words"), SPLITS)
def test_split(seed, shape, words):
    got = rng.split(rng.seed(seed), shape=shape)
    assert got.shape == shape and got.dtype == rng.KEY_DTYPES["threefry2x32"]
    assert rng.key_data(got).tolist() == words


@pytest.mark.parametrize(("seed", "data", "words"), FOLDS)
def test_fold_in(seed, data, words):
    for value in (np.uint32(data), np.int64(data), np.int64(data - 2**32)):
        assert rng.key_data(rng.fold_in(rng.seed(seed), value)).tolist() == words


def test_fold_in_broadcasts():
    keys = rng.split(rng.seed(3), shape=(2, 1))
    got = rng.fold_in(keys, np.arange(3))
    assert got.shape == (2, 3)
    assert got[1, 2] == rng.fold_in(keys[1, 0:1].reshape(()), np.int32(2))[()]


@pytest.mark.parametrize(("width", "values"), PHILOX)
def test_philox_stream_is_fixed(width, values):
    key = rng.seed(42, "philox")
    assert rng.random_bits(key, shape=(3,), width=width).tolist() == values
    long = rng.random_bits(key, shape=(1001,), width=width)
    assert long[:3].tolist() == values and long.dtype == f"uint{width}"


@pytest.mark.parametrize("impl", rng.IMPLS)
@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_each_key_has_its_own_stream(impl, width):
    keys = rng.split(rng.seed(5, impl), shape=(2, 3))
    together = rng.random_bits(keys, shape=(4, 5), width=width)
    assert together.shape == (2, 3, 4, 5)
    for place in np.ndindex(2, 3):
        alone = rng.random_bits(keys[place + (None,)].reshape(()), shape=(4, 5), width=width)
        np.testing.assert_array_equal(together[place], alone)
    assert rng.random_bits(keys[:0], shape=(2,), width=width).shape == (0, 3, 2)
    assert rng.random_bits(keys, shape=(0, 2), width=width).shape == (2, 3, 0, 2)
    assert len(np.unique(rng.key_data(rng.split(keys, shape=(50,))).reshape(-1, 2), axis=0)) == 300


def test_blocks_do_not_show(monkeypatch):
    key = rng.seed(42)
    stored = [2098992034, 2934019173, 1508273704, 1591767782]
    whole = rng.random_bits(key, shape=(2**17 + 3,), width=32)
    assert whole[[0, 65535, 65536, 131072]].tolist() == stored
    keys = rng.split(key, shape=(7,))
    for size in (15, 16, 17, 33, 100):
        wide = rng.random_bits(keys, shape=(size,), width=64)
        children = rng.split(keys, shape=(size,))
        with monkeypatch.context() as patch:
            patch.setattr(rng, "BLOCK", 16)
            narrow = rng.random_bits(keys, shape=(size,), width=64)
            np.testing.assert_array_equal(narrow, wide)
            again = rng.split(keys, shape=(size,))
            np.testing.assert_array_equal(again, children)


@pytest.mark.parametrize("impl", rng.IMPLS)
@pytest.mark.parametrize(("count", "size"), [(1, 100_003), (300, 401), (40_000, 3), (100_000, 1)])
def test_threads_and_blocks_do_not_show(impl, count, size, monkeypatch):
    keys = rng.split(rng.seed(7, impl), shape=(count,))
    if impl == "philox" and count > 300:
        keys = keys[:2000]
    with monkeypatch.context() as patch:  # one block of one thread
        patch.setattr(rng, "BLOCK", 1 << 20)
        patch.setattr(rng, "SHARED", 1 << 40)
        want = {width: rng.random_bits(keys, shape=(size,), width=width)
                for width in (8, 16, 32, 64)}
        uniform = samplers.uniform(keys, shape=(size,), dtype=np.dtype("float32"))
        normal = samplers.normal(keys, shape=(size,), dtype=np.dtype("float32"))
        children = rng.split(keys, shape=(size,))
    for block, threads in [(96, 2), (1 << 10, 3), (rng.BLOCK, 5)]:
        monkeypatch.setattr(rng, "BLOCK", block)
        monkeypatch.setattr(rng, "SHARED", 1)
        monkeypatch.setattr(rng, "thread_count", lambda threads=threads: threads)
        for width, bits in want.items():
            got = rng.random_bits(keys, shape=(size,), width=width)
            np.testing.assert_array_equal(got, bits)
        got = rng.random_below(keys, bound=3 << 30, shape=(size,))
        np.testing.assert_array_equal(got, want[32] < 3 << 30)
        np.testing.assert_array_equal(
            samplers.uniform(keys, shape=(size,), dtype=np.dtype("float32")), uniform)
        np.testing.assert_array_equal(
            samplers.normal(keys, shape=(size,), dtype=np.dtype("float32")), normal)
        np.testing.assert_array_equal(rng.split(keys, shape=(size,)), children)


def test_an_error_in_a_block_is_raised_and_the_next_draw_works(monkeypatch):
    monkeypatch.setattr(rng, "SHARED", 1)
    monkeypatch.setattr(rng, "thread_count", lambda: 2)

    def fail(rows, columns, words):
        raise MemoryError("no room")

    for impl in rng.IMPLS:
        with pytest.raises(MemoryError, match="no room"):
            rng.draw(rng.seed(0, impl), 10 * rng.BLOCK, 32, fail)
    assert rng.random_bits(rng.seed(42), shape=(5,), width=32).tolist() == BITS[2][3]


def test_counters_beyond_32_bits():
    # Elements around 2**32 without those before them: the high word of the counter is 1 there.
    buffers = np.empty((3, 8), np.uint32)
    words = rng.key_data(rng.seed(3)).reshape(1, 2)
    y0, y1 = rng._hashed(words, slice(2**32, 2**32 + 8), np.arange(8, dtype=np.uint32), buffers)
    want = rng.threefry2x32(*words[0], np.uint32(1), np.arange(8, dtype=np.uint32))
    np.testing.assert_array_equal([y0[0], y1[0]], want)


@pytest.mark.parametrize("impl", rng.IMPLS)
def test_random_below_is_a_comparison(impl):
    keys = rng.split(rng.seed(9, impl), shape=(2,))
    bits = rng.random_bits(keys, shape=(300,), width=32)
    for bound in (-1, 0, 1, 3 << 30, 2**32 - 1, 2**32):
        got = rng.random_below(keys, bound=bound, shape=(300,))
        np.testing.assert_array_equal(got, bits < bound)


def test_key_data_round_trip():
    keys = rng.split(rng.seed(1, "philox"), shape=(3, 2)).T
    words = rng.key_data(keys)
    assert words.shape == (2, 3, 2) and words.dtype == np.uint32
    np.testing.assert_array_equal(rng.wrap_key_data(words, "philox"), keys)
    words[...] = 0
    assert rng.key_data(keys).any()  # a copy
    assert rng.wrap_key_data(np.zeros((0, 2), np.uint32)).shape == (0,)
    with pytest.raises(ValueError, match=r"\(\.\.\., 2\)"):
        rng.wrap_key_data(np.zeros(3, np.uint32))
    with pytest.raises(ValueError, match="width"):
        rng.random_bits(keys, shape=(1,), width=4)


@pytest.mark.parametrize("impl", rng.IMPLS)
@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_bits_are_uniform_and_uncorrelated(impl, width):
    bits = rng.random_bits(rng.seed(2024, impl), shape=(200_000,), width=width)
    planes = (bits[:, None] >> np.arange(width, dtype=bits.dtype)) & bits.dtype.type(1)
    # 5 standard deviations of a fair coin
    limit = 5 * 0.5 / np.sqrt(len(bits))
    assert np.abs(planes.mean(0) - 0.5).max() < limit
    centred = planes - 0.5
    assert np.abs((centred[1:] * centred[:-1]).mean(0)).max() < limit
    first = rng.random_bits(rng.split(rng.seed(0, impl), shape=(200_000,)), shape=(), width=width)
    assert abs(((first >> first.dtype.type(width - 1)).astype(float)).mean() - 0.5) < limit


@pytest.mark.peers
@pytest.mark.parametrize("seed", [0, 1, 42, -1, 2**32 + 5, 2**63 - 1, 123456789])
def test_agrees_with_jax(seed):
    jax = pytest.importorskip("jax")
    theirs, ours = jax.random.key(seed), rng.seed(seed, x64=jax.config.jax_enable_x64)
    np.testing.assert_array_equal(jax.random.key_data(theirs), rng.key_data(ours))
    for shape in [(), (1,), (5,), (3, 4), (70_001,), (0,)]:
        for width in (8, 16, 32):
            want = jax.random.bits(theirs, shape, f"uint{width}")
            np.testing.assert_array_equal(want, rng.random_bits(ours, shape=shape, width=width))
    for shape in [(), (3,), (2, 5)]:
        want = jax.random.key_data(jax.random.split(theirs, shape))
        np.testing.assert_array_equal(want, rng.key_data(rng.split(ours, shape=shape)))
    want = jax.random.key_data(jax.random.fold_in(theirs, 77))
    np.testing.assert_array_equal(want, rng.key_data(rng.fold_in(ours, 77)))
