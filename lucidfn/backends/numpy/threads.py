"""The threads that run blocks of rows, and the number of threads of BLAS meanwhile.

The calling thread works too; the others wait for work. Part i of a phase is the same rows whichever
thread runs it, so that results do not depend on who was free.
"""

from __future__ import annotations

import functools
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lucidfn.backends.numpy.libraries import AFFIXES, linked, load
from lucidfn.config import settings
from lucidfn.core.trace import current, eval_trace

# ------------------------------------------------------------------ how many


def thread_count() -> int:
    """The number of threads that a program compiled here is made for."""
    return settings().num_threads or available_cores()


def available_cores() -> int:
    """The cores that this process may use: those of its affinity, but no more than its control
    group is allotted or OMP_NUM_THREADS says."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    limit = int(asked) if asked.isdigit() and int(asked) > 0 else cores
    return min(cores, limit, allotted_cores() or cores)


@functools.cache
def allotted_cores(root: str | os.PathLike[str] = "/sys/fs/cgroup") -> int | None:
    """The cores that the control group of a container grants; None if it sets no limit."""
    def words(*path: str) -> list[str]:
        with open(os.path.join(root, *path)) as file:
            return file.read().split()

    try:
        if os.path.exists(os.path.join(root, "cpu.max")):
            quota, period = words("cpu.max")[:2]
        else:
            (quota,), (period,) = [words("cpu", f"cpu.cfs_{name}_us")
                                   for name in ("quota", "period")]
        return max(1, math.ceil(int(quota) / int(period))) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no such files, or "max"
        return None


# ------------------------------------------------------------------ workers

class Worker:
    """A thread that serves an inbox. It waits for nothing else, so that it always comes back."""

    def __init__(self, number: int):
        self.inbox: Any = queue.SimpleQueue()
        self.working = False
        # A daemon: an idle worker does not keep the interpreter from ending.
        threading.Thread(target=self.serve, daemon=True, name=f"lucidfn worker {number}").start()

    def at_rest(self) -> bool:
        return not self.working and self.inbox.empty()

    def serve(self) -> None:
        """Do what comes in, for ever."""
        _here.is_worker = True
        current.set(eval_trace)
        np.seterr(all="ignore")  # of this thread only; kernels keep IEEE results
        while True:
            share, number, done = self.inbox.get()
            self.working = True
            share(number)
            del share  # it holds the operands, whose holders are counted before memory is reused
            self.working = False
            done.put(number)
            del done


_here = threading.local()
_workers: list[Worker] = []
_making = threading.RLock()  # a signal handler may come here again


def workers_at_rest(wanted: int) -> list[Worker]:
    """So many workers, started when first asked for; none if one of them is at work."""
    try:
        if len(_workers) < wanted:
            with _making:
                while len(_workers) < wanted:
                    _workers.append(Worker(len(_workers) + 1))
    except RuntimeError:  # no more threads: the system's limit, or the interpreter is ending
        return []
    found = _workers[:wanted]
    return found if all([w.at_rest() for w in found]) else []


def run_parts(work: Callable[[int], Any], parts: int) -> list[Any]:
    """work(0), ..., work(parts - 1) on as many threads, BLAS with one; their results in order.

    All parts run in the calling thread where the workers are busy (with a phase of another Python
    thread) or the caller is one of them: nobody waits for a thread that waits. The error of the
    lowest part is raised when all parts have ended.
    """
    mark = object()
    try:
        threads = min(parts, BLAS.hold(mark))
        if threads > 1 and not getattr(_here, "is_worker", False):
            workers = workers_at_rest(threads - 1)
            if workers:
                return spread(work, parts, workers)
        return [work(i) for i in range(parts)]
    finally:
        BLAS.holders.discard(mark)  # one step: what interrupts the next is made good later
        BLAS.settle()


def alone(function: Callable[..., Any], *args: Any) -> Any:
    """function(*args) with one thread of BLAS: a loop of small products, whose every step would
    wait for threads that the system may have given to somebody else."""
    mark = object()
    try:
        BLAS.hold(mark)
        return function(*args)
    finally:
        BLAS.holders.discard(mark)
        BLAS.settle()


def spread(work: Callable[[int], Any], parts: int, workers: list[Worker]) -> list[Any]:
    """The parts dealt out to the caller and the workers."""
    results: list[Any] = [None] * parts
    errors: dict[int, BaseException] = {}
    done: Any = queue.SimpleQueue()  # of this call alone: an interrupted one leaves nothing behind
    threads = len(workers) + 1

    def share(number: int) -> None:
        for i in range(number, parts, threads):
            try:
                results[i] = work(i)
            except BaseException as error:
                errors[i] = error
                return

    try:
        for number, worker in enumerate(workers, 1):
            worker.inbox.put((share, number, done))
        share(0)
        for _ in workers:
            done.get()
    except BaseException:  # an interrupt between the parts
        while not all(w.at_rest() for w in workers):
            time.sleep(1e-3)
        raise
    try:
        if errors:
            raise errors[min(errors)]
        return results
    finally:
        errors.clear()  # a traceback holds this frame: no cycle that keeps the operands alive


# ------------------------------------------------------------------ BLAS

Count = Callable[..., int]


class Blas:
    """The number of threads of the BLAS behind NumPy: one while somebody holds it.

    The number belongs to the process (the thread-local call of OpenBLAS sets it for all threads in
    builds without OpenMP), so holders are counted: the first saves the user's number, the last
    brings it back unless the user has set another meanwhile. Without `get` and `put` (Accelerate,
    which manages its threads itself, or a BLAS that is not known) nothing is set.
    """

    def __init__(self, get: Count | None = None, put: Count | None = None):
        self.get, self.put = get, put
        self.usual = get() if get else 1
        self.holders: set[object] = set()
        self.users: int | None = None  # the user's number, while somebody holds it
        self.lock = threading.RLock()

    def hold(self, mark: object) -> int:
        """One thread from now on. Returns how many threads the user allows: no limit, unless the
        number of BLAS is lower than when the library was imported (threadpoolctl)."""
        if self.get is None or self.put is None:
            return 1 << 30
        with self.lock:
            self.holders.add(mark)
            if self.users is None:
                self.users = self.get()
                if self.users != 1:
                    self.put(1)
            return self.users if self.users < self.usual else 1 << 30

    def settle(self) -> None:
        """Give the user's number back if nobody holds it any more."""
        if self.get is None or self.put is None:
            return
        with self.lock:
            if self.users is not None and not self.holders:
                if self.users != 1 and self.get() == 1:
                    self.put(self.users)
                self.users = None


def calls_of_blas() -> Iterator[tuple[str, str]]:
    """Names of the functions (get, set) of the libraries that have them."""
    for prefix, suffix in AFFIXES:
        name = f"{prefix}openblas_%s_num_threads{suffix}"
        yield name % "get", name % "set"
    yield "MKL_Get_Max_Threads", "MKL_Set_Num_Threads"
    yield "bli_thread_get_num_threads", "bli_thread_set_num_threads"


def find_blas() -> Blas:
    """The BLAS that NumPy was linked with, asked through the libraries that NumPy has loaded."""
    for library in load(linked()):
        for get, put in calls_of_blas():
            if hasattr(library, get) and hasattr(library, put):
                return Blas(getattr(library, get), getattr(library, put))
    return Blas()


BLAS = find_blas()


def forget() -> None:
    """In a forked child: the threads of the parent do not exist there, nor do those that held a
    lock let go of it."""
    global _making
    _workers.clear()
    _making = threading.RLock()
    BLAS.holders.clear()
    BLAS.lock = threading.RLock()
    BLAS.settle()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
