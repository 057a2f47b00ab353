"""asyncio.run, asyncio.Runner and loop.run_until_complete work in a cell, although the kernel's event loop runs.

asyncio.run and Runner make a loop of their own, as in a script. While that loop runs, the kernel's loop is hidden. In
a cell get_event_loop returns the kernel's loop, which runs already. Its run_until_complete runs the loop's next
iterations from inside the current one, until the awaited future is done. The rest of asyncio stays unchanged, in
particular its tasks in C. The kernel handles no other request meanwhile, because the coroutine that handles requests
waits for the cell.
"""

import asyncio
import functools
import signal
import threading
from asyncio import base_events, events, runners, tasks, unix_events

_run_until_complete = base_events.BaseEventLoop.run_until_complete
_run_forever = base_events.BaseEventLoop.run_forever
_close = unix_events._UnixSelectorEventLoop.close


def _interruptible(call, *args, **kwargs):
    """Calls a function so that an interrupt ends it, as it ends code without await. The handler for a cell with await
    would only cancel the cell, which cannot stop before the call returns."""
    if threading.current_thread() is not threading.main_thread():
        return call(*args, **kwargs)
    before = signal.getsignal(signal.SIGINT)
    try:
        if before is not signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return call(*args, **kwargs)
    finally:
        if before is not signal.default_int_handler:
            signal.signal(signal.SIGINT, before)


def _without_running_loop(function):
    """Wraps a function so that it sees no running loop."""
    @functools.wraps(function)
    def call(*args, **kwargs):
        outer = events._get_running_loop()
        if outer is None:
            return function(*args, **kwargs)
        try:
            events._set_running_loop(None)
            return _interruptible(function, *args, **kwargs)
        finally:
            events._set_running_loop(outer)

    return call


_run_other_until_complete = _without_running_loop(_run_until_complete)
_run_other_forever = _without_running_loop(_run_forever)


def _run_iterations(loop, done):
    """Runs iterations of a running loop until done() is true or the loop is told to stop."""
    loop._cellhold_shared = True
    waiting = len(loop._ready)
    task = tasks._swap_current_task(loop, None)
    try:
        while not done() and not loop._stopping:
            loop._run_once()
    finally:
        tasks._swap_current_task(loop, task)
        loop._stopping = False
        # The outer iteration has counted the ready callbacks and will take that many. Replace the missing ones.
        for _ in range(waiting - len(loop._ready)):
            loop._ready.append(events.Handle(lambda: None, (), loop))


def _until_complete(loop, future):
    if events._get_running_loop() is not loop:
        return _run_other_until_complete(loop, future)
    ours = not asyncio.isfuture(future)
    future = asyncio.ensure_future(future, loop=loop)
    try:
        _interruptible(_run_iterations, loop, future.done)
    except BaseException:
        if ours and not future.cancel() and not future.cancelled():
            future.exception()  # marks it as seen, because it was raised already
        raise
    if not future.done():
        raise RuntimeError("Event loop stopped before Future completed.")
    return future.result()


def _forever(loop):
    if events._get_running_loop() is not loop:
        return _run_other_forever(loop)
    _interruptible(_run_iterations, loop, lambda: False)


def _close_other(loop):
    """Closes a loop, except the kernel's: code that ran the kernel's loop may believe that the loop is its own."""
    if not (loop.is_running() and getattr(loop, "_cellhold_shared", False)):
        _close(loop)


def install():
    """Makes event loops of this process work this way."""
    asyncio.run = runners.run = _without_running_loop(runners.run)
    runners.Runner.run = _without_running_loop(runners.Runner.run)
    runners.Runner.close = _without_running_loop(runners.Runner.close)
    base_events.BaseEventLoop.run_until_complete = _until_complete
    base_events.BaseEventLoop.run_forever = _forever
    unix_events._UnixSelectorEventLoop.close = _close_other
