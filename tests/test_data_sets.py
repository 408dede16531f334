"""Data sets read from files in the published formats, whole and damaged ones."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from data_files import (
    MNIST_NAMES,
    cifar_records,
    idx_bytes,
    md5,
    mnist_arrays,
    mnist_files,
    serving,
    tar_gz,
)
from hypothesis import given
from hypothesis import strategies as st

import lucidfn as lf
from lucidfn import data
from lucidfn.data import DataError
from lucidfn.data._arff import split

RNG = np.random.default_rng(0)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


# ------------------------------------------------------------------ IDX

@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
def test_idx(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.asarray(RNG.normal(size=shape) * 50).astype(dtype)
    for packed in (bytes, gzip.compress):
        (tmp_path / "a").write_bytes(packed(idx_bytes(array)))
        read = data.read_idx(tmp_path / "a")
        assert read.dtype == array.dtype and read.dtype.isnative and read.shape == shape
        assert (read == array).all()


IDX = idx_bytes(np.arange(60, dtype="u1").reshape(3, 4, 5))


@pytest.mark.parametrize(("content", "message"), [
    (b"", "truncated"), (IDX[:3], "truncated"), (IDX[:10], "ends within its header"),
    (IDX[:-1], "60 bytes, and 59 are there"), (IDX[:16], "and 0 are there"),
    (IDX + b"x", "more than the 60 bytes"), (b"\x01" + IDX[1:], "no IDX file"),
    (b"\0\0\x07" + IDX[3:], "no IDX file"), (b"<html>404</html>", "no IDX file"),
    (gzip.compress(IDX, mtime=0)[:-9], "truncated or damaged"),
    (gzip.compress(IDX, mtime=0)[:20], "truncated"),
    (b"\x1f\x8b" + b"\0" * 30, "truncated or damaged"),
    (struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3), "announces the shape"),
    # Within the limit and not there: memory follows the file, not the header.
    (struct.pack(">HBB2I", 0, 8, 2, 2**20, 2**19), "and 0 are there"),
])
def test_damaged_idx(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        data.read_idx(tmp_path / "a")
    assert str(tmp_path / "a") in str(error.value)


@given(st.data())
def test_any_damage_to_a_packed_idx_file_is_seen(tmp_path_factory: pytest.TempPathFactory,
                                                 draw: st.DataObject) -> None:
    content = bytearray(gzip.compress(IDX, mtime=0))
    at = draw.draw(st.integers(10, len(content) - 1))
    content[at] ^= draw.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(content)
    with pytest.raises(DataError):
        data.read_idx(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        data.read_idx(tmp_path / "a")


# ------------------------------------------------------------------ MNIST

@pytest.mark.parametrize("read", [data.mnist, data.fashion_mnist])
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_from_a_folder(tmp_path: Path, read: object, packed: bool) -> None:
    files = mnist_files()
    if not packed:
        files = {n.removesuffix(".gz"): gzip.decompress(c) for n, c in files.items()}
    (x, y), (x_test, y_test) = read(write(tmp_path, files))
    arrays = mnist_arrays()
    assert (x.shape, x.dtype) == ((30, 28, 28, 1), np.uint8)
    assert (y.shape, y.dtype) == ((30,), np.int32)
    for got, want in zip((x[..., 0], y, x_test[..., 0], y_test), arrays, strict=True):
        assert (got == want).all()


def test_normalized_as_torchvision_does(tmp_path: Path) -> None:
    train, _ = data.mnist(write(tmp_path, mnist_files()), normalize=True)
    x = mnist_arrays()[0][..., None].astype("float32") / np.float32(255)
    assert train.x.dtype == np.float32
    assert (train.x == (x - np.float32(0.1307)) / np.float32(0.3081)).all()


def test_missing_files(tmp_path: Path) -> None:
    files = mnist_files()
    del files[MNIST_NAMES[1]]
    with pytest.raises(DataError, match="lacks train-labels.*download=True"):
        data.mnist(write(tmp_path / "a", files))
    with pytest.raises(DataError, match="is not a folder"):
        data.mnist(tmp_path / "typing error")
    assert not (tmp_path / "typing error").exists()


@pytest.mark.parametrize(("part", "array", "message"), [
    (0, np.zeros((30, 28, 29), "u1"), r"expected images uint8\[N, 28, 28\]"),
    (0, np.zeros((30, 28, 28), "i4"), r"expected images uint8"),
    (1, np.zeros(29, "u1"), "do not belong together"),
    (1, np.full(30, 10, "u1"), "labels .* reach from 10 to 10"),
    (3, np.full(12, -1, "i1"), "labels .* reach from -1"),
])
def test_files_that_do_not_fit(tmp_path: Path, part: int, array: np.ndarray,
                               message: str) -> None:
    files = mnist_files() | {MNIST_NAMES[part]: gzip.compress(idx_bytes(array))}
    with pytest.raises(DataError, match=message):
        data.mnist(write(tmp_path, files))


# ------------------------------------------------------------------ CIFAR

def cifar(kind: int, count: int = 3) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """The published files of CIFAR-10 or -100, and all images and labels that are in them."""
    names = {10: [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"],
             100: ["train.bin", "test.bin"]}[kind]
    folder = {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}[kind]
    n = count * len(names)
    images = RNG.integers(0, 256, (n, 32, 32, 3), "u1")
    labels = RNG.integers(0, kind, (n, 1 if kind == 10 else 2))
    if kind == 100:
        labels[:, 0] //= 5
    files = {f"{folder}/{name}": cifar_records(images[i * count:(i + 1) * count],
                                               labels[i * count:(i + 1) * count])
             for i, name in enumerate(names)}
    return files, images, labels


@pytest.mark.parametrize("packed", ["archive", "folder", "inner folder"])
def test_cifar10(tmp_path: Path, packed: str) -> None:
    files, images, labels = cifar(10)
    write(tmp_path, {"cifar-10-binary.tar.gz": tar_gz(files)} if packed == "archive" else files)
    place = tmp_path / "cifar-10-batches-bin" if packed == "inner folder" else tmp_path
    train, test = data.cifar10(place)
    assert (train.x.shape, train.x.dtype) == ((15, 32, 32, 3), np.uint8)
    assert train.x.flags.c_contiguous
    assert (train.x == images[:15]).all() and (test.x == images[15:]).all()
    assert (train.y == labels[:15, 0]).all() and (test.y == labels[15:, 0]).all()
    assert train.y.dtype == np.int32


@pytest.mark.parametrize("coarse", [False, True])
def test_cifar100(tmp_path: Path, coarse: bool) -> None:
    files, images, labels = cifar(100)
    write(tmp_path, {"cifar-100-binary.tar.gz": tar_gz(files)})
    train, test = data.cifar100(tmp_path, coarse=coarse)
    assert (train.x == images[:3]).all()
    assert (test.y == labels[3:, 0 if coarse else 1]).all()


def test_cifar_normalized_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUCIDFN_DATA", str(tmp_path / "cache"))
    files, images, _ = cifar(100)
    write(tmp_path, {"cifar-100-binary.tar.gz": tar_gz(files)})
    constants = data.CONSTANTS["cifar100"]
    want = (images[:3] / 255 - constants.mean) / constants.std
    for mmap in (False, True):
        train, _ = data.cifar100(tmp_path, normalize=True, mmap=mmap)
        np.testing.assert_allclose(train.x, want, rtol=1e-5, atol=1e-6)
    # Labels of another kind are not taken from the cache of these.
    fine, coarse = (data.cifar100(tmp_path, coarse=c, mmap=True).train.y for c in (False, True))
    assert (fine != coarse).any()


def test_damaged_cifar(tmp_path: Path) -> None:
    files, _, _ = cifar(10)
    whole = tar_gz(files)
    path = tmp_path / "cifar-10-binary.tar.gz"
    for content in (whole[:len(whole) // 2], whole[:10], b"", b"<html>", gzip.compress(b"no tar")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"truncated|no archive|lacks"):
            data.cifar10(tmp_path)
    first = "cifar-10-batches-bin/data_batch_1.bin"
    for change, message in ((files[first][:-1], "no whole number of records"), (b"", "truncated"),
                            (files[first][:3073], "equally long"),
                            (b"\x0a" + files[first][1:], "the label 10, expected at most 9")):
        path.write_bytes(tar_gz(files | {first: change}))
        with pytest.raises(DataError, match=message):
            data.cifar10(tmp_path)


class Dangerous:
    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("a download was unpickled",)


def test_the_pickled_version_is_refused_unread(tmp_path: Path) -> None:
    python = {f"cifar-10-batches-py/data_batch_{i}": pickle.dumps(Dangerous()) for i in range(1, 6)}
    write(tmp_path, {"cifar-10-binary.tar.gz": tar_gz(python)})
    with pytest.raises(DataError, match="needs the binary version"):
        data.cifar10(tmp_path)


def test_an_archive_writes_nothing(tmp_path: Path) -> None:
    """Members that climb out of their folder, and links, are neither written nor followed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("data_batch_1.bin", "../../escaped.bin"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write(tmp_path / "deep" / "er", {"cifar-10-binary.tar.gz": buffer.getvalue()})
    with pytest.raises(DataError, match="lacks"):
        data.cifar10(tmp_path / "deep" / "er")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["cifar-10-binary.tar.gz"]


# ------------------------------------------------------------------ digits

def test_digits() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    train, test = data.digits()
    images, labels = datasets.load_digits(return_X_y=True)
    assert len(train.x) == 1437 and len(test.x) == 360
    x, y = np.concatenate([train.x, test.x]), np.concatenate([train.y, test.y])
    rows = {(*np.rint(i * (255 / 16)).astype(int), label)
            for i, label in zip(images, labels, strict=True)}
    assert {(*row.ravel().tolist(), int(label)) for row, label in zip(x, y, strict=True)} == rows
    assert (data.digits().test.x == test.x).all()
    assert (data.digits(seed=1).test.x != test.x).any()


def test_digits_normalized() -> None:
    pytest.importorskip("sklearn")
    train, test = data.digits(normalize=True)
    x = np.concatenate([train.x, test.x])
    assert x.dtype == np.float32 and abs(x.mean()) < 1e-3 and abs(x.std() - 1) < 2e-3
    assert data.digits(size=28, test_size=100).test.x.shape == (100, 28, 28, 1)
    with pytest.raises(ValueError, match="test_size"):
        data.digits(test_size=1797)


def test_names_of_classes() -> None:
    assert {name: len(names) for name, names in data.CLASSES.items()} == {
        "digits": 10, "mnist": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100,
        "cifar100_coarse": 20}
    for name in ("cifar10", "cifar100", "cifar100_coarse"):  # published in this order
        assert list(data.CLASSES[name]) == sorted(set(data.CLASSES[name]))


def test_data_sets_are_trees() -> None:
    pytest.importorskip("sklearn")
    counts = lf.tree.map(len, data.digits())
    assert counts.train.x == 1437 and counts.test.y == 360


# ------------------------------------------------------------------ ARFF and OpenML

ARFF = """% a comment
@RELATION flowers
@attribute 'petal width' REAL
@ATTRIBUTE colour {red, 'deep blue', "it's"}
@attribute row integer
@attribute note string
@attribute class {yes,no}
@data
% another one
1.5, red, 1, 'a, b', yes

?, 'deep blue', 2, x, no
-2e3,"it's",3,'it\\'s',?
{0 4.5, 3 'so, 4 so', 4 no}
"""


def test_arff(tmp_path: Path) -> None:
    for content in (ARFF.encode(), gzip.compress(ARFF.encode())):
        columns, values = data.read_arff(write(tmp_path, {"a": content}) / "a")
        assert [c.name for c in columns] == ["petal width", "colour", "row", "note", "class"]
        assert columns[1].categories == ("red", "deep blue", "it's")
        nan = np.nan
        np.testing.assert_array_equal(values, [
            [1.5, 0, 1, nan, 0], [nan, 1, 2, nan, 1], [-2000, 2, 3, nan, nan],
            [4.5, 0, 0, nan, 1]])


def test_values_in_quotes() -> None:
    assert split(r"'a, b',c, 'it\'s',,") == ["a, b", "c", "it's", "", ""]
    assert split('"x y" , 2') == ["x y", "2"]


@pytest.mark.parametrize(("text", "message"), [
    ("", "no ARFF"), ("@attribute a real\n", "no ARFF"), ("@data\n1\n", "no ARFF"),
    ("@attribute\n@data\n", "a:1: no attribute"),
    ("@attribute a real\n@attribute b real\n@data\n1,2\n3\n", "a:5: expected 2 values, got 1"),
    ("@attribute a real\n@data\n1\nx\n", "'a' holds 'x', expected a number"),
    ("@attribute a {u,v}\n@data\nw\n", r"'a' holds 'w', expected one of \('u', 'v'\)"),
    ("@attribute a real\n@data\n{7 1}\n", "what is no row"),
])
def test_damaged_arff(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        data.read_arff(write(tmp_path, {"a": text.encode()}) / "a")


def openml_files(**changes: object) -> dict[str, bytes]:
    about = {"id": "7", "file_id": "70", "md5_checksum": md5(ARFF.encode()).removeprefix("md5:"),
             "default_target_attribute": "class", "row_id_attribute": "row",
             "ignore_attribute": ["note"], **changes}
    listed = {"data": {"dataset": [{"did": 9, "version": 3}, {"did": 7, "version": 1}]}}
    api = "api/v1/json/data"
    return {f"{api}/list/data_name/flowers/status/active": json.dumps(listed).encode(),
            f"{api}/7": json.dumps({"data_set_description": about}).encode(),
            "data/v1/download/70": ARFF.encode()}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pooch")
    monkeypatch.setattr("lucidfn.data._openml.BASES", ())
    monkeypatch.setenv("NO_PROXY", "*")


def test_openml(tmp_path: Path, alone: None) -> None:
    with serving(openml_files()) as server:
        for _ in range(2):
            table = data.openml("flowers", folder=tmp_path, mirrors=[server.url], progress=False)
        assert len(server.requests) == 3
    assert table.features == ("petal width", "colour") and table.classes == ("yes", "no")
    assert table.x.dtype == np.float32 and table.y.tolist() == [0, 1, -1, 1]
    assert table.x[0].tolist() == [1.5, 0] and np.isnan(table.x[1, 0])
    # All of it is here now.
    other = data.openml("flowers", folder=tmp_path, download=False, target="petal width",
                        ignore=["colour"])
    assert other.features == ("class",) and other.classes == () and other.y.dtype == np.float32


def test_openml_faults(tmp_path: Path, alone: None) -> None:
    with serving(openml_files(ignore_attribute=None)) as server:
        options = {"mirrors": server.url, "progress": False}
        with pytest.raises(DataError, match="switched off"):
            data.openml("flowers", folder=tmp_path, download=False)
        with pytest.raises(DataError, match="could not be asked about 'trees'"):
            data.openml("trees", folder=tmp_path, **options)
        with pytest.raises(DataError, match=r"text or dates: \['note'\]; ignore="):
            data.openml("flowers", folder=tmp_path, **options)
        with pytest.raises(DataError, match="no column 'size' to predict"):
            data.openml("flowers", folder=tmp_path, target="size", **options)
        server.statuses.append(412)
        with pytest.raises(DataError, match="has no data set 'trees'"):
            data.openml("trees", folder=tmp_path, **options)
    with serving(openml_files(md5_checksum="0" * 32)) as server, \
            pytest.raises(DataError, match="does not have the checksum"):
        data.openml("flowers", folder=tmp_path / "other", mirrors=server.url, progress=False)
    assert not (tmp_path / "other" / "70.arff").exists()
