"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 from their published files, and small digits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lucidfn.numpy as lnp
from lucidfn import random
from lucidfn.data._cache import mapped
from lucidfn.data._fetch import DataError, Remote, cache_folder, extra, fetch, is_offline
from lucidfn.data._formats import read_cifar, read_idx
from lucidfn.nn.functional.images import interpolate


class Examples(NamedTuple):
    """Inputs and labels, one of each per row."""

    x: np.ndarray
    y: np.ndarray


class Dataset(NamedTuple):
    """The published split of a data set."""

    train: Examples
    test: Examples


class Constants(NamedTuple):
    """Mean and standard deviation by channel, of pixels from 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


CONSTANTS = {
    "digits": Constants((0.3053,), (0.3760,)),
    "mnist": Constants((0.1307,), (0.3081,)),
    "fashion_mnist": Constants((0.2860,), (0.3530,)),
    "cifar10": Constants((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": Constants((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
_DIGITS = tuple("0123456789")
CLASSES = {
    "digits": _DIGITS,
    "mnist": _DIGITS,
    "fashion_mnist": ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt",
                      "sneaker", "bag", "ankle boot"),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
                "truck"),
    "cifar100": tuple("""
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
        butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
        crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
        keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
        mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
        plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
        television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
        worm""".split()),
    "cifar100_coarse": tuple("""
        aquatic_mammals fish flowers food_containers fruit_and_vegetables
        household_electrical_devices household_furniture insects large_carnivores
        large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
        medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1
        vehicles_2""".split()),
}

# Checksums: those of the authors' pages; MNIST's, whose page is gone, are those that its mirrors
# and readers agree on.
_IDX = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
_MNIST_BASES = ("https://ossci-datasets.s3.amazonaws.com/mnist",
                "https://storage.googleapis.com/cvdf-datasets/mnist")
_FASHION_BASES = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
)
_CIFAR_BASES = ("https://www.cs.toronto.edu/~kriz", "https://cave.cs.toronto.edu/kriz")
REMOTES: dict[str, tuple[Remote, ...]] = {
    "mnist": tuple(Remote(name, f"sha256:{digest}", _MNIST_BASES) for name, digest in zip(_IDX, (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"), strict=True)),
    "fashion_mnist": tuple(
        Remote(name, f"md5:{digest}", _FASHION_BASES) for name, digest in zip(_IDX, (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"), strict=True)),
    "cifar10": (Remote("cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530",
                       _CIFAR_BASES),),
    "cifar100": (Remote("cifar-100-binary.tar.gz", "md5:03b5dce01913d631647c71ecec9e9cb8",
                        _CIFAR_BASES),),
}

Folder = str | os.PathLike[str] | None


# ------------------------------------------------------------------ public

def mnist(folder: Folder = None, *, normalize: bool = False, mmap: bool = False,
          download: bool | None = None, mirrors: Sequence[str] = (),
          progress: bool = True) -> Dataset:
    """MNIST: 60,000 and 10,000 handwritten digits, x [N, 28, 28, 1] uint8, y [N] int32.

    `folder` holds the four IDX files, compressed or not; it is only read from, unless
    `download=True`. Without a folder the files are downloaded once to `cache_folder()`, unless
    `download=False` or LUCIDFN_OFFLINE is set; `mirrors` are base URLs to try first. With
    `normalize=True` pixels are float32, (x / 255 - mean) / std with `data.CONSTANTS`. `mmap=True`
    keeps the decoded arrays in the cache and maps them into memory. `progress=False` shows no bar.
    Raises DataError. (Y. LeCun, C. Cortes, C. Burges, 1998.)
    """
    return _idx("mnist", folder, normalize, mmap, download, mirrors, progress)


def fashion_mnist(folder: Folder = None, *, normalize: bool = False, mmap: bool = False,
                  download: bool | None = None, mirrors: Sequence[str] = (),
                  progress: bool = True) -> Dataset:
    """Fashion-MNIST: pictures of clothes, in the shapes and with the arguments of `mnist`.

    (arXiv:1708.07747.)
    """
    return _idx("fashion_mnist", folder, normalize, mmap, download, mirrors, progress)


def cifar10(folder: Folder = None, *, normalize: bool = False, mmap: bool = False,
            download: bool | None = None, mirrors: Sequence[str] = (),
            progress: bool = True) -> Dataset:
    """CIFAR-10: 50,000 and 10,000 colour pictures, x [N, 32, 32, 3] uint8, y [N] int32.

    Reads the published binary archive, `cifar-10-binary.tar.gz` or what it unpacks to. Arguments as
    for `mnist`. (A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.)
    """
    train = [f"data_batch_{i}.bin" for i in range(1, 6)]
    layout = _Cifar("cifar10", "cifar-10-batches-bin", train, ["test_batch.bin"], 1, 10)
    return _cifar(layout, -1, folder, normalize, mmap, download, mirrors, progress)


def cifar100(folder: Folder = None, *, coarse: bool = False, normalize: bool = False,
             mmap: bool = False, download: bool | None = None, mirrors: Sequence[str] = (),
             progress: bool = True) -> Dataset:
    """CIFAR-100: as CIFAR-10, with 100 classes, or with `coarse=True` their 20 superclasses."""
    layout = _Cifar("cifar100", "cifar-100-binary", ["train.bin"], ["test.bin"], 2, 100)
    return _cifar(layout, 0 if coarse else 1, folder, normalize, mmap, download, mirrors, progress)


def digits(*, size: int = 8, normalize: bool = False, test_size: int = 360,
           seed: int = 0) -> Dataset:
    """The 1,797 real handwritten digits of scikit-learn, x [N, size, size, 1] uint8, y [N] int32.

    Always there, without a download. `size` other than 8 resizes them (bilinear). The published
    data has no split: `test_size` of them, drawn by the seed, are for testing. Raises DataError if
    scikit-learn is not installed. (E. Alpaydin, C. Kaynak, UCI, 1998.)

    >>> train, test = digits(size=28)
    >>> train.x.shape, train.x.dtype, test.y.shape
    ((1437, 28, 28, 1), dtype('uint8'), (360,))
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise extra("scikit-learn", "data.digits") from None
    x, y = load_digits(return_X_y=True)
    if not 0 < test_size < len(x):
        raise ValueError(f"digits got test_size={test_size}, expected between 1 and {len(x) - 1}")
    x = (x / 16.0).astype("float32").reshape(-1, 8, 8, 1)
    if size != 8:
        x = np.asarray(interpolate(lnp.asarray(x), size=(size, size), mode="bilinear"))
    x = np.rint(x * 255).astype("uint8")
    order = np.asarray(random.permutation(random.key(seed), len(x)))
    x, y = x[order], y[order].astype("int32")
    if normalize:
        x = _normalized(x, CONSTANTS["digits"])
    return Dataset(Examples(x[test_size:], y[test_size:]), Examples(x[:test_size], y[:test_size]))


