"""Downloads that end as a whole, verified file or as an error: `fetch`, and where files are kept.

`pooch` checks what is there already, writes beside the destination and renames a file only when
its checksum is right. What is added here: a download that broke off continues where it stopped,
sources are tried in turn, and every fault is a `DataError` that says what to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from lucidfn.errors import LucidError

try:
    import fcntl
except ImportError:  # Windows: two downloads of one file at once do not resume each other's part
    fcntl = None  # type: ignore[assignment]

BLOCK = 1 << 16
OFFLINE = "LUCIDFN_OFFLINE"
FOLDER = "LUCIDFN_DATA"


class DataError(LucidError):
    """A data set could not be had: the download failed, or a file is not what it should be."""


class Remote(NamedTuple):
    """A published file: its name, its checksum ("md5:..." or "sha256:..."), and base URLs."""

    name: str
    checksum: str
    bases: tuple[str, ...]

    def urls(self, mirrors: Sequence[str] = ()) -> list[str]:
        if isinstance(mirrors, str):
            mirrors = (mirrors,)
        return [f"{base.rstrip('/')}/{self.name}" for base in (*mirrors, *self.bases)]


def extra(module: str, what: str) -> DataError:
    """The error for a module of the optional extra that is not installed."""
    return DataError(f"{what} needs {module}: pip install 'lucidfn[data]'")


def cache_folder() -> Path:
    """Where downloads are kept: $LUCIDFN_DATA, or the user's cache folder of the system.

    Raises DataError where neither the variable nor `pooch`, which knows that folder, is there.
    """
    if os.environ.get(FOLDER):
        return Path(os.environ[FOLDER]).expanduser()
    try:
        import pooch
    except ImportError:
        raise extra("pooch", "finding the cache folder (or set LUCIDFN_DATA)") from None
    return Path(pooch.os_cache("lucidfn"))


def is_offline(offline: bool | None) -> bool:
    """The switch; where it is None, the environment variable LUCIDFN_OFFLINE."""
    if offline is None:
        return os.environ.get(OFFLINE, "").lower() not in ("", "0", "false", "no")
    return offline


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether the file is there and has the checksum "md5:..." or "sha256:..."."""
    method, _, digest = checksum.partition(":")
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(method, usedforsecurity=False))
    return found.hexdigest() == digest.lower()


