"""Downloads: whatever goes wrong is said clearly, and the folder never holds half a file."""

from __future__ import annotations

import contextlib
import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data_files import Server, md5, mnist_arrays, mnist_files, serving, sha256

from lucidfn import data
from lucidfn.data import DataError, _fetch, _images
from lucidfn.data._fetch import Remote

pytest.importorskip("pooch")
CONTENT = bytes(range(256)) * 4000  # several blocks


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUCIDFN_DATA", str(tmp_path / "cache"))
    monkeypatch.delenv("LUCIDFN_OFFLINE", raising=False)
    # Nothing here may leave this machine.
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({"file.bin": CONTENT}) as running:
        yield running


def get(server: Server, folder: Path, **options: object) -> Path:
    options = {"checksum": sha256(CONTENT), "progress": False, **options}
    return data.fetch(f"{server.url}/file.bin", "file.bin", folder=folder, **options)


def held(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.is_dir() else {}


# ------------------------------------------------------------------ what works

def test_downloads_once(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path / "a").read_bytes() == CONTENT
    assert get(server, tmp_path / "a") == tmp_path / "a" / "file.bin"
    assert len(server.requests) == 1
    assert set(held(tmp_path / "a")) == {"file.bin"}


def test_md5_and_default_folder(server: Server, tmp_path: Path) -> None:
    path = data.fetch(f"{server.url}/file.bin", "file.bin", md5(CONTENT), progress=False)
    assert path == tmp_path / "cache" / "file.bin"


def test_progress_bar(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("tqdm")
    get(server, tmp_path, progress=True)
    assert "100%" in capsys.readouterr().err


def test_no_progress_bar(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    get(server, tmp_path)
    assert capsys.readouterr().err == ""


def test_a_file_with_another_checksum_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(b"old")
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_mirrors_are_tried_in_turn(server: Server, tmp_path: Path) -> None:
    urls = ["htp://typing.error", "no url", f"{server.url}/missing", "http://127.0.0.1:9/file.bin",
            f"{server.url}/file.bin"]
    path = data.fetch(urls, "file.bin", sha256(CONTENT), tmp_path, progress=False)
    assert path.read_bytes() == CONTENT


# ------------------------------------------------------------------ what goes wrong

def test_not_found(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="answered 404") as error:
        data.fetch(f"{server.url}/nothing", "x", sha256(b""), tmp_path, progress=False)
    assert f"{server.url}/nothing" in str(error.value)
    assert "x" not in held(tmp_path)


def test_server_error_then_success(server: Server, tmp_path: Path) -> None:
    server.statuses.append(503)
    with pytest.raises(DataError, match="answered 503"):
        get(server, tmp_path)
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ConnectionError"):
        data.fetch("http://127.0.0.1:9/x", "x", sha256(b""), tmp_path, progress=False)
    assert "x" not in held(tmp_path)


def test_wrong_checksum(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not have the checksum"):
        get(server, tmp_path, checksum=sha256(b"another"))
    assert held(tmp_path) == {}


def test_wrong_checksum_keeps_what_was_there(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(b"mine")
    with pytest.raises(DataError):
        get(server, tmp_path, checksum=sha256(b"another"))
    assert held(tmp_path) == {"file.bin": b"mine"}


def test_interrupted_and_resumed(server: Server, tmp_path: Path) -> None:
    server.limits.append(300_000)
    with pytest.raises(DataError, match=r"broke off after \d+ of 1024000 bytes"):
        get(server, tmp_path)
    [part] = held(tmp_path).values()
    assert CONTENT.startswith(part) and 200_000 < len(part) <= 300_000
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ("/file.bin", f"bytes={len(part)}-")
    assert set(held(tmp_path)) == {"file.bin"}


def test_a_mirror_continues_what_another_began(server: Server, tmp_path: Path) -> None:
    server.limits.append(300_000)
    urls = [f"{server.url}/file.bin"] * 2
    path = data.fetch(urls, "file.bin", sha256(CONTENT), tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    [first, second] = [asked for _, asked in server.requests]
    assert first is None and second is not None and int(second[6:-1]) > 200_000


def test_resuming_where_the_server_cannot(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    assert get(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * len(CONTENT), b"x" * 2 * len(CONTENT)])
def test_a_part_of_another_file(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "file.bin.part").write_bytes(part)
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert set(held(tmp_path)) == {"file.bin"}


def test_interrupted_again_and_again(server: Server, tmp_path: Path) -> None:
    limits = np.random.default_rng(0).integers(0, 250_000, 30).tolist()
    server.limits.extend(limits)
    for _ in limits:
        with contextlib.suppress(DataError):
            get(server, tmp_path)
            break
        assert set(held(tmp_path)) == {"file.bin.part"}
        assert CONTENT.startswith(held(tmp_path)["file.bin.part"])
    assert held(tmp_path) == {"file.bin": CONTENT}
    assert len(server.requests) > 4


def test_a_file_that_the_server_calls_compressed(server: Server, tmp_path: Path) -> None:
    packed = gzip.compress(CONTENT)
    server.files["file.bin"] = packed
    server.headers["Content-Encoding"] = "gzip"
    assert get(server, tmp_path, checksum=sha256(packed)).read_bytes() == packed


def test_no_room_on_the_disk(server: Server, tmp_path: Path,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lucidfn.data._fetch.os.fsync", full)
    with pytest.raises(DataError, match="No space left"):
        get(server, tmp_path)
    assert "file.bin" not in held(tmp_path)


def test_two_downloads_at_once(server: Server, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with open(tmp_path / "file.bin.part", "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b"theirs")
        other.flush()
        assert get(server, tmp_path).read_bytes() == CONTENT
        assert held(tmp_path)["file.bin.part"] == b"theirs"


def test_killed_at_any_moment(server: Server, tmp_path: Path) -> None:
    """However often the process dies, only the whole file ever has its name."""
    code = ("import os, sys; from lucidfn.data import _fetch\n"
            "def update(self, n, left=[int(sys.argv[3])]):\n"
            "    left[0] -= 1\n"
            "    if not left[0]: os._exit(9)\n"
            "_fetch._Silent.update = update\n"
            "_fetch.fetch(sys.argv[1], 'file.bin', sys.argv[2], sys.argv[4], progress=False)\n")
    for blocks in (1, 2):
        command = [sys.executable, "-c", code, f"{server.url}/file.bin", sha256(CONTENT),
                   str(blocks), str(tmp_path)]
        ran = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=100,
                             cwd=Path(__file__).parents[1], capture_output=True, text=True)
        assert ran.returncode == 9, ran.stderr
        assert not (tmp_path / "file.bin").exists()
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_offline(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="is not there, and downloads are switched off"):
        get(server, tmp_path, offline=True)
    monkeypatch.setenv("LUCIDFN_OFFLINE", "1")
    with pytest.raises(DataError, match="switched off"):
        get(server, tmp_path)
    assert server.requests == []
    (tmp_path / "file.bin").write_bytes(CONTENT)
    assert get(server, tmp_path).read_bytes() == CONTENT
    (tmp_path / "file.bin").write_bytes(b"damaged")
    with pytest.raises(DataError, match="its checksum is wrong"):
        get(server, tmp_path)


def test_arguments(tmp_path: Path) -> None:
    for checksum in ("", "abc", "md5:12", "crc:" + "0" * 32, "sha256:" + "g" * 64):
        with pytest.raises(ValueError, match="checksum"):
            data.fetch("http://127.0.0.1:9/x", "x", checksum, tmp_path)
    for name in ("", "../x", "a/b"):
        with pytest.raises(ValueError, match="name"):
            data.fetch("http://127.0.0.1:9/x", name, sha256(b""), tmp_path)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataError, match=r"needs pooch: pip install 'lucidfn\[data\]'"):
        data.fetch("http://127.0.0.1:9/x", "x", sha256(b""), tmp_path)
    monkeypatch.delenv("LUCIDFN_DATA")
    with pytest.raises(DataError, match="LUCIDFN_DATA"):
        data.cache_folder()


# ------------------------------------------------------------------ a whole data set

@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A small MNIST, published on this machine."""
    files = mnist_files()
    with serving(files) as running:
        remotes = tuple(Remote(n, sha256(c), ("http://127.0.0.1:9",)) for n, c in files.items())
        monkeypatch.setitem(_images.REMOTES, "mnist", remotes)
        yield running


def test_mnist_from_a_mirror(published: Server, tmp_path: Path) -> None:
    train, test = data.mnist(mirrors=[published.url + "/"], progress=False)
    arrays = mnist_arrays()
    assert (train.x[..., 0] == arrays[0]).all()
    assert (test.y == arrays[3]).all()
    assert len(published.requests) == 4
    data.mnist(download=False)
    assert len(published.requests) == 4
    assert len(held(tmp_path / "cache" / "mnist")) == 4


def test_mnist_offline(published: Server) -> None:
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz is not there"):
        data.mnist(mirrors=published.url, download=False)
    assert published.requests == []


def test_mnist_into_a_folder(published: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="download=True"):
        data.mnist(tmp_path / "mine", mirrors=published.url)
    data.mnist(tmp_path / "mine", mirrors=published.url, download=True, progress=False)
    assert len(data.mnist(tmp_path / "mine").train.x) == 30


def test_mapped_cache(published: Server, tmp_path: Path) -> None:
    kwargs = {"mirrors": published.url, "progress": False, "mmap": True}
    train, _ = data.mnist(normalize=True, **kwargs)
    assert isinstance(train.x, np.memmap) and not train.x.flags.writeable
    assert (train.x == data.mnist(normalize=True).train.x).all()
    [decoded] = (tmp_path / "cache" / "mnist" / "decoded").iterdir()
    before = (decoded / "train_x.npy").stat().st_mtime_ns
    data.mnist(normalize=True, **kwargs)
    assert (decoded / "train_x.npy").stat().st_mtime_ns == before
    del train
    # A damaged cache is made again.
    whole = (decoded / "train_x.npy").read_bytes()
    for damaged in (whole[:1000], b"", b"x" * 100):
        (decoded / "train_x.npy").write_bytes(damaged)
        again, _ = data.mnist(normalize=True, **kwargs)
        assert (again.x == data.mnist(normalize=True).train.x).all()
        del again
    assert [p.name for p in decoded.parent.iterdir()] == [decoded.name]


def test_mapped_cache_interrupted(published: Server, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    data.mnist(mirrors=published.url, progress=False)

    def full(*args: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("lucidfn.data._cache.os.fsync", full)
        with pytest.raises(OSError, match="no space left"):
            data.mnist(mmap=True)
    assert list((tmp_path / "cache" / "mnist" / "decoded").iterdir()) == []
    assert len(data.mnist(mmap=True).test.x) == 12


def test_published_checksums_are_well_formed() -> None:
    for name, remotes in _images.REMOTES.items():
        for remote in remotes:
            assert _fetch.hashlib.new(remote.checksum.partition(":")[0])
            assert len(remote.checksum) in (4 + 32, 7 + 64), name
            assert all(url.startswith(("https://", "http://fashion-mnist.s3"))
                       for url in remote.urls())