# ------------------------------------------------------------------ IDX

def _idx(name: str, folder: Folder, normalize: bool, mmap: bool, download: bool | None,
         mirrors: Sequence[str], progress: bool) -> Dataset:
    paths = _paths(name, folder, download, mirrors, progress)

    def read() -> dict[str, np.ndarray]:
        train_x, train_y, test_x, test_y = map(read_idx, paths)
        for x, y, path in ((train_x, train_y, paths[0]), (test_x, test_y, paths[2])):
            if x.dtype != np.uint8 or x.shape[1:] != (28, 28):
                raise DataError(f"{path} holds {x.dtype}{list(x.shape)}, expected images "
                                "uint8[N, 28, 28]")
            if y.shape != x.shape[:1]:
                raise DataError(f"{path} has {len(x)} images, and its labels are "
                                f"{y.dtype}{list(y.shape)}; the files do not belong together")
            if y.size and not 0 <= y.min() <= y.max() < 10:
                raise DataError(f"the labels of {path} reach from {y.min()} to {y.max()}, expected "
                                "0 to 9")
        return {"train_x": train_x[..., None], "train_y": train_y.astype("int32"),
                "test_x": test_x[..., None], "test_y": test_y.astype("int32")}

    return _dataset(name, read, paths, normalize, mmap)


