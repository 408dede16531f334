"""Batches, splits and the Loader: decided by the key, resumed exactly, closed cleanly."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import data, random
from lucidfn.config import settings

KEY = random.key(3)


def lists(batches: Any) -> list[Any]:
    return [lf.tree.map(lambda x: x.tolist(), batch) for batch in batches]


# ------------------------------------------------------------------ batches

@given(n=st.integers(0, 20), size=st.integers(1, 8), epochs=st.integers(0, 3),
       drop=st.booleans(), shuffled=st.booleans(), cut=st.integers(0, 100))
def test_any_start_continues_the_same_batches(n: int, size: int, epochs: int, drop: bool,
                                              shuffled: bool, cut: int) -> None:
    if drop and 0 < n < size:
        return
    key, x = (KEY if shuffled else None), np.arange(n)
    kwargs: dict[str, Any] = {"drop_last": drop, "epochs": epochs}
    whole = lists(data.batches(key, x, size, **kwargs))
    each = data.batch_count(x, size, drop_last=drop)
    assert len(whole) == epochs * each
    for epoch in range(epochs):
        rows = sum(whole[epoch * each:(epoch + 1) * each], [])
        assert len(set(rows)) == len(rows) == (n // size * size if drop else n)
        assert shuffled or rows == list(range(len(rows)))
    start = cut % (len(whole) + 1)
    assert lists(data.batches(key, x, size, start=start, **kwargs)) == whole[start:]


def test_rows_stay_together() -> None:
    x = np.arange(50)
    arrays = {"x": x[:, None] * np.ones(3), "more": (lnp.asarray(x), x * 2)}
    for batch in data.batches(KEY, arrays, 7):
        rows = batch["more"][0]
        assert type(rows) is np.ndarray
        assert (batch["x"] == rows[:, None]).all() and (batch["more"][1] == rows * 2).all()


def test_each_epoch_has_its_own_order() -> None:
    x = np.arange(100)
    first, second, third = data.batches(KEY, x, 100, epochs=3)
    assert (first != second).any() and (second != third).any()
    assert (first == next(data.batches(KEY, x, 100))).all()
    assert (first != next(data.batches(random.key(4), x, 100))).any()


def test_without_end() -> None:
    x = np.arange(5)
    endless = data.batches(KEY, x, 2, epochs=None)
    assert lists(itertools.islice(endless, 9)) == lists(data.batches(KEY, x, 2, epochs=3))
    [tenth] = itertools.islice(data.batches(KEY, x, 2, epochs=None, start=10), 1)
    assert (tenth == list(data.batches(KEY, x, 2, epochs=4))[10]).all()


def test_the_order_is_the_same_in_every_process() -> None:
    code = ("import numpy as np; from lucidfn import data, random\n"
            "print([b.tolist() for b in data.batches(random.key(3), np.arange(9), 4)])")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                         cwd=Path(__file__).parents[1], timeout=100)
    assert ran.stdout.strip() == str(lists(data.batches(KEY, np.arange(9), 4))), ran.stderr


def test_batches_are_new_arrays() -> None:
    x = np.arange(6.0)
    for key in (None, KEY):
        for batch in data.batches(key, x, 3):
            batch[:] = -1
    assert x.tolist() == [0, 1, 2, 3, 4, 5]


def test_mapped_files(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(10))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    for key in (None, KEY):
        found = list(data.batches(key, x, 4))
        assert all(type(b) is np.ndarray for b in found)
        assert lists(found) == lists(data.batches(key, np.arange(10), 4))


def test_transforms_are_resumed_too() -> None:
    def noisy(key: Any, batch: Any) -> Any:
        return batch + np.asarray(random.normal(key, batch.shape))

    x = np.zeros(12, "float32")
    whole = lists(data.batches(KEY, x, 4, epochs=2, transform=noisy))
    assert len({tuple(b) for b in whole}) == 6
    rest = data.batches(KEY, x, 4, epochs=2, transform=noisy, start=4)
    assert lists(rest) == whole[4:]
    seen: list[Any] = []
    list(data.batches(None, x, 4, transform=lambda key, batch: seen.append(key)))
    assert seen == [None] * 3


def test_keys_are_not_reused() -> None:
    with lf.debug_key_reuse(True):
        key = random.key(0)
        batches = data.batches(key, np.arange(10), 3, epochs=2,
                               transform=lambda key, b: b + random.normal(key, b.shape))
        assert len(list(batches)) == 8


@pytest.mark.parametrize(("kwargs", "error", "message"), [
    ({"size": 0}, ValueError, "at least one row"), ({"size": 2.5}, ValueError, "at least one row"),
    ({"size": True}, ValueError, "at least one row"),
    ({"start": -1}, ValueError, "start=-1"), ({"start": 4}, ValueError, "epochs=2 would reach it"),
    ({"epochs": -1}, ValueError, "epochs=-1"), ({"epochs": 1.5}, ValueError, "epochs=1.5"),
    ({"size": 7, "drop_last": True}, ValueError, "no whole batch"),
    ({"arrays": (np.zeros(3), np.zeros(4))}, ValueError, r"shapes \(\(3,\), \(4,\)\)"),
    ({"arrays": np.zeros(())}, ValueError, "equally many rows"),
    ({"arrays": ()}, ValueError, "no arrays"), ({"arrays": [1, 2]}, TypeError, "np.asarray"),
    ({"arrays": np.zeros(0), "epochs": None}, ValueError, "forever"),
    ({"key": 3}, TypeError, r"random.key\(3\)"), ({"transform": 3}, TypeError, "transform=3"),
])
def test_wrong_arguments_are_told_at_once(kwargs: dict[str, Any], error: type[Exception],
                                          message: str) -> None:
    given = {"key": KEY, "arrays": np.arange(6), "size": 2, **kwargs}
    with pytest.raises(error, match=message):
        data.batches(given.pop("key"), given.pop("arrays"), given.pop("size"), **given)


# ------------------------------------------------------------------ splits

@given(n=st.integers(2, 40), share=st.floats(0.05, 0.9))
def test_split(n: int, share: float) -> None:
    x = np.arange(n)
    count = int(np.ceil(share * n - 1e-9))
    if count == n:
        return
    (a, a2), (b, b2) = data.train_test_split(KEY, (x, x * 2), share)
    assert len(b) == count and sorted([*a, *b]) == x.tolist()
    assert (a2 == a * 2).all() and (b2 == b * 2).all()
    again = data.train_test_split(KEY, x, count)
    assert (again[0] == a).all() and (again[1] == b).all()


def test_split_in_order_and_stratified() -> None:
    train, test = data.train_test_split(None, np.arange(10), 3)
    assert (train.tolist(), test.tolist()) == ([3, 4, 5, 6, 7, 8, 9], [0, 1, 2])
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    train, test = data.train_test_split(KEY, labels, 0.1, stratify=labels)
    assert np.bincount(test).tolist() == [5, 3, 2]
    train, test = data.train_test_split(KEY, labels, 7, stratify=labels)
    assert len(test) == 7 and abs(np.bincount(test) - [3.5, 2.1, 1.4]).max() < 1


@pytest.mark.parametrize("size", [0, 10, -1, 0.0, 1.0, 1.5, 0.999])
def test_split_without_a_part(size: float) -> None:
    with pytest.raises(ValueError, match="test_size"):
        data.train_test_split(KEY, np.arange(10), size)
    with pytest.raises(ValueError, match="stratify"):
        data.train_test_split(KEY, np.arange(10), 2, stratify=np.zeros(9))


# ------------------------------------------------------------------ Loader

def loaders() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "lucidfn-loader"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert_no_threads()


def assert_no_threads() -> None:
    until = time.monotonic() + 5
    while loaders() and time.monotonic() < until:
        time.sleep(0.005)
    assert loaders() == []


@pytest.mark.parametrize("prefetch", [1, 2, 50])
def test_the_same_batches_in_the_same_order(prefetch: int) -> None:
    arrays = (np.arange(30), np.arange(30) * 2)
    want = lists(data.batches(KEY, arrays, 4, epochs=2))
    assert lists(data.Loader(data.batches(KEY, arrays, 4, epochs=2), prefetch=prefetch)) == want


def test_on_a_device() -> None:
    for batch in data.Loader([{"x": np.ones(3)}], device="cpu"):
        assert type(batch["x"]) is lf.Array
    with pytest.raises(ValueError, match="no device 'tpu'"):
        data.Loader([], device="tpu")


def test_it_stays_ahead_and_not_further() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            yield i

    loader = iter(data.Loader(source(), prefetch=3))
    until = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < until:  # three that wait, one in the hand
        time.sleep(0.005)
    time.sleep(0.02)
    assert made == [0, 1, 2, 3]
    assert list(loader) == list(range(10))


def test_an_exception_of_the_source() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise KeyError("the source's own")

    loop = iter(data.Loader(source(), prefetch=5))
    assert next(loop) == 1
    with pytest.raises(KeyError, match="the source's own") as error:
        next(loop)
    # Where it happened is in the traceback.
    assert "in source" in "".join(traceback.format_tb(error.value.__traceback__))
    assert list(loop) == []
    del error


def test_an_exception_of_the_transform() -> None:
    def transform(key: Any, x: Any) -> Any:
        return data.random_crop(key, x)

    with pytest.raises(TypeError, match="random_crop got .* expected a batch of images"):
        list(data.Loader(data.batches(KEY, np.zeros((4, 2)), 2, transform=transform)))


def test_a_loop_that_is_left_early() -> None:
    ended = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            ended.set()

    for i in data.Loader(source()):
        if i == 3:
            break
    assert ended.wait(5)
    assert_no_threads()


def test_a_loop_that_raises() -> None:
    def consume() -> None:
        for _ in data.Loader(itertools.count()):
            raise RuntimeError("the consumer's")

    with pytest.raises(RuntimeError, match="the consumer's"):
        consume()
    gc.collect()
    assert_no_threads()


def test_close() -> None:
    loader = data.Loader(itertools.count())
    loop, other = iter(loader), None
    assert next(loop) == 0
    loader.close()
    assert loaders() == []
    assert next(loop, other) is None
    with pytest.raises(RuntimeError, match="was closed"):
        iter(loader)
    loader.close()


def test_with_block() -> None:
    with data.Loader(itertools.count()) as loader:
        loop = iter(loader)
        assert next(loop) == 0
    assert loaders() == []


def test_closing_wakes_a_consumer_that_waits() -> None:
    release, got = threading.Event(), []

    def source() -> Iterator[int]:
        release.wait(5)
        yield 1

    loader = data.Loader(source())
    loop = iter(loader)
    consumer = threading.Thread(target=lambda: got.extend(loop))
    consumer.start()
    time.sleep(0.02)
    threading.Timer(0.05, release.set).start()
    loader.close()
    consumer.join(5)
    assert not consumer.is_alive() and got == []


def test_several_loops() -> None:
    loader = data.Loader([1, 2, 3])
    assert list(loader) == list(loader) == [1, 2, 3] and len(loader) == 3
    assert list(zip(loader, loader, strict=True)) == [(1, 1), (2, 2), (3, 3)]


def test_an_iterator_is_looped_over_once() -> None:
    loader = data.Loader(data.batches(KEY, np.arange(4), 2))
    assert len(list(loader)) == 2
    with pytest.raises(RuntimeError, match="make a new one for each epoch"):
        list(loader)


def test_settings_hold_in_the_thread() -> None:
    def source() -> Iterator[str]:
        yield settings().default_float

    with lf.default_dtype("float64"):
        assert list(data.Loader(source())) == ["float64"]
    assert list(data.Loader(source())) == ["float32"]


def test_jitted_transforms_in_the_thread() -> None:
    transform = lf.jit(lambda key, batch: (data.random_crop(key, batch[0]), batch[1]))
    arrays = (np.random.default_rng(0).random((12, 8, 8, 1)).astype("float32"), np.arange(12))
    plain = [lf.device_get(b) for b in data.batches(KEY, arrays, 4, transform=transform)]
    loaded = [lf.device_get(b) for b in data.Loader(
        data.batches(KEY, arrays, 4, transform=transform), device="cpu")]
    for a, b in zip(plain, loaded, strict=True):
        assert (a[0] == b[0]).all() and (a[1] == b[1]).all()


@pytest.mark.parametrize(("source", "kwargs", "error"), [
    ([], {"prefetch": 0}, ValueError), ([], {"prefetch": 1.5}, ValueError), (3, {}, TypeError),
    (lambda: [], {}, TypeError),
])
def test_loader_arguments(source: Any, kwargs: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="Loader got"):
        data.Loader(source, **kwargs)


def test_an_interpreter_that_ends_within_a_loop() -> None:
    code = ("import itertools; from lucidfn import data\n"
            "loop = iter(data.Loader(itertools.count()))\nprint(next(loop))")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                         cwd=Path(__file__).parents[1], timeout=100)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "0\n", "")
