"""Limits the unsent output of a Python kernel, and keeps the output of programs with their cell.

By default ZeroMQ keeps 1,000 unread messages and silently drops all others, even the status that ends a cell. Without
that limit, or with one text of a gigabyte, the kernel's memory fills and the kernel is killed. Three limits replace
it: text is sent in pieces, code that is far ahead of the sender waits, and the sender waits for the reader.

An interrupt ends a wait, and it can come between any two steps of Python. Condition and Event of threading take their
locks in Python, so an interrupt can leave them locked forever. This module uses only locks that are taken in C.
"""

import _thread
import codecs
import collections
import fcntl
import os
import select
import sys
import termios
import threading
import time

from ipykernel import iostream, kernelapp

import cellhold_encoding

PIECE = 64 << 10  # bytes of one read
AHEAD = 1 << 20   # characters of text, and bytes of other messages, that can wait for the sender
UNREAD = 128      # messages that can wait for the reader


def _wait_for_call(schedule, thread, seconds=float("inf")):
    """Passes a callback to schedule (a function), and waits until the thread has called it. Returns whether the thread
    has called it (bool), also when the thread is dead or the time is up."""
    reached = _thread.allocate_lock()
    reached.acquire()
    schedule(reached.release)
    end = time.monotonic() + seconds
    while not reached.acquire(timeout=1):
        if not thread.is_alive() or time.monotonic() > end:
            return False
    return True


class BoundedThread(iostream.IOPubThread):
    """Sends messages. Threads that are too far ahead of it must wait."""

    def __init__(self, *args, **kwargs):
        self._ahead = 0
        self._counting = threading.RLock()
        self._woken = False
        super().__init__(*args, **kwargs)

    def schedule(self, f):
        """Wakes the thread only if it is not awake yet: a wake-up costs more than most messages."""
        if not self.thread.is_alive():
            f()
            return
        self._events.append(f)
        if not self._woken:
            self._woken = True
            try:
                # ipykernel's own wake-up uses a ZeroMQ socket, which needs five system calls to find the event.
                self.io_loop.add_callback(self._handle_event, [])
            except BaseException:  # an interrupt
                self._woken = False
                raise

    def _handle_event(self, msg):
        self._woken = False  # set it first, so that events which come later wake the thread again
        try:
            super()._handle_event(msg)
        except BaseException:
            self.schedule(lambda: None)  # so that the other events are still handled
            raise

    def send_multipart(self, msg, *args, **kwargs):
        if not self.thread.is_alive() or threading.current_thread() is self.thread:
            return super().send_multipart(msg, *args, **kwargs)
        size = sum(map(len, msg))
        if self._ahead > AHEAD:
            _wait_for_call(self.schedule, self.thread)
        with self._counting:
            self._ahead += size

        def send():
            try:
                self._really_send(msg, *args, **kwargs)
            finally:
                with self._counting:
                    self._ahead -= size

        self.schedule(send)


class BoundedStream(iostream.OutStream):
    """Takes text in pieces. Code that writes faster than the text is sent must wait."""

    _unsent = 0        # characters in the buffers
    _flushing = False  # text has left the buffers and is not in the thread's queue yet
    _busy = False      # the watching thread has read text that is not in the buffers yet

    def __init__(self, *args, **kwargs):
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._asked = collections.deque()  # callbacks of threads that wait for output of programs
        self._woken_by, self._wakes = os.pipe()
        super().__init__(*args, **kwargs)

    def write(self, string):
        if not isinstance(string, str) or not self._is_master_process():
            return super().write(string)
        for piece in cellhold_encoding.pieces(string):
            with self._buffer_lock:
                self._unsent += len(piece)
                super().write(piece)
            if self._unsent > AHEAD:
                self._drain()
        return len(string)

    def flush(self):
        """Does not wait if there is nothing to send, because every display flushes both streams."""
        if self.pub_thread is None or not self._is_master_process():
            return super().flush()
        if self._should_watch and threading.current_thread() is not self.watch_fd_thread:
            self._await_programs()
        if self._unsent or self._flushing:
            self._drain(self.flush_timeout)

    def _drain(self, seconds=float("inf")):
        """Sends the text in the buffers, and waits until the thread has done so or the time is up."""
        thread = self.pub_thread
        if threading.current_thread() is thread.thread:
            return self._flush()
        thread.schedule(self._flush)
        _wait_for_call(thread.schedule, thread.thread, seconds)

    def _flush(self):
        self._flushing = True  # set before the buffers are empty, so that flush sees unsent text or this
        try:
            super()._flush()
        finally:
            self._flushing = False

    def _rotate_buffers(self):
        with self._buffer_lock:
            self._unsent = 0
            return super()._rotate_buffers()

    def _flush_buffers(self):
        for parent, data in super()._flush_buffers():
            for piece in cellhold_encoding.pieces(data):
                yield parent, piece

    def _await_programs(self):
        """Waits until the output that programs have written is in the buffers. So a cell has the output of the programs
        that it waited for."""
        if self._unread() or self._busy:  # in this order, because the watching thread sets _busy before it reads
            _wait_for_call(self._ask, self.watch_fd_thread)

    def _ask(self, callback):
        self._asked.append(callback)
        os.write(self._wakes, b"\0")

    def _unread(self):
        return int.from_bytes(fcntl.ioctl(self._fid, termios.FIONREAD, bytes(4)), sys.byteorder)

    def _watch_pipe_fd(self):
        """Passes on the output of programs, and calls the callbacks of threads that wait for it."""
        poll = select.poll()
        poll.register(self._fid, select.POLLIN)
        poll.register(self._woken_by, select.POLLIN)
        try:
            while True:
                ready = dict(poll.poll())
                if not self._should_watch:
                    break
                if self._woken_by in ready:
                    os.read(self._woken_by, PIECE)
                asked = [self._asked.popleft() for _ in range(len(self._asked))]
                if ready.get(self._fid) == select.POLLHUP:  # the code has closed the descriptor
                    poll.unregister(self._fid)
                self._pass_on()
                for callback in asked:
                    callback()
        except Exception:
            self._exc = sys.exc_info()

    def _pass_on(self):
        """Reads only the output that is there now, because some programs never stop writing. A character that comes in
        two pieces stays whole."""
        self._busy = True
        try:
            left = self._unread()
            while left > 0:
                data = os.read(self._fid, min(left, PIECE))
                left -= len(data)
                self.write(self._decoder.decode(data))
                os.write(self._original_stdstream_copy, data)
        finally:
            self._busy = False


_init_iopub = kernelapp.IPKernelApp.init_iopub


def _init_bounded_iopub(self, context):
    context.sndhwm = UNREAD  # for sockets that are created from now on
    context.xpub_nodrop = 1
    try:
        _init_iopub(self, context)
    finally:
        del context.sndhwm
        del context.xpub_nodrop


def install():
    """Makes kernels of this process use these streams."""
    kernelapp.IPKernelApp.init_iopub = _init_bounded_iopub
    kernelapp.IOPubThread = BoundedThread
    iostream.OutStream = BoundedStream