def _paths(name: str, folder: Folder, download: bool | None, mirrors: Sequence[str],
           progress: bool) -> list[Path]:
    """The files of a data set, in the folder or downloaded."""
    place = cache_folder() / name if folder is None else Path(folder)
    found = [_plain_or_packed(place, remote.name) for remote in REMOTES[name]]
    missing = [r.name for r, path in zip(REMOTES[name], found, strict=True) if path is None]
    if folder is not None and not download and missing:
        what = "is not a folder" if not place.is_dir() else f"lacks {', '.join(missing)}"
        raise DataError(f"{place} {what}; the files are published at "
                        f"{REMOTES[name][0].bases[0]}, and download=True fetches them into it")
    if folder is not None and not missing:
        return [path for path in found if path is not None]
    offline = is_offline(None if download is None else not download)
    return [fetch(remote.urls(mirrors), remote.name, remote.checksum, place, offline=offline,
                  progress=progress) for remote in REMOTES[name]]


def _plain_or_packed(folder: Path, name: str) -> Path | None:
    """A file of a user's folder under its published name, or unpacked. (IDX, or CIFAR's folder.)"""
    plain = name.removesuffix(".gz")
    names = [name, plain, plain.replace("-idx", ".idx")]
    return next((folder / n for n in names if (folder / n).is_file()), None)


# ------------------------------------------------------------------ CIFAR

class _Cifar(NamedTuple):
    name: str
    unpacked: str
    train: list[str]
    test: list[str]
    labels: int
    classes: int


def _cifar(layout: _Cifar, column: int, folder: Folder, normalize: bool, mmap: bool,
           download: bool | None, mirrors: Sequence[str], progress: bool) -> Dataset:
    source = _unpacked(layout, folder)
    if source is None:
        [source] = _paths(layout.name, folder, download, mirrors, progress)

    def read() -> dict[str, np.ndarray]:
        (x, y), (x_test, y_test) = (read_cifar(source, members, layout.labels, layout.classes)
                                    for members in (layout.train, layout.test))
        return {"train_x": x, "train_y": y[:, column].copy(), "test_x": x_test,
                "test_y": y_test[:, column].copy()}

    files = [source] if source.is_file() else [source / n for n in layout.train + layout.test]
    return _dataset(layout.name, read, files, normalize, mmap, f"labels{column}")


def _unpacked(layout: _Cifar, folder: Folder) -> Path | None:
    """Where the unpacked files are: in the user's folder, or in the archive's folder below it."""
    if folder is None:
        return None
    places = (Path(folder), Path(folder) / layout.unpacked)
    return next((p for p in places if (p / layout.test[0]).is_file()), None)


# ------------------------------------------------------------------ arrays

def _dataset(name: str, read: Callable[[], dict[str, np.ndarray]], paths: Sequence[Path],
             normalize: bool, mmap: bool, variant: str = "") -> Dataset:
    def make() -> dict[str, np.ndarray]:
        arrays = read()
        if normalize:
            for part in ("train_x", "test_x"):
                arrays[part] = _normalized(arrays[part], CONSTANTS[name])
        return arrays

    if mmap:
        # Which files these are, as they are now: others, or changed ones, have another name.
        stats = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
        text = repr((stats, normalize, CONSTANTS[name], variant))
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        arrays = mapped(cache_folder() / name / "decoded" / digest, make)
    else:
        arrays = make()
    return Dataset(Examples(arrays["train_x"], arrays["train_y"]),
                   Examples(arrays["test_x"], arrays["test_y"]))


def _normalized(x: np.ndarray, constants: Constants) -> np.ndarray:
    out: Any = x.astype("float32")
    out /= np.float32(255)
    out -= np.asarray(constants.mean, "float32")
    out /= np.asarray(constants.std, "float32")
    return out
