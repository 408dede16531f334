"""A generated set of colour images: five shapes in two families of colours, on noisy grounds.

It stands in for CIFAR-10 where that cannot be had: the same sizes, ten classes, and learnable in
minutes. Where it is used, this is said.
"""

from __future__ import annotations

import numpy as np

from lucidfn.data import Dataset, Examples

SIDE = 32
SHAPES = ("disc", "ring", "square", "triangle", "cross")
COLOURS = ("warm", "cold")
CLASSES = tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOURS)
AT_ONCE = 1000


def coloured_shapes(train: int = 5000, test: int = 1000, seed: int = 0) -> Dataset:
    """Images [N, 32, 32, 3] uint8 and labels [N] int32, equally many of each of ten classes.

    >>> train, test = coloured_shapes(train=20, test=10)
    >>> train.x.shape, test.y.tolist().count(3), CLASSES[3]
    ((20, 32, 32, 3), 1, 'cold ring')
    """
    parts = []
    for part, count in enumerate((train, test)):
        rng = np.random.default_rng((seed, part))
        y = rng.permutation(np.arange(count) % len(CLASSES)).astype("int32")
        images = [drawn(rng, y[i:i + AT_ONCE]) for i in range(0, count, AT_ONCE)]
        parts.append(Examples(np.concatenate(images), y))
    return Dataset(*parts)


def drawn(rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """One image for each label: ground, a blot of any colour, the shape, noise."""
    n = len(y)
    image = ground(rng, n)
    blot = mask(rng, np.zeros(n, int), radius=rng.uniform(2, 4, n))
    image += blot * (colour(rng.uniform(0, 1, n), rng.uniform(0.4, 0.9, n)) - image)
    # Two families of hues, around orange and around blue, that come near each other at the ends.
    hue = np.where(y % 2 == 0, 0.06, 0.56) + rng.normal(0, 0.075, n)
    shape = mask(rng, y // 2, radius=rng.uniform(6, 12, n))
    image += shape * (colour(hue, rng.uniform(0.5, 1.0, n)) - image)
    image += rng.normal(0, 0.11, image.shape)
    return np.clip(np.rint(image * 255), 0, 255).astype("uint8")


def ground(rng: np.random.Generator, n: int) -> np.ndarray:
    """From one dull colour to another along any direction: [N, 32, 32, 3]."""
    angle = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    across, down = places()
    share = 0.5 + 0.35 * (np.cos(angle) * across + np.sin(angle) * down) / (SIDE / 2)
    ends = [colour(rng.uniform(0, 1, n), rng.uniform(0.2, 0.8, n), rng.uniform(0.1, 0.6, n))
            for _ in range(2)]
    return ends[0] + share[..., None] * (ends[1] - ends[0])


def places() -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of the pixels, from the middle."""
    line = np.arange(SIDE) - (SIDE - 1) / 2
    return line[None, None, :], line[None, :, None]


def mask(rng: np.random.Generator, kind: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """[N, H, W, 1]: how much of each pixel is within a shape, placed and turned at random."""
    n = len(kind)
    room = SIDE / 2 - 0.75 * radius
    x0, y0 = rng.uniform(-1, 1, (2, n)) * room
    angle = rng.uniform(0, 2 * np.pi, n)
    size, x0, y0, cos, sin = (v[:, None, None] for v in (radius, x0, y0, np.cos(angle),
                                                         np.sin(angle)))
    across, down = places()
    u = (cos * (across - x0) + sin * (down - y0)) / size
    v = (cos * (down - y0) - sin * (across - x0)) / size
    far = np.empty((n, SIDE, SIDE))
    for i, distance in enumerate((disc, ring, square, triangle, cross)):
        far[kind == i] = distance(u[kind == i], v[kind == i])
    return np.clip(0.5 - far * size, 0, 1)[..., None]


# Distances to the border of a shape of radius one, negative within it.

def disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.hypot(u, v) - 0.85


def ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(u, v) - 0.75) - 0.22


def square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) - 0.75


def triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.sqrt(0.75) * np.abs(u) + 0.5 * v, -v) - 0.5


def cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    arms = [np.maximum(np.abs(a) - 0.95, np.abs(b) - 0.28) for a, b in ((u, v), (v, u))]
    return np.minimum(*arms)


def colour(hue: np.ndarray, value: np.ndarray, saturation: np.ndarray | float = 0.85
           ) -> np.ndarray:
    """Hue (in turns), value and saturation [N] as red, green and blue, [N, 1, 1, 3]."""
    saturation = np.broadcast_to(saturation, hue.shape)
    wheel = (np.array([5.0, 3.0, 1.0]) + 6 * hue[:, None]) % 6
    shade = np.clip(np.minimum(wheel, 4 - wheel), 0, 1)
    return (value[:, None] * (1 - saturation[:, None] * shade))[:, None, None, :]
