"""Wait for conditions in other processes and threads, never for a fixed time."""

import multiprocessing
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

import psycopg
from sqlalchemy import make_url

from tests.server import Server

T = TypeVar("T")


def eventually(condition: Callable[[], T | None], *, seconds: float = 30) -> T:
    """Call a function until its result is true, and return it; fail after a deadline."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {condition.__qualname__}")
        time.sleep(0.005)
    return answer


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def booted(server: Server, workers: int) -> list[int]:
    """Wait until a number of workers have been started in total; return their process IDs in that order."""
    line = "Booting worker with pid: "

    def pids() -> list[int]:
        events = [entry["event"] for entry in server.log_lines()]
        return [int(event.removeprefix(line)) for event in events if event.startswith(line)]

    return eventually(lambda: found if len(found := pids()) >= workers else None)


def together(count: int, function: Callable[[int], T]) -> list[T]:
    """Call a function with 0, 1, … in a number of threads at once; return the results in order."""
    barrier = Barrier(count)

    def call(number: int) -> T:
        barrier.wait(30)
        return function(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def together_in_processes(count: int, function: Callable[[int, str], T], argument: str) -> list[T]:
    """Call a function as :func:`together` does, in processes, each with connections of its own.

    Args:
        function: a function at module level, which other processes can import.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.conftest"])
    barrier = context.Barrier(count)
    results = context.SimpleQueue()
    processes = [
        context.Process(target=_report, args=(barrier, results, number, partial(function, number, argument)))
        for number in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    exits = [process.exitcode for process in processes]
    assert exits == [0] * count, "a process failed, or hangs: see what it has written to standard error"
    found: dict[int, T] = dict(results.get() for _ in processes)
    return [found[number] for number in range(count)]


def _report(barrier: Any, results: Any, number: int, call: Callable[[], object]) -> None:
    barrier.wait(30)
    results.put((number, call()))


@contextmanager
def write_under_way(database_url: str) -> Iterator[None]:
    """Hold a write transaction, so that every other write waits until the end of the block."""
    if database_url.startswith("sqlite"):
        path = make_url(database_url).database or ""
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
    else:
        with psycopg.connect(database_url) as connection:
            rows = connection.execute("SELECT name FROM fleets FOR UPDATE").fetchall()
            assert rows, "the node's row is what is locked: write something first"
            yield
