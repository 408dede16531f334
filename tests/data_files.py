"""For the tests of `lucidfn.data`: files in the published formats, and a server of files."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

IDX_TYPES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
MNIST_NAMES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
               "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


def idx_bytes(array: np.ndarray) -> bytes:
    kind = IDX_TYPES[array.dtype.str[1:]]
    header = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def mnist_arrays(train: int = 30, test: int = 12) -> list[np.ndarray]:
    """Images and labels for training, then for testing."""
    rng = np.random.default_rng(1)
    arrays = []
    for n in (train, test):
        arrays += [rng.integers(0, 256, (n, 28, 28), "u1"), rng.integers(0, 10, n, "u1")]
    return arrays


def mnist_files(train: int = 30, test: int = 12) -> dict[str, bytes]:
    arrays = mnist_arrays(train, test)
    return {name: gzip.compress(idx_bytes(a), mtime=0)
            for name, a in zip(MNIST_NAMES, arrays, strict=True)}


def cifar_records(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Images [N, 32, 32, 3] and labels [N, L] in the binary format, record after record."""
    out = b""
    for image, label in zip(images, labels, strict=True):
        out += bytes(label.tolist()) + b"".join(image[:, :, c].tobytes() for c in range(3))
    return out


def tar_gz(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def md5(content: bytes) -> str:
    return "md5:" + hashlib.md5(content).hexdigest()


@dataclass
class Server:
    """Serves `files` by path. `limits` are how many bytes each answer to come may have before the
    connection breaks; `requests` are (path, Range) of those that came."""

    files: dict[str, bytes]
    ranges: bool = True
    limits: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            server.requests.append((self.path, asked))
            content = server.files.get(self.path.lstrip("/"))
            status = 404 if content is None else 200
            status = server.statuses.pop(0) if server.statuses else status
            if content is None or status != 200:
                self.send_error(status)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if not server.ranges:
                start = 0
            elif asked and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/"
                                                  f"{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            limit = server.limits.pop(0) if server.limits else len(content)
            self.wfile.write(content[start:start + limit])

        def log_message(self, *args: object) -> None:
            pass

    return Handler


@contextmanager
def serving(files: dict[str, bytes], **options: object) -> Iterator[Server]:
    server = Server(files, **options)  # type: ignore[arg-type]
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(server))
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=lambda: http.serve_forever(poll_interval=0.02))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
