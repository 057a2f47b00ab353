"""The functions of the asynchronous half that differ in more than words. _sync has the same names."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import IO, Any, TypeVar

T = TypeVar("T")

Lock = asyncio.Lock


async def sleep(seconds: float) -> None:
    """Waits."""
    await asyncio.sleep(seconds)


async def blocking(function: Callable[..., T], *args: Any, **named: Any) -> T:
    """Calls a function that blocks, in a thread."""
    return await asyncio.to_thread(function, *args, **named)


async def call(function: Callable[..., T | Awaitable[T]], *args: Any) -> T:
    """Calls a callback of the caller, which can be a coroutine function."""
    found = function(*args)
    if inspect.isawaitable(found):
        awaited: T = await found
        return awaited
    return found


async def pieces(file: IO[bytes], size: int) -> AsyncIterator[bytes]:
    """Yields a file in pieces of at most size bytes."""
    while piece := await asyncio.to_thread(file.read, size):
        yield piece


@asynccontextmanager
async def ticking(callback: Callable[[float], object] | None, interval: float = 1.0) -> AsyncIterator[None]:
    """Calls a function with the seconds since the beginning, again and again, until the block ends."""
    if callback is None:
        yield
        return
    task = asyncio.create_task(_tick(callback, interval))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _tick(callback: Callable[[float], object], interval: float) -> None:
    begun = time.monotonic()
    while True:
        await asyncio.sleep(interval)
        await call(callback, time.monotonic() - begun)
