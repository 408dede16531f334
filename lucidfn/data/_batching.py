"""Batches and splits as pure functions of a key: the same key gives the same rows, anywhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lucidfn import random, tree
from lucidfn.array import Array, on_device


def batches(key: Any, arrays: Any, size: int, *, drop_last: bool = False, start: int = 0,
            epochs: int | None = 1, transform: Callable[[Any, Any], Any] | None = None
            ) -> Iterator[Any]:
    """Yields batches of `size` rows of a tree of arrays with equally many rows, shuffled by key.

    Each batch is a tree of new NumPy arrays; rows of arrays on a GPU stay there. The key decides
    everything: the order is drawn anew for each of the `epochs` (None: without end), and
    `transform(key, batch)` gets a key of its own for each batch. `start` leaves out that many
    batches, counted through all epochs, without reading them: what follows is what would have
    followed. `key=None` keeps the rows in order, for evaluation. The last batch of an epoch may be
    smaller; `drop_last=True` leaves it out. Raises ValueError for a size, start or epochs that do
    not fit, TypeError for what is no array.

    >>> import numpy as np
    >>> from lucidfn import random
    >>> x = np.arange(5)
    >>> [b.tolist() for b in batches(None, x, 2)]
    [[0, 1], [2, 3], [4]]
    >>> whole = [b.tolist() for b in batches(random.key(0), x, 2, epochs=3)]
    >>> whole[4:] == [b.tolist() for b in batches(random.key(0), x, 2, epochs=3, start=4)]
    True
    """
    leaves, treedef = tree.flatten(arrays)
    leaves = [_as_rows(leaf) for leaf in leaves]
    n = _rows("batches", arrays, leaves)
    each = batch_count(n, size, drop_last=drop_last)
    _check_range(n, size, each, start, epochs, drop_last)
    if transform is not None and not callable(transform):
        raise TypeError(f"batches got transform={transform!r}, expected a function of (key, batch)")
    order_key, transform_key = _two_keys("batches", key)

    def produce() -> Iterator[Any]:
        step = start
        passes = itertools.count(step // each) if epochs is None else range(
            step // each if each else 0, epochs if each else 0)
        for epoch in passes:
            order = None if key is None else np.asarray(
                random.permutation(random.fold_in(order_key, epoch), n))
            for i in range(step - epoch * each, each):
                picked = [_take(leaf, order, i * size, min((i + 1) * size, n)) for leaf in leaves]
                batch = tree.unflatten(treedef, picked)
                if transform is not None:
                    own = None if key is None else random.fold_in(transform_key, step)
                    batch = transform(own, batch)
                step += 1
                yield batch

    return produce()


def batch_count(arrays: Any, size: int, *, drop_last: bool = False) -> int:
    """How many batches an epoch of `batches` has, for a tree of arrays or a number of rows.

    >>> batch_count(60_000, 128), batch_count(60_000, 128, drop_last=True)
    (469, 468)
    """
    rows = arrays if isinstance(arrays, int) else _rows("batch_count", arrays, tree.leaves(arrays))
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"a batch has at least one row, got size={size!r}")
    return int(rows // size if drop_last else -(-rows // size))


def _check_range(n: int, size: int, each: int, start: int, epochs: int | None,
                 drop_last: bool) -> None:
    if isinstance(start, bool) or not isinstance(start, int | np.integer) or start < 0:
        raise ValueError(f"batches got start={start!r}, expected the number of batches to leave "
                         "out, 0 or more")
    if epochs is not None and (not isinstance(epochs, int | np.integer) or epochs < 0):
        raise ValueError(f"batches got epochs={epochs!r}, expected a number, or None: without end")
    if drop_last and 0 < n < size:
        raise ValueError(f"batches got {n} rows, size={size} and drop_last=True: there is no whole "
                         "batch")
    if epochs is None and not each:
        raise ValueError("batches got epochs=None and no rows: it would run forever and yield "
                         "nothing")
    if epochs is not None and start > epochs * each:
        raise ValueError(f"batches got start={start}, and {epochs} epoch(s) of {each} batches end "
                         f"before; epochs={math.ceil(start / max(each, 1))} would reach it")


def _two_keys(name: str, key: Any) -> tuple[Any, Any]:
    """Keys for the order and for the transforms; None stays None."""
    if key is None:
        return None, None
    if isinstance(key, int | np.integer):
        raise TypeError(f"{name} got key={key!r}: make one of the seed, random.key({key!r})")
    return random.fold_in(key, 0), random.fold_in(key, 1)


def _as_rows(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        return leaf  # a mapped file stays one: rows are read when they are used
    if isinstance(leaf, Array):
        return leaf if on_device(leaf) else np.asarray(leaf)
    raise TypeError(f"batches and splits are made of arrays, got {type(leaf).__name__}; "
                    "np.asarray makes one of a list")


def _rows(name: str, arrays: Any, leaves: Sequence[Any]) -> int:
    lengths = {leaf.shape[0] if getattr(leaf, "shape", ()) else -1 for leaf in leaves}
    if len(lengths) == 1 and -1 not in lengths:
        return lengths.pop()
    if not leaves:
        raise ValueError(f"{name} got no arrays")
    shapes = tree.map(lambda leaf: tuple(getattr(leaf, "shape", ())), arrays)
    raise ValueError(f"{name} takes arrays with equally many rows, got shapes {shapes}")


def _take(leaf: Any, order: np.ndarray | None, start: int, stop: int) -> Any:
    """New rows of an array, in an order; on the device where it is."""
    if order is None:
        return leaf[start:stop] if on_device(leaf) else np.array(leaf[start:stop])
    rows = order[start:stop]
    return leaf[rows] if on_device(leaf) else np.asarray(np.take(leaf, rows, axis=0))


# ------------------------------------------------------------------ splits

def train_test_split(key: Any, arrays: Any, test_size: float | int = 0.25, *,
                     stratify: Any = None) -> tuple[Any, Any]:
    """Two trees of new arrays, as of `batches`: the rows for training, and those for testing.

    `test_size` is a share below 1 (rounded up) or a number of rows. `stratify` are labels [N]: each
    class is split by that share as nearly as whole rows allow. Raises ValueError where a part would
    be empty.

    >>> import numpy as np
    >>> from lucidfn import random
    >>> train, test = train_test_split(random.key(0), {"x": np.arange(10)}, 0.2)
    >>> len(train["x"]), sorted([*train["x"].tolist(), *test["x"].tolist()])
    (8, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    leaves, treedef = tree.flatten(arrays)
    leaves = [_as_rows(leaf) for leaf in leaves]
    n = _rows("train_test_split", arrays, leaves)
    share = isinstance(test_size, float | np.floating)
    if share and not 0 < test_size < 1:
        raise ValueError(f"train_test_split got test_size={test_size!r}, expected a share between "
                         "0 and 1, or a number of rows")
    count = math.ceil(test_size * n - 1e-9) if share else int(test_size)
    if not 0 < count < n:
        raise ValueError(f"train_test_split got {n} rows and test_size={test_size!r}; both parts "
                         "need at least one row")
    order_key, _ = _two_keys("train_test_split", key)
    order = np.arange(n) if key is None else np.asarray(random.permutation(order_key, n))
    testing = order[:count] if stratify is None else _stratified(order, stratify, count)
    mask = np.zeros(n, bool)
    mask[testing] = True
    training = order[~mask[order]]
    return tuple(tree.unflatten(treedef, [_take(leaf, rows, 0, len(rows))  # type: ignore
                                          for leaf in leaves]) for rows in (training, testing))


def _stratified(order: np.ndarray, labels: Any, count: int) -> np.ndarray:
    """`count` rows of the order, from each class its share: the largest remainders round up."""
    labels = np.asarray(labels)
    if labels.shape != order.shape:
        raise ValueError(f"train_test_split got stratify of shape {labels.shape} for {len(order)} "
                         "rows, expected one label for each")
    classes, of_row = np.unique(labels, return_inverse=True)
    exact = np.bincount(of_row) * (count / len(order))
    quota = np.floor(exact).astype(int)
    quota[np.argsort(quota - exact, kind="stable")[:count - quota.sum()]] += 1
    ordered = of_row[order]
    picked = [order[ordered == c][:quota[c]] for c in range(len(classes))]
    rows = np.concatenate(picked)
    return order[np.isin(order, rows)]
