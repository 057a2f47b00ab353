"""asyncio.run, asyncio.Runner and loop.run_until_complete work in a cell, where the kernel's event loop runs.

Another loop runs with the kernel's hidden: asyncio.run and Runner make one each, as in a script. The loop that
runs already, which get_event_loop returns in a cell, takes turns from inside itself until the awaited is done.
asyncio is left as it is for all else, in particular its tasks in C. The kernel handles no other request
in between, because the coroutine that handles them waits for the cell.
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
    """Calls; an interrupt ends that as it ends code without await. ipykernel's handler of a cell that awaits
    cancels the cell, which cannot stop before the call returns."""
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


def _hidden(function):
    """Wraps a function so that it finds no running loop."""
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


_run_other_until_complete = _hidden(_run_until_complete)
_run_other_forever = _hidden(_run_forever)


def _take_turns(loop, done):
    """Runs a running loop until done() or until it is told to stop."""
    loop._cellhold_shared = True
    waiting = len(loop._ready)
    task = tasks._swap_current_task(loop, None)
    try:
        while not done() and not loop._stopping:
            loop._run_once()
    finally:
        tasks._swap_current_task(loop, task)
        loop._stopping = False
        # The turn that we are in has counted the callbacks that were ready, and takes as many.
        for _ in range(waiting - len(loop._ready)):
            loop._ready.append(events.Handle(lambda: None, (), loop))


def _until_complete(loop, future):
    if events._get_running_loop() is not loop:
        return _run_other_until_complete(loop, future)
    ours = not asyncio.isfuture(future)
    future = asyncio.ensure_future(future, loop=loop)
    try:
        _interruptible(_take_turns, loop, future.done)
    except BaseException:
        if ours and not future.cancel() and not future.cancelled():
            future.exception()  # was raised already
        raise
    if not future.done():
        raise RuntimeError("Event loop stopped before Future completed.")
    return future.result()


def _forever(loop):
    if events._get_running_loop() is not loop:
        return _run_other_forever(loop)
    _interruptible(_take_turns, loop, lambda: False)


def _close_other(loop):
    """Closes a loop; the kernel's goes on, for code that ran it and believes that it is its own."""
    if not (loop.is_running() and getattr(loop, "_cellhold_shared", False)):
        _close(loop)


def install():
    """Makes event loops of this process work this way."""
    asyncio.run = runners.run = _hidden(runners.run)
    runners.Runner.run = _hidden(runners.Runner.run)
    runners.Runner.close = _hidden(runners.Runner.close)
    base_events.BaseEventLoop.run_until_complete = _until_complete
    base_events.BaseEventLoop.run_forever = _forever
    unix_events._UnixSelectorEventLoop.close = _close_other
