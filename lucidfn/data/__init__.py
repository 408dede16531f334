"""Data sets, batches, augmentation and text: `from lucidfn import data`.

Data sets are NumPy arrays, batches a generator that a random key decides, transforms functions of
(key, x). Nothing has a hidden state: the same key gives the same batches, in any process.

    train, test = data.mnist(normalize=True)
    for step, (x, y) in enumerate(data.Loader(data.batches(key, train, 128, epochs=10))):
        state, loss = train_step(state, (x, y))

Downloads need the extra `data`: `pip install 'lucidfn[data]'`.
"""

from lucidfn.data._arff import read_arff
from lucidfn.data._batching import batch_count, batches, train_test_split
from lucidfn.data._fetch import DataError, cache_folder, fetch
from lucidfn.data._formats import read_idx
from lucidfn.data._images import (
    CLASSES,
    CONSTANTS,
    Constants,
    Dataset,
    Examples,
    cifar10,
    cifar100,
    digits,
    fashion_mnist,
    mnist,
)
from lucidfn.data._loader import Loader
from lucidfn.data._openml import Table, openml
from lucidfn.data._text import ByteTokenizer, CharTokenizer, random_windows
from lucidfn.data._transforms import (
    cutmix,
    cutout,
    horizontal_flip,
    mixup,
    normalize,
    random_crop,
    random_rotation,
    resize,
    vertical_flip,
)

__all__ = [
    "CLASSES", "CONSTANTS", "ByteTokenizer", "CharTokenizer", "Constants", "DataError", "Dataset",
    "Examples", "Loader", "Table", "batch_count", "batches", "cache_folder", "cifar10", "cifar100",
    "cutmix", "cutout", "digits", "fashion_mnist", "fetch", "horizontal_flip", "mixup", "mnist",
    "normalize", "openml", "random_crop", "random_rotation", "random_windows", "read_arff",
    "read_idx", "resize", "train_test_split", "vertical_flip",
]
