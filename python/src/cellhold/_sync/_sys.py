"""The functions of the synchronous half that differ in more than words. _async has the same names."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar

T = TypeVar("T")

Lock = threading.Lock


def sleep(seconds: float) -> None:
    """Waits."""
    time.sleep(seconds)


def blocking(function: Callable[..., T], *args: Any, **named: Any) -> T:
    """Calls a function that blocks."""
    return function(*args, **named)


def call(function: Callable[..., T], *args: Any) -> T:
    """Calls a callback of the caller."""
    return function(*args)


def pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Yields a file in pieces of at most size bytes."""
    while piece := file.read(size):
        yield piece


@contextmanager
def ticking(callback: Callable[[float], object] | None, interval: float = 1.0) -> Iterator[None]:
    """Calls a function with the seconds since the beginning, in a thread, until the block ends."""
    if callback is None:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_tick, args=(callback, interval, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _tick(callback: Callable[[float], object], interval: float, over: threading.Event) -> None:
    begun = time.monotonic()
    while not over.wait(interval):
        callback(time.monotonic() - begun)
