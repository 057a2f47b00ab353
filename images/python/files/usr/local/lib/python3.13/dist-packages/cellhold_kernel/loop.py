"""The part of tornado's IOLoop that ipykernel and users of `kernel.io_loop` need, on top of asyncio's loop."""

import asyncio
import functools


class IOLoop:
    """Has the methods of tornado's IOLoop. Each asyncio loop has one."""

    def __init__(self, make_current=True, asyncio_loop=None, **kwargs):
        self.asyncio_loop = asyncio_loop or asyncio.new_event_loop()

    @classmethod
    def current(cls, instance=True):
        """Returns the IOLoop (IOLoop) of this thread's event loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = asyncio.get_event_loop()
        if not hasattr(loop, "_cellhold_ioloop"):
            loop._cellhold_ioloop = cls(asyncio_loop=loop)
        return loop._cellhold_ioloop

    instance = current

    def start(self):
        self.asyncio_loop.run_forever()

    def stop(self):
        self.asyncio_loop.stop()

    def close(self, all_fds=False):
        self.asyncio_loop.close()

    def time(self):
        return self.asyncio_loop.time()

    def add_callback(self, callback, *args, **kwargs):
        """Calls the callback from the loop. Any thread can call add_callback."""
        call = functools.partial(self._call, callback, *args, **kwargs)
        try:
            if asyncio._get_running_loop() is self.asyncio_loop:
                self.asyncio_loop.call_soon(call)
            else:
                self.asyncio_loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed
            pass

    add_callback_from_signal = spawn_callback = add_callback

    def _call(self, callback, *args, **kwargs):
        result = callback(*args, **kwargs)
        if asyncio.iscoroutine(result):
            self.asyncio_loop.create_task(result)

    def call_later(self, delay, callback, *args, **kwargs):
        return self.asyncio_loop.call_later(delay, functools.partial(self._call, callback, *args, **kwargs))

    def call_at(self, when, callback, *args, **kwargs):
        return self.asyncio_loop.call_at(when, functools.partial(self._call, callback, *args, **kwargs))

    def add_timeout(self, deadline, callback, *args, **kwargs):
        if hasattr(deadline, "total_seconds"):
            return self.call_later(deadline.total_seconds(), callback, *args, **kwargs)
        return self.call_at(deadline, callback, *args, **kwargs)

    def remove_timeout(self, timeout):
        timeout.cancel()

    def add_future(self, future, callback):
        future.add_done_callback(lambda done: self.add_callback(callback, done))

    def run_sync(self, function, timeout=None):
        result = function()
        return self.asyncio_loop.run_until_complete(result) if asyncio.iscoroutine(result) else result