def fetch(urls: str | Sequence[str], name: str, checksum: str,
          folder: str | os.PathLike[str] | None = None, *, offline: bool | None = None,
          progress: bool = True, timeout: float = 30.0) -> Path:
    """The path of the file `name` in a folder, downloaded where it is not there yet.

    `checksum` is "md5:..." or "sha256:..."; a file that has it is never downloaded again, and none
    that lacks it is ever left under `name`. URLs are tried in turn. What arrives is kept in
    `name.part` until it is whole, so that the next call continues a download that broke off.
    `folder` is `cache_folder()` by default. `offline=True`, or LUCIDFN_OFFLINE=1 in the
    environment, never connects. `progress` shows a bar where `tqdm` is installed; `timeout` is how
    many seconds a server may be silent. Raises DataError, ValueError for a malformed checksum.
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    method, _, digest = checksum.partition(":")
    lengths = {"md5": 32, "sha256": 64}
    if len(digest) != lengths.get(method) or set(digest.lower()) - set("0123456789abcdef"):
        raise ValueError(f"fetch got the checksum {checksum!r}, expected 'sha256:' and 64 "
                         "hexadecimal digits, or 'md5:' and 32")
    if not name or Path(name).name != name:
        raise ValueError(f"fetch got name={name!r}, expected the name of a file, without folders")
    folder = cache_folder() if folder is None else Path(folder)
    path = folder / name
    if has_checksum(path, checksum):
        return path
    if is_offline(offline):
        what = "is there, but its checksum is wrong" if path.exists() else "is not there"
        raise DataError(f"{path} {what}, and downloads are switched off (offline=True, "
                        f"download=False or {OFFLINE}); put the file there (from "
                        f"{', '.join(urls)}), or allow the download")
    return _first_that_works(urls, path, checksum, progress, timeout)


def _first_that_works(urls: Sequence[str], path: Path, checksum: str, progress: bool,
                      timeout: float) -> Path:
    try:
        import pooch  # noqa: F401
        import requests
    except ImportError:
        raise extra("pooch", f"downloading {path.name}") from None
    failures = []
    for url in urls:
        download = Download(path.with_name(path.name + ".part"), progress, timeout)
        try:
            try:
                return _retrieve(url, path, checksum, download)
            except ValueError:
                # The beginning may have been another file's: once more, from the start.
                if not download.resumed:
                    raise
                return _retrieve(url, path, checksum, download)
        except (requests.RequestException, DataError, OSError) as error:
            failures.append(f"{url}: {_reason(error)}")
        except ValueError as error:
            if "hash" not in str(error).lower():
                raise
            failures.append(f"{url}: what arrived does not have the checksum {checksum}; the file "
                            "there is another one or damaged, and was thrown away")
    lines = "\n  ".join(failures) or "no URL was given"
    raise DataError(f"{path.name} could not be downloaded to {path.parent}:\n  {lines}\n"
                    "Calling again continues a download that broke off; mirrors=[url] tries "
                    "other servers first, and a file put into the folder by hand is used.")


def _retrieve(url: str, path: Path, checksum: str, download: Download) -> Path:
    import pooch

    log = pooch.get_logger()
    level = log.level
    log.setLevel("WARNING")  # the bar, or silence, in place of a line for each file
    try:
        pooch.retrieve(url, checksum, path.name, path.parent, downloader=download)
    finally:
        log.setLevel(level)
    return path


def _reason(error: Exception) -> str:
    """One line of an error, without the objects that its text quotes."""
    text = str(error).splitlines()[0] if str(error) else ""
    if isinstance(error, DataError):
        return text
    return f"{type(error).__name__}: {text[:300]}"


class Download:
    """A downloader for `pooch` that continues from what a part file holds already."""

    def __init__(self, part: Path, progress: bool, timeout: float):
        self.part, self.progress, self.timeout = part, progress, timeout
        self.resumed = False

    def __call__(self, url: str, output: str, pooch: Any) -> None:
        with open(self.part, "ab") as file:
            if not _locked(file):
                # Another process is writing the part: leave it alone.
                with open(output, "wb") as own:
                    return self.receive(url, own, output)
            self.receive(url, file, self.part.name)
            file.flush()
            os.fsync(file.fileno())
        shutil.move(self.part, output)

    def receive(self, url: str, file: IO[bytes], name: str) -> None:
        """Append the rest of the URL's content to the file; DataError where it breaks off."""
        self.resumed = False
        with contextlib.ExitStack() as stack:
            answer = self.ask(url, file.tell())
            if answer.status_code == 416:  # the part is no beginning of this file
                answer.close()
                file.truncate(0)
                answer = self.ask(url, 0)
            stack.enter_context(answer)
            if answer.status_code not in (200, 206):
                raise DataError(f"the server answered {answer.status_code} {answer.reason}")
            done = self.begin(answer, file)
            rest = answer.headers.get("Content-Length", "")
            total = done + int(rest) if rest.isdecimal() else None
            bar = stack.enter_context(_bar(self.progress, url.rpartition("/")[2], done, total))
            for block in _blocks(answer, lambda: _bytes(done, total)):
                file.write(block)
                done += len(block)
                bar.update(len(block))
        if total is not None and done != total:
            raise DataError(f"the connection broke off after {_bytes(done, total)}")

    def ask(self, url: str, start: int) -> Any:
        import requests

        # As it is: a server that compressed the file on its way would change offsets.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        return requests.get(url, headers=headers, stream=True, timeout=self.timeout)

    def begin(self, answer: Any, file: IO[bytes]) -> int:
        """Bytes that stay in the file: what it holds if the answer continues it, else none."""
        start = file.tell()
        given = answer.headers.get("Content-Range", "")
        if answer.status_code == 206 and given.startswith(f"bytes {start}-"):
            self.resumed = start > 0
            return start
        if answer.status_code == 206:
            raise DataError(f"the server was asked for bytes from {start} on and sent {given!r}")
        file.truncate(0)
        file.seek(0)
        return 0


def _blocks(answer: Any, so_far: Callable[[], str]) -> Iterator[bytes]:
    """The content as it is sent, also where the server calls a .gz file a compressed answer."""
    while True:
        try:
            block = answer.raw.read(BLOCK, decode_content=False)
        except Exception as error:  # of requests, urllib3, ssl or the socket
            raise DataError(f"the connection broke off after {so_far()} "
                            f"({type(error).__name__})") from error
        if not block:
            return
        yield block


def _locked(file: IO[bytes]) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _bytes(done: int, total: int | None) -> str:
    return f"{done} of {total} bytes" if total is not None else f"{done} bytes"


class _Silent:
    """A progress bar that shows nothing."""

    def update(self, n: int) -> None:
        pass


@contextlib.contextmanager
def _bar(shown: bool, name: str, done: int, total: int | None) -> Iterator[Any]:
    try:
        from tqdm import tqdm
    except ImportError:
        shown = False
    if not shown:
        yield _Silent()
        return
    with tqdm(total=total, initial=done, desc=name, unit="B", unit_scale=True,
              unit_divisor=1024) as bar:
        yield bar
