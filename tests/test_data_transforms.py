"""Augmentation: pure functions of (key, x), compiled as well as not, exact where they can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn import data, nn, random

KEY = random.key(5)
RNG = np.random.default_rng(0)
X = RNG.random((6, 9, 12, 3)).astype("float32")
BYTES = RNG.integers(0, 256, X.shape, "u1")
Y = np.eye(4, dtype="float32")[[0, 1, 2, 3, 0, 1]]

RANDOM: dict[str, Callable[..., Any]] = {
    "crop": data.random_crop,
    "crop to a size": lambda key, x: data.random_crop(key, x, (5, 4), padding=2),
    "crop, reflected": lambda key, x: data.random_crop(key, x, padding=3, mode="reflect"),
    "crop, unpadded": lambda key, x: data.random_crop(key, x, 8, padding=0),
    "horizontal flip": data.horizontal_flip,
    "vertical flip": data.vertical_flip,
    "rotation": data.random_rotation,
    "rotation, nearest": lambda key, x: data.random_rotation(key, x, 40, mode="nearest", fill=1),
    "cutout": lambda key, x: data.cutout(key, x, 4, fill=2),
}
FIXED: dict[str, Callable[..., Any]] = {
    "normalize": lambda x: data.normalize(x, (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)),
    "resize": lambda x: data.resize(x, (5, 17)),
    "resize, bicubic": lambda x: data.resize(x, 20, mode="bicubic"),
    "resize, nearest": lambda x: data.resize(x, 7, mode="nearest"),
}
MIXING: dict[str, Callable[..., Any]] = {
    "mixup": data.mixup, "cutmix": data.cutmix,
    "mixup, alpha 1": lambda key, x, y: data.mixup(key, x, y, 1.0),
    "cutmix, alpha 0.3": lambda key, x, y: data.cutmix(key, x, y, alpha=0.3),
}
ALL = {**RANDOM, **{name: lambda key, x, f=f: f(x) for name, f in FIXED.items()},
       **{name: lambda key, x, f=f: f(key, x, Y) for name, f in MIXING.items()}}


def same(a: Any, b: Any, exact: bool) -> None:
    for got, want in zip(lf.tree.leaves(a), lf.tree.leaves(b), strict=True):
        assert got.dtype == want.dtype and got.shape == want.shape
        if exact:
            np.testing.assert_array_equal(np.asarray(got), np.asarray(want))
        else:
            np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_jit_is_eager(name: str) -> None:
    f = ALL[name]
    for seed in range(3):
        key = random.key(seed)
        for x in [X] if "mixup" in name else [X, BYTES]:
            same(lf.jit(f)(key, x), f(key, x), exact=x is BYTES and "normal" not in name
                 and "cutmix" not in name)


@pytest.mark.parametrize("name", ALL)
def test_pure_and_of_the_input_dtype(name: str) -> None:
    f, before = ALL[name], X.copy()
    same(f(KEY, X), f(KEY, X), exact=True)
    assert (before == X).all()
    if name not in ("normalize", *FIXED):
        first, other = (lf.tree.leaves(f(random.key(s), X))[0] for s in (0, 1))
        assert (np.asarray(first) != np.asarray(other)).any()
    wide = lf.tree.leaves(ALL[name](KEY, X.astype("float64")))[0]
    assert wide.dtype == np.float64
    half = lf.tree.leaves(ALL[name](KEY, lnp.asarray(X, lnp.bfloat16)))[0]
    assert half.dtype == lnp.bfloat16


@pytest.mark.parametrize("name", [*RANDOM, "resize", "resize, bicubic", "resize, nearest"])
def test_bytes_stay_bytes(name: str) -> None:
    out = ALL[name](KEY, BYTES)
    assert out.dtype == np.uint8
    assert np.abs(np.asarray(out) - np.asarray(
        ALL[name](KEY, BYTES.astype("float32"))).clip(0, 255)).max() <= 0.5001


@pytest.mark.parametrize("name", [*RANDOM, *FIXED])
def test_without_images(name: str) -> None:
    out = ALL[name](KEY, X[:0])
    assert out.shape == (0, *ALL[name](KEY, X).shape[1:])


# ------------------------------------------------------------------ what they compute

def test_each_crop_is_a_part_of_its_padded_image() -> None:
    x = np.arange(1, 2 * 6 * 7 + 1, dtype="int32").reshape(2, 6, 7, 1)
    places = set()
    for seed in range(60):
        out = np.asarray(data.random_crop(random.key(seed), x, (4, 5), padding=1))
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        for i in range(2):
            [found] = [(r, c) for r in range(5) for c in range(5)
                       if (padded[i, r:r + 4, c:c + 5] == out[i]).all()]
            places.add((i, *found))
    assert len({p[1] for p in places}) == len({p[2] for p in places}) == 5  # borders are reached
    assert len({p[1:] for p in places if p[0] == 0}) > 15


@pytest.mark.parametrize(("flip", "axis"), [(data.horizontal_flip, 2), (data.vertical_flip, 1)])
def test_flips(flip: Callable[..., Any], axis: int) -> None:
    x = RNG.random((400, 3, 4, 2)).astype("float32")
    out = np.asarray(flip(KEY, x))
    turned = np.flip(x, axis)
    flipped = (out == turned).all((1, 2, 3))
    assert ((out == x).all((1, 2, 3)) ^ flipped).all()
    assert 140 < flipped.sum() < 260
    assert (np.asarray(flip(KEY, x, 1.0)) == turned).all()
    assert (np.asarray(flip(KEY, x, 0.0)) == x).all()


def test_rotation_by_the_angle_that_was_drawn() -> None:
    angle = random.uniform(KEY, (6,), minval=-30.0, maxval=30.0)
    out = data.random_rotation(KEY, X, 30.0)
    same(out, nn.functional.rotate(X, angle, mode="bilinear"), exact=False)
    same(data.random_rotation(KEY, X, 0.0), lnp.asarray(X), exact=False)


def test_cutout_is_one_square_of_the_size() -> None:
    x = np.ones((300, 10, 11, 2), "float32")
    gone = np.asarray(data.cutout(KEY, x, 4)) == 0
    assert (gone[..., 0] == gone[..., 1]).all()
    rows, columns = gone[..., 0].any(2), gone[..., 0].any(1)
    assert (gone[..., 0] == rows[:, :, None] & columns[:, None, :]).all()
    for spans in (rows, columns):
        counts = spans.sum(1)
        assert counts.min() == 2 and counts.max() == 4  # two are outside at the border
        assert (np.abs(np.diff(spans.astype(int), axis=1)).sum(1) <= 2).all()  # in one piece
    assert (np.asarray(data.cutout(KEY, x, 0)) == x).all()


def test_normalize() -> None:
    mean, std = data.CONSTANTS["cifar10"]
    want = (BYTES / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(np.asarray(data.normalize(BYTES, mean, std)), want, atol=1e-5)
    np.testing.assert_allclose(np.asarray(data.normalize(BYTES / 255, mean, std)), want)
    gray = BYTES[..., :1]
    np.testing.assert_allclose(np.asarray(data.normalize(gray, 0.5, 0.5)), gray / 127.5 - 1,
                               atol=1e-6)


def test_normalize_with_channels_that_do_not_fit() -> None:
    """Not broadcast along the width by accident."""
    with pytest.raises(TypeError, match=r"one per channel, \[3\]"):
        data.normalize(np.zeros((1, 12, 12, 3), "float32"), np.zeros(12), 1.0)
    with pytest.raises(TypeError, match="channels are the last axis"):
        data.normalize(np.zeros((1, 3, 12, 12), "float32"), (0.5,) * 3, (0.5,) * 3)


def test_resize_shrinks_by_means() -> None:
    x = np.zeros((1, 8, 8, 1), "float32")
    x[0, ::2] = 1
    out = np.asarray(data.resize(x, 2))[0, :, :, 0]
    assert np.abs(out - 0.5).max() < 0.1  # without antialias: all of one colour
    assert data.resize(x, (3, 5)).shape == (1, 3, 5, 1)


def test_mixup() -> None:
    for seed in range(5):
        x, y = (np.asarray(a) for a in data.mixup(random.key(seed), X, Y, 1.0))
        np.testing.assert_allclose(y.sum(1), 1, rtol=1e-6)
        # One lam, and the same partner in images and labels.
        pairs = np.array([np.linalg.lstsq(X.reshape(6, -1).T, row.ravel(), rcond=None)[0]
                          for row in x])
        np.testing.assert_allclose(pairs @ Y, y, atol=1e-4)
        np.testing.assert_allclose(pairs.sum(0), 1, atol=1e-4)


def test_cutmix() -> None:
    x = np.broadcast_to(np.arange(6, dtype="float32")[:, None, None, None], (6, 9, 12, 3))
    shares = set()
    for seed in range(20):
        out, y = (np.asarray(a) for a in data.cutmix(random.key(seed), x, np.eye(6)))
        changed = (out != x).any(3)
        for i in range(6):
            want = np.bincount(out[i, :, :, 0].astype(int).ravel(), minlength=6) / (9 * 12)
            np.testing.assert_allclose(y[i], want, atol=1e-6)  # labels by area, to the pixel
            rows, columns = changed[i].any(1), changed[i].any(0)
            assert (changed[i] == rows[:, None] & columns).all()
        shares.add(int(changed[0].sum()))
    assert len(shares) > 8


# ------------------------------------------------------------------ what is refused

@pytest.mark.parametrize("name", [*RANDOM, "resize", "cutmix"])
def test_images_without_a_channel(name: str) -> None:
    with pytest.raises(TypeError, match=r"expected a batch of images \[N, H, W, C\]; x\[..., None"):
        ALL[name](KEY, X[..., 0])


@pytest.mark.parametrize("mix", [data.mixup, data.cutmix])
def test_labels_that_are_no_probabilities(mix: Callable[..., Any]) -> None:
    for y in (np.arange(6), Y[:5], np.eye(6, dtype=int)):
        with pytest.raises(TypeError, match=r"nn.one_hot\(labels, classes\)"):
            mix(KEY, X, y)
    with pytest.raises(ValueError, match="alpha=0"):
        mix(KEY, X, Y, 0)
    with pytest.raises(TypeError, match="normalize them first"):
        data.mixup(KEY, BYTES, Y)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: data.random_crop(KEY, X, 18), "must fit into the padded image"),
    (lambda: data.random_crop(KEY, X, padding=-1), "padding=-1"),
    (lambda: data.horizontal_flip(KEY, X, 1.5), "p=1.5"),
    (lambda: data.cutout(KEY, X, -1), "size=-1"),
])
def test_numbers_that_do_not_fit(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
