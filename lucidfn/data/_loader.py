"""`Loader`: the next batches are made in a background thread while the current one is used."""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from lucidfn.backends.devices import find_backend
from lucidfn.device import device_put


class Loader:
    """Iterates over a source of batches that a background thread keeps `prefetch` ahead.

        for x, y in Loader(batches(key, (images, labels), 128)):
            ...

    The batches and their order are those of the source. `device="gpu"` puts the arrays of each
    batch on a device, in the thread; without a device they stay what they are. An exception of the
    source is raised in the loop, after the batches before it. A loop that is left early, `close()`
    and the end of a `with` block stop the thread; what was made ahead is dropped. A source that is
    no iterator (a list, an object with `__iter__`) can be looped over again.
    """

    def __init__(self, source: Iterable[Any], *, prefetch: int = 2, device: Any = None):
        if isinstance(prefetch, bool) or not isinstance(prefetch, int) or prefetch < 1:
            raise ValueError(f"Loader got prefetch={prefetch!r}, expected how many batches to make "
                             "ahead, at least 1")
        if device is not None:
            device = find_backend(device).device
        if not isinstance(source, Iterable):
            hint = "; call it first" if callable(source) else ""
            raise TypeError(f"Loader got {type(source).__name__}, expected something to iterate "
                            f"over, such as batches(key, arrays, size){hint}")
        self.source, self.prefetch, self.device = source, prefetch, device
        self.used = self.closed = False
        self.running: weakref.WeakSet[Prefetched] = weakref.WeakSet()

    def __iter__(self) -> Iterator[Any]:
        if self.closed:
            raise RuntimeError("this Loader was closed; make a new one")
        iterator = iter(self.source)
        if iterator is self.source and self.used:
            raise RuntimeError("this Loader's source is an iterator, and a loop has used it "
                               "already: make a new one for each epoch, or pass "
                               "batches(..., epochs=)")
        self.used = True
        prefetched = Prefetched(iterator, self.prefetch, self.device)
        self.running.add(prefetched)
        return prefetched

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type]

    def close(self) -> None:
        """Stop the threads of all loops, and wait until they have ended."""
        self.closed = True
        for iterator in list(self.running):
            iterator.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


class Prefetched(Iterator[Any]):
    """One loop of a Loader. Its thread knows the channel only, so that dropping this ends both."""

    def __init__(self, source: Iterator[Any], prefetch: int, device: str | None):
        self.channel = Channel(prefetch)
        # Settings made by `with` hold in the thread too.
        run = contextvars.copy_context().run
        self.thread = threading.Thread(target=run, args=(_produce, source, self.channel, device),
                                       name="lucidfn-loader", daemon=True)
        weakref.finalize(self, self.channel.close)
        self.thread.start()

    def __next__(self) -> Any:
        kind, value = self.channel.get()
        if kind == ITEM:
            return value
        if kind == ERROR:
            try:
                raise value
            finally:
                del value  # its traceback holds this frame
        raise StopIteration

    def close(self) -> None:
        """Stop the thread and wait for the batch it is making; nothing more comes."""
        self.channel.close()
        if threading.current_thread() is not self.thread:
            self.thread.join()


ITEM, ERROR, END = "item", "error", "end"


class Channel:
    """A bounded queue that either side can end."""

    def __init__(self, size: int):
        self.size = size
        self.entries: deque[tuple[str, Any]] = deque()
        # Reentrant: a collection of garbage may close the channel in a thread that is within it.
        self.changed = threading.Condition(threading.RLock())
        self.closed = False

    def put(self, kind: str, value: Any = None) -> bool:
        """Wait for room; False if nobody listens any more."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or len(self.entries) < self.size)
            if not self.closed:
                self.entries.append((kind, value))
                self.changed.notify_all()
            return not self.closed

    def get(self) -> tuple[str, Any]:
        with self.changed:
            self.changed.wait_for(lambda: self.closed or self.entries)
            if self.closed:
                return END, None
            entry = self.entries.popleft()
            if entry[0] != ITEM:  # the last one: whoever asks again is told that it ended
                self.closed = True
            self.changed.notify_all()
            return entry

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.entries.clear()
            self.changed.notify_all()


def _produce(source: Iterator[Any], channel: Channel, device: str | None) -> None:
    """The thread: everything from the source into the channel, then how it ended."""
    try:
        for item in source:
            if not channel.put(ITEM, item if device is None else device_put(item, device)):
                break
    except BaseException as error:  # noqa: BLE001 - the consumer's to see, whatever it is
        channel.put(ERROR, error)
    else:
        channel.put(END)
    finally:
        # A generator's own `finally` blocks run here and not whenever it is collected.
        if hasattr(source, "close"):
            source.close()
