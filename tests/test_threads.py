"""Threads: how many, who runs what, the threads of BLAS meanwhile, and the faults to survive."""

from __future__ import annotations

import contextvars
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from small_blocks import set_small

import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.backends.numpy import loops, threads
from lucidfn.backends.numpy.libraries import load
from lucidfn.config import threads_of_environment
from lucidfn.errors import DonatedArrayError
from lucidfn.nn.functional import cross_entropy

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
TIMEOUT = 60  # seconds after which a test that hangs fails


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows for programs of any size, on three threads."""
    set_small(monkeypatch)
    monkeypatch.setattr(loops, "MOST", 4)
    with lf.config.override(num_threads=3):
        yield


@pytest.fixture
def no_signals_left():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


class Number:
    """A BLAS that only has a number of threads."""

    def __init__(self, value):
        self.value = self.most = value

    def blas(self):
        return threads.Blas(lambda: self.value, self.put)

    def put(self, value):
        self.value = value


@pytest.fixture
def number(monkeypatch):
    found = Number(8)
    monkeypatch.setattr(threads, "BLAS", found.blas())
    return found


hook = {}  # what the kernel of `probe` does: a function of the block
probe = lf.extend.elementwise("probe_of_threads", lambda x: hook["do"](x),
                              jvp=[lambda t, y, x: t])


@pytest.fixture
def do():
    """Sets what `probe` does in the next calls: the identity, and whatever the test is after."""
    def set_hook(f=None):
        hook["do"] = (lambda x: x + 0) if f is None else lambda x: (f(x), x + 0)[1]
    set_hook()
    yield set_hook
    hook.clear()


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def in_threads(*functions):
    """Run functions in threads of their own, under the settings of this one; their results."""
    results, failed = [None] * len(functions), []

    def call(i, f):
        try:
            results[i] = f()
        except BaseException as error:
            failed.append(error)

    started = [threading.Thread(target=contextvars.copy_context().run, args=(call, i, f),
                                daemon=True) for i, f in enumerate(functions)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(TIMEOUT)
        assert not thread.is_alive(), "deadlock"
    if failed:
        raise failed[0]
    return results


def wait_for(event):
    assert event.wait(TIMEOUT)


# ------------------------------------------------------------------ how many

def test_setting():
    assert lf.config.num_threads == int(os.environ.get("LUCIDFN_NUM_THREADS", 0))
    with lf.config.override(num_threads=5):
        assert threads.thread_count() == 5
    with lf.config.override(num_threads=0):
        assert threads.thread_count() == threads.available_cores()
    with pytest.raises(ValueError, match="num_threads must be 1 or more, or 0 .* got -1"):
        lf.config.num_threads = -1
    for wrong in (2.0, "2", True, None):
        with pytest.raises(TypeError, match="num_threads must be int, got"):
            lf.config.num_threads = wrong


def test_setting_of_the_environment(monkeypatch):
    monkeypatch.setenv("LUCIDFN_NUM_THREADS", " 3 ")
    assert threads_of_environment() == 3
    for wrong in ("-1", "two", "1.5", "²"):
        monkeypatch.setenv("LUCIDFN_NUM_THREADS", wrong)
        with pytest.raises(ValueError, match="LUCIDFN_NUM_THREADS must be a number of threads"):
            threads_of_environment()
    monkeypatch.setenv("LUCIDFN_NUM_THREADS", "")
    assert threads_of_environment() == 0


def test_available_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(threads, "allotted_cores", lambda: None)
    for text, cores in {"": 6, "4": 4, "4,2": 4, "64": 6, "0": 6, "many": 6}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert threads.available_cores() == cores
    monkeypatch.setattr(threads, "allotted_cores", lambda: 2)
    assert threads.available_cores() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setattr(threads, "allotted_cores", lambda: None)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert threads.available_cores() == 3


def test_allotted_cores(tmp_path):
    allotted = threads.allotted_cores.__wrapped__
    assert allotted(tmp_path) is None
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert allotted(tmp_path) is None
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("250000\n")
    assert allotted(tmp_path) == 3
    for text, cores in {"max 100000\n": None, "150000 100000": 2, "1000 100000": 1}.items():
        (tmp_path / "cpu.max").write_text(text)
        assert allotted(tmp_path) == cores


def test_count_is_part_of_the_key(small_blocks):
    f = lf.jit(lambda x: lnp.tanh(x) * 2.0)
    x = lnp.asarray(numbers(12, 5))
    sources = []
    for n in (1, 3):
        with lf.config.override(num_threads=n):
            sources.append(f.source(x))
    assert ", 1, 1, a" in sources[0]
    assert ", 3, 1, a" in sources[1]


# ------------------------------------------------------------------ parts

def test_parts_in_order_each_on_its_thread():
    names = [None] * 4
    barrier = threading.Barrier(4)

    def work(i):
        barrier.wait(TIMEOUT)  # all four at once
        names[i] = threading.current_thread().name
        return i * i

    for _ in range(3):
        assert threads.run_parts(work, 4) == [0, 1, 4, 9]
        assert names[0] == threading.current_thread().name
        assert names[1:] == ["lucidfn worker 1", "lucidfn worker 2", "lucidfn worker 3"]
    assert all(w.at_rest() for w in threads._workers)


def test_parts_within_parts():
    def work(i):
        return threads.run_parts(lambda j: 10 * i + j, 3)
    assert threads.run_parts(work, 3) == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]


def test_second_caller_does_not_wait():
    """While one thread has the workers, the parts of another run in its own thread."""
    begun, go_on = threading.Event(), threading.Event()

    def long(i):
        begun.set()
        wait_for(go_on)
        return i

    def short():
        wait_for(begun)
        here = threading.get_ident()
        try:
            assert threads.run_parts(lambda i: threading.get_ident(), 2) == [here, here]
        finally:
            go_on.set()

    assert in_threads(lambda: threads.run_parts(long, 2), short)[0] == [0, 1]


def test_no_thread_can_be_started(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")
    monkeypatch.setattr(threads, "_workers", [])
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert threads.run_parts(lambda i: i, 3) == [0, 1, 2]
    assert threads._workers == []


def test_error_of_the_lowest_part():
    def work(i):
        if i:
            raise ValueError(f"part {i}")
    for _ in range(5):
        with pytest.raises(ValueError, match="part 1"):
            threads.run_parts(work, 4)
    assert threads.run_parts(lambda i: i, 4) == [0, 1, 2, 3]


def test_interrupt_between_parts(monkeypatch):
    """The caller is interrupted while it waits: the workers come to rest, and can be used."""
    class Queue:
        def __init__(self):
            self.items = []

        def put(self, item):
            self.items.append(item)

        def get(self):
            raise KeyboardInterrupt

    threads.run_parts(lambda i: i, 3)
    ended = []
    with monkeypatch.context() as patch:
        patch.setattr(threads.queue, "SimpleQueue", Queue)
        with pytest.raises(KeyboardInterrupt):
            threads.run_parts(ended.append, 3)
    assert sorted(ended) == [0, 1, 2]
    assert threads.run_parts(lambda i: i, 3) == [0, 1, 2]


def test_nothing_is_held_afterwards():
    """Neither workers nor tracebacks keep operands: memory is reused by who still holds it."""
    gc.collect()
    gc.disable()
    try:
        for fails in (False, True):
            operand = np.zeros(3)
            gone = weakref.ref(operand)

            def work(i, operand=operand, fails=fails):
                if fails:
                    raise ValueError(operand)

            holders = sys.getrefcount(operand)
            try:
                threads.run_parts(work, 3)
                assert sys.getrefcount(operand) == holders
            except ValueError:
                assert fails
            del operand, work
            assert gone() is None
    finally:
        gc.enable()


# ------------------------------------------------------------------ BLAS

def test_one_thread_in_blas_while_parts_run(number):
    assert threads.run_parts(lambda i: number.value, 3) == [1, 1, 1]
    assert number.value == 8
    assert threads.run_parts(lambda i: threads.run_parts(lambda j: number.value, 2), 2) == \
        [[1, 1], [1, 1]]
    assert number.value == 8

    def fail(i):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        threads.run_parts(fail, 2)
    assert number.value == 8


def test_blas_of_two_callers(number):
    """The first to end does not give the other many threads; the last brings the number back."""
    begun, go_on = threading.Event(), threading.Event()

    def long(i):
        begun.set()
        wait_for(go_on)
        return number.value

    def short():
        wait_for(begun)
        try:
            seen = threads.run_parts(lambda i: number.value, 2)
            return [*seen, number.value]
        finally:
            go_on.set()

    assert in_threads(lambda: threads.run_parts(long, 2), short) == [[1, 1], [1, 1, 1]]
    assert number.value == 8


def test_blas_number_set_meanwhile_stays(number):
    threads.run_parts(lambda i: number.put(4), 2)
    assert number.value == 4


def test_interrupted_release_is_made_good(number, monkeypatch):
    """An interrupt in the last step leaves one thread; the next phase brings the number back."""
    settle = threads.BLAS.settle

    def interrupted():
        raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(threads.BLAS, "settle", interrupted)
        with pytest.raises(KeyboardInterrupt):
            threads.run_parts(lambda i: i, 2)
    assert number.value == 1
    assert threads.BLAS.settle == settle
    threads.run_parts(lambda i: i, 2)
    assert number.value == 8


def test_limit_of_the_user_holds_for_the_team(number):
    """A number of BLAS threads lower than at the start is a limit: threadpoolctl sets it."""
    number.value = 1
    here = threading.get_ident()
    assert threads.run_parts(lambda i: threading.get_ident(), 3) == [here] * 3
    number.value = 2
    found = threads.run_parts(lambda i: threading.get_ident(), 4)
    assert found[0] == found[2] == here != found[1] == found[3]
    assert number.value == 2


@pytest.mark.parametrize("blas", [threads.Blas(), threads.Blas(lambda: 1, lambda n: None)],
                         ids=["none", "one thread"])
def test_other_blas(blas, monkeypatch, small_blocks):
    monkeypatch.setattr(threads, "BLAS", blas)
    x, w = numbers(12, 5), numbers(5, 4)
    f = lf.jit(lambda x, w: lnp.tanh(x @ w))
    np.testing.assert_allclose(f(x, w), np.tanh(x @ w), rtol=1e-5)
    assert len(set(threads.run_parts(lambda i: threading.get_ident(), 2))) == 2


def test_no_blas_is_found(monkeypatch):
    monkeypatch.setattr(threads, "calls_of_blas", lambda: [("no_such_get", "no_such_set")])
    blas = threads.find_blas()
    assert blas.get is blas.put is None
    assert blas.hold(object()) > 1 << 20

    def refuse(path):
        raise OSError(path)
    monkeypatch.setattr(threads, "load", lambda paths: load(paths, refuse))
    assert threads.find_blas().get is None


@pytest.mark.skipif(threads.BLAS.get is None, reason="this BLAS has no number that can be set")
def test_number_of_the_blas_here():
    blas = threads.BLAS
    before = blas.get()
    try:
        blas.put(2)
        assert threads.run_parts(lambda i: blas.get(), 2) == [1, 1]
        assert blas.get() == 2
    finally:
        blas.put(before)


@pytest.mark.skipif(threads.BLAS.get is None, reason="this BLAS has no number that can be set")
def test_threadpoolctl(monkeypatch, small_blocks, do):
    limits = pytest.importorskip("threadpoolctl").threadpool_limits
    blas, used = threads.BLAS, set()
    before = blas.get()
    monkeypatch.setattr(blas, "usual", 2)
    f, x = lf.jit(lambda x: probe(x) * 2.0), lnp.ones((12, 5))
    do(lambda block: used.add(threading.get_ident()))
    try:
        blas.put(2)
        f(x)
        assert len(used) == 3
        used.clear()
        with limits(1, user_api="blas"):
            f(x)
            assert blas.get() == 1
        assert used == {threading.get_ident()}
        assert blas.get() == 2
    finally:
        blas.put(before)


# ------------------------------------------------------------------ results

def train(w, x):
    def loss(w):
        return lnp.mean(lnp.tanh(x @ w) ** 2)
    value, slope = lf.value_and_grad(loss)(w)
    return value, w - 0.1 * slope


def test_same_bits_whoever_runs_the_parts(small_blocks):
    x, w = lnp.asarray(numbers(37, 6)), lnp.asarray(numbers(6, 6, seed=1))
    f = lf.jit(train)
    plain = [np.asarray(a) for a in train(w, x)]
    first = [np.asarray(a) for a in f(w, x)]
    for a, b in zip(first, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    again = [f(w, x) for _ in range(20)]
    contexts = [contextvars.copy_context() for _ in range(3)]
    again += threads.run_parts(lambda i: contexts[i].run(f, w, x), 3)
    again += in_threads(*[lambda: f(w, x)] * 4)
    for outs in again:
        for a, b in zip(outs, first, strict=True):
            np.testing.assert_array_equal(np.asarray(a), b)


def test_stores_in_memory_of_another_order(small_blocks):
    """A flat loop writes to a view: memory that has none as a vector is not reused."""
    f = lf.jit(lambda x, y: x * y + 1.0, donate_argnums=0)
    x = numbers(30, 40)
    for _ in range(2):
        given = lnp.exp(lnp.asarray(x).T)
        assert given.value.flags.f_contiguous
        np.testing.assert_allclose(f(given, 3.0), 3 * np.exp(x.T) + 1, rtol=1e-5)


# ------------------------------------------------------------------ errors

def gather_error(x, labels):
    table = lnp.arange(5.0)
    y = lnp.sin(x)
    return y.sum(-1) + table[labels]


def labels_error(x, labels):
    y = lnp.sin(x)
    return cross_entropy(y, labels)


@pytest.mark.parametrize("f, line, name", [(gather_error, 3, "gather"),
                                           (labels_error, 2, "check_labels")])
@pytest.mark.parametrize("place", [0, 11])
def test_error_names_the_line(small_blocks, f, line, name, place):
    x, labels = lnp.asarray(numbers(12, 5)), np.arange(12) % 5
    g = lf.jit(f)
    want = np.asarray(g(x, lnp.asarray(labels)))
    wrong = labels.copy()
    wrong[place] = 77
    where = f"{name} at test_threads.py:{f.__code__.co_firstlineno + line}: .*77"
    after = r" \(in the block of rows 11 to 11, counted from its start\)$" if place else ""
    with pytest.raises(IndexError, match=where + ".*" + after):
        g(x, lnp.asarray(wrong))
    np.testing.assert_array_equal(np.asarray(g(x, lnp.asarray(labels))), want)


def test_error_of_a_kernel_names_its_line(small_blocks, do):
    def f(x):
        y = lnp.sin(x)
        z = probe(y)
        return y + z

    def fail_in(worker):
        def kernel(block):
            if threading.current_thread().name.startswith("lucidfn") is worker:
                raise LookupError("no such thing")
        return kernel

    g, x = lf.jit(f), lnp.asarray(numbers(12, 5))
    want = np.asarray(g(x))
    where = f"probe_of_threads at test_threads.py:{f.__code__.co_firstlineno + 2}: no such thing"
    for worker in (False, True):
        do(fail_in(worker))
        with pytest.raises(LookupError, match=where):
            g(x)
        do()
        np.testing.assert_array_equal(np.asarray(g(x)), want)
    assert all(w.at_rest() for w in threads._workers)


# ------------------------------------------------------------------ interrupts

def interrupt_of(worker):
    """Ctrl-C while this side of the team works."""
    done = threading.Event()

    def kernel(block):
        if threading.current_thread().name.startswith("lucidfn") is worker and not done.is_set():
            done.set()
            os.kill(os.getpid(), signal.SIGINT)
    return kernel


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill ends the process there")
@pytest.mark.parametrize("worker", [False, True], ids=["caller", "worker"])
def test_interrupt_of_a_donated_step(small_blocks, do, number, no_signals_left, worker):
    """Old or new or an error that says so: a donated array is never half (DECISIONS 2)."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    f = lf.jit(lambda w, m: (probe(w) * 2.0, m + 1.0), donate_argnums=(0, 1))
    start = numbers(60, 50), numbers(60, 50, seed=1)
    want = 2 * start[0], start[1] + 1
    state = [lnp.asarray(a) for a in start]
    state = f(*state)
    for a, b in zip(state, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    do(interrupt_of(worker))
    with pytest.raises(KeyboardInterrupt):
        f(*state)
        threading.Event().wait(TIMEOUT)  # the signal is under way
    for a in state:
        with pytest.raises(DonatedArrayError, match="was donated to the jitted call at"):
            np.asarray(a)
    assert number.value == 8
    do()
    for _ in range(3):
        for a, b in zip(f(*[lnp.asarray(a) for a in start]), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_refused_donation_leaves_the_values(small_blocks):
    """What fails before anything is overwritten leaves every array whole."""
    f = lf.jit(lambda w, x: w * x, donate_argnums=0)
    w = lnp.asarray(numbers(12, 5))
    before = np.array(w)
    with pytest.raises(TypeError):
        f(w, lnp.ones(7))
    with pytest.raises(ValueError, match="donated"):
        f(w, w)
    np.testing.assert_array_equal(np.asarray(w), before)


# ------------------------------------------------------------------ many callers

def test_two_threads_compile_one_function(small_blocks):
    barrier = threading.Barrier(4)
    x, w = lnp.asarray(numbers(37, 6)), lnp.asarray(numbers(6, 6, seed=1))
    for _ in range(5):
        f = lf.jit(lambda w, x: train(w, x))
        f.clear_cache()

        def call(f=f):
            barrier.wait(TIMEOUT)
            return [np.asarray(a) for a in f(w, x)]

        first, *others = in_threads(*[call] * 4)
        for outs in others:
            for a, b in zip(outs, first, strict=True):
                np.testing.assert_array_equal(a, b)
    assert gc.isenabled()


def test_many_threads_call_at_once(small_blocks):
    functions = [lf.jit(lambda x: lnp.tanh(x) * 2.0), lf.jit(lambda x: lnp.exp(-x).sum(0)),
                 lf.jit(lambda x: (x @ x.T).sum(1))]
    x = lnp.asarray(numbers(17, 6))
    want = [np.asarray(f(x)) for f in functions]

    def call():
        for _ in range(20):
            for f, y in zip(functions, want, strict=True):
                np.testing.assert_array_equal(np.asarray(f(x)), y)

    in_threads(*[call] * 4)


def test_jit_inside_a_kernel_and_a_callback(small_blocks, do):
    inner = lf.jit(lambda x: lnp.tanh(x) * 2.0)
    a = lnp.asarray(numbers(12, 5))
    want = np.asarray(inner(a))
    f = lf.jit(lambda x: probe(x) * 2.0)

    def check(*_):
        with lf.config.override(num_threads=3):
            np.testing.assert_array_equal(np.asarray(inner(a)), want)

    do(check)
    f(a)

    def back(x):
        check()
        return x

    g = lf.jit(lambda x: lf.pure_callback(back, lf.ShapeDtypeStruct(x.shape, x.dtype), x) * 2.0)
    np.testing.assert_array_equal(np.asarray(g(a)), 2 * np.asarray(a))


# ------------------------------------------------------------------ processes

def in_child(f):
    """Run f in a forked process; it must come back, without an error."""
    process = multiprocessing.get_context("fork").Process(target=f, daemon=True)
    process.start()
    process.join(TIMEOUT)
    code = process.exitcode
    if code is None:
        process.kill()
    assert code == 0


@forks
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child(small_blocks, number):
    f, g = lf.jit(lambda x: lnp.tanh(x) * 2.0), lf.jit(lambda x: lnp.exp(x).sum(0))
    x = lnp.asarray(numbers(12, 5))
    want, total = np.asarray(f(x)), np.asarray(lnp.exp(x).sum(0))
    assert threads._workers

    def child():
        assert not threads._workers
        assert number.value == 8
        np.testing.assert_array_equal(np.asarray(f(x)), want)
        np.testing.assert_allclose(g(x), total, rtol=1e-6)
        assert threads._workers
        assert len(set(threads.run_parts(lambda i: threading.get_ident(), 2))) == 2

    in_child(child)
    np.testing.assert_array_equal(np.asarray(f(x)), want)

    begun, go_on = threading.Event(), threading.Event()

    def hold(i):  # another thread has the workers, the locks and BLAS while this one forks
        begun.set()
        wait_for(go_on)

    def busy():
        with threads._making, threads.BLAS.lock, f.cache.lock:
            threads.run_parts(hold, 2)

    def fork():
        wait_for(begun)
        try:
            in_child(child)
        finally:
            go_on.set()

    in_threads(busy, fork)


PROGRAM = """
import atexit, threading
import numpy as np
import lucidfn as lf
import lucidfn.numpy as lnp
from lucidfn.backends.numpy import loops, rows, spread, threads

assert threading.active_count() == 1, threading.enumerate()
assert lf.config.num_threads == threads.thread_count() == 3
rows.WORTH = rows.SMALL = spread.LIGHT = spread.CALL = loops.FLAT_WORTH = 0
spread.FLAT = loops.FLAT_BLOCK = 4
loops.LINE = 1
f = lf.jit(lambda x: lnp.tanh(x) * 2.0)
x = lnp.ones((12, 5))
f(x)
assert len(threads._workers) == 2
atexit.register(lambda: print(float(f(x)[0, 0])))
"""


def test_import_starts_nothing_and_exit_is_quiet():
    env = {**os.environ, "LUCIDFN_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True,
                          timeout=TIMEOUT)
    assert (done.returncode, done.stderr) == (0, "")
    assert float(done.stdout) == pytest.approx(2 * np.tanh(1.0))


@pytest.mark.skipif(threads.BLAS.get is None, reason="this BLAS has no number that can be set")
@pytest.mark.parametrize("loop", ["scan", "while_loop"])
def test_blas_works_alone_in_loops_of_small_products(loop, do):
    """Each step would wait for its threads; the user's number is back afterwards, errors or not."""
    blas, seen = threads.BLAS, []
    before = blas.get()

    def body(h):
        return probe(lnp.tanh(h @ w))

    w, h = lnp.asarray(numbers(8, 8)), lnp.asarray(numbers(4, 8))
    run = {"scan": lambda h: lf.lax.scan(lambda h, _: (body(h), None), h, length=3)[0],
           "while_loop": lambda h: lf.lax.while_loop(
               lambda s: s[0] < 3, lambda s: (s[0] + 1, body(s[1])), (0, h))[1]}[loop]
    f = lf.jit(run)
    try:
        blas.put(2)
        do(lambda block: seen.append(blas.get()))
        f(h)
        assert seen == [1, 1, 1] and blas.get() == 2 and "alone(" in f.source(h)

        def fails(block):
            raise LookupError("no such thing")
        do(fails)
        with pytest.raises(LookupError):
            f(h)
        assert blas.get() == 2
    finally:
        blas.put(before)
