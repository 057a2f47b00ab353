"""The queue of shell requests. The kernel handles one request at a time, in the order in which they came.

Each request is a task of the event loop that starts at once. All tasks run in one context, so that a context variable
of one cell keeps its value in the next cell.
"""

import asyncio
import collections
import contextvars


class Requests:
    """Replaces tornado's Queue: kernel.msg_queue. Its entries are (number, coroutine function, arguments)."""

    def __init__(self, loop, done, log):
        self.current = []    # the request that is being handled, at most one
        self.number = 0      # counts the requests that have been taken
        self.dispatch = self.numbers = None  # for frames: a coroutine function, and an iterator of numbers
        self._started = False
        self._waiting = collections.deque()
        self._loop = loop
        self._done = done    # called at the end of each request
        self._log = log
        self._context = contextvars.copy_context()

    def qsize(self):
        return len(self._waiting)

    def empty(self):
        return not self._waiting

    def put_nowait(self, entry):
        """Queues a request. Any thread can call it."""
        self._waiting.append(entry)
        if not self.current:
            self.wake()

    def put_frame(self, frames):
        """Moves the first frame of a list to this queue, as a shell request. Any thread can call it. The caller must then
        call next in the event loop, or wake in another thread."""
        # One call, so that no exception comes between taking the frame and storing it.
        self._waiting.extend(zip(self.numbers, (self.dispatch,), zip(map(frames.pop, (0,)))))

    def forget(self):
        """Drops the requests, after a fork: the parent handles them."""
        self._waiting.clear()

    def get_nowait(self):
        try:
            return self._waiting.popleft()
        except IndexError:
            raise asyncio.QueueEmpty from None

    def wake(self):
        """Makes the loop handle the next request."""
        if asyncio._get_running_loop() is self._loop:
            self._loop.call_soon(self.next)
        else:
            try:
                self._loop.call_soon_threadsafe(self.next)
            except RuntimeError:  # the loop is closed
                pass

    def stalled(self):
        """Returns whether an exception has kept a request from being handled (bool). The helper thread calls it."""
        return bool(self._waiting) and not self.current or bool(self.current) and not self._started

    def next(self):
        """Begins to handle a request, if none is being handled."""
        if not self.current:
            if not self._waiting:
                return
            self._started = False
            self.current.extend(map(collections.deque.popleft, (self._waiting,)))
            self.number += 1
        elif self._started:
            return
        asyncio.Task(self.handle(), loop=self._loop, context=self._context, eager_start=True)

    async def handle(self):
        """Handles the current request. Other modules recognise the kernel's own task by this coroutine."""
        self._started = True
        try:
            _, dispatch, args = self.current[0]
            await dispatch(*args)
        except asyncio.CancelledError:  # code has cancelled all tasks of the loop
            pass
        except Exception:
            self._log.exception("Error in message handler")
        finally:
            self.current.clear()
            self._done()
            if self._waiting:
                self._loop.call_soon(self.next)
