"""Output of a Python kernel: it waits for its reader, and what programs write comes with their cell.

Left alone, ZeroMQ drops what a subscriber has not read yet beyond 1,000 messages without a word, even the
status that ends a cell; and without that bound, or with one text of a gigabyte, the kernel's memory fills
and the kernel is killed. Three bounds replace this: text goes out in pieces, code that is far ahead of the
sending waits for it, and the sending waits for the reader.

An interrupt ends the waiting, and may come between any two steps of Python. threading's Condition and
Event would then stay locked for ever now and then, since they take their locks in Python; so only locks
that are taken in C stand here.
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

PIECE = 64 << 10  # characters of one message of text, and bytes that are read at once
AHEAD = 1 << 20   # characters of text, and bytes of other messages, that may wait to be sent
UNREAD = 128      # messages that may wait to be read


def _pass(schedule, thread, seconds=float("inf")):
    """Waits until a thread has come to what schedule hands to it (a function of one callback), is dead, or
    time is up; returns whether it has come there (bool)."""
    reached = _thread.allocate_lock()
    reached.acquire()
    schedule(reached.release)
    end = time.monotonic() + seconds
    while not reached.acquire(timeout=1):
        if not thread.is_alive() or time.monotonic() > end:
            return False
    return True


def _pieces(text):
    """Yields a text in pieces, and never half of a pair of surrogates, which is one character."""
    start = 0
    while start < len(text):
        end = start + PIECE
        if end < len(text) and "\ud800" <= text[end - 1] <= "\udbff":
            end += 1
        yield text[start:end]
        start = end


class PatientThread(iostream.IOPubThread):
    """Sends messages, and lets those wait who are too far ahead of it."""

    def __init__(self, *args, **kwargs):
        self._ahead = 0
        self._counting = threading.RLock()
        self._woken = False
        super().__init__(*args, **kwargs)

    def schedule(self, f):
        """Wakes the thread only if nobody else has: a wake-up costs more than most messages."""
        if not self.thread.is_alive():
            f()
            return
        self._events.append(f)
        if not self._woken:
            self._woken = True
            try:
                # Not by its ZeroMQ socket, for which it would ask the system five times what is there.
                self.io_loop.add_callback(self._handle_event, [])
            except BaseException:  # an interrupt
                self._woken = False
                raise

    def _handle_event(self, msg):
        self._woken = False  # first, so that whatever comes after the counting wakes again
        try:
            super()._handle_event(msg)
        except BaseException:
            self.schedule(lambda: None)  # the rest is not forgotten
            raise

    def send_multipart(self, msg, *args, **kwargs):
        if not self.thread.is_alive() or threading.current_thread() is self.thread:
            return super().send_multipart(msg, *args, **kwargs)
        size = sum(map(len, msg))
        if self._ahead > AHEAD:
            _pass(self.schedule, self.thread)
        with self._counting:
            self._ahead += size

        def send():
            try:
                self._really_send(msg, *args, **kwargs)
            finally:
                with self._counting:
                    self._ahead -= size

        self.schedule(send)


class PatientStream(iostream.OutStream):
    """Takes text in pieces, and lets those wait who write faster than it is sent."""

    _unsent = 0        # characters in the buffers
    _flushing = False  # they are on their way to the thread's queue
    _busy = False      # the watching thread has taken what is not in the buffers yet

    def __init__(self, *args, **kwargs):
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._asked = collections.deque()  # by those who wait for what programs have written
        self._woken_by, self._wakes = os.pipe()
        super().__init__(*args, **kwargs)

    def write(self, string):
        if not isinstance(string, str) or not self._is_master_process():
            return super().write(string)
        for piece in _pieces(string):
            with self._buffer_lock:
                self._unsent += len(piece)
                super().write(piece)
            if self._unsent > AHEAD:
                self._drain()
        return len(string)

    def flush(self):
        """Waits for nothing where nothing is to be sent: every display flushes both streams."""
        if self.pub_thread is None or not self._is_master_process():
            return super().flush()
        if self._should_watch and threading.current_thread() is not self.watch_fd_thread:
            self._take()
        if self._unsent or self._flushing:
            self._drain(self.flush_timeout)

    def _drain(self, seconds=float("inf")):
        thread = self.pub_thread
        if threading.current_thread() is thread.thread:
            return self._flush()
        thread.schedule(self._flush)
        _pass(thread.schedule, thread.thread, seconds)

    def _flush(self):
        self._flushing = True  # before the buffers are empty, for flush to see one or the other
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
            for piece in _pieces(data):
                yield parent, piece

    def _take(self):
        """Waits until what programs have written by now is in the buffers: a cell has the output of those
        that it waited for."""
        if self._unread() or self._busy:  # in this order: who takes it is busy before
            _pass(self._ask, self.watch_fd_thread)

    def _ask(self, callback):
        self._asked.append(callback)
        os.write(self._wakes, b"\0")

    def _unread(self):
        return int.from_bytes(fcntl.ioctl(self._fid, termios.FIONREAD, bytes(4)), sys.byteorder)

    def _watch_pipe_fd(self):
        """Passes on what programs write, and tells those who wait for it."""
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
        """Takes what there is by now, and no more: some programs never stop. A character that comes in
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


def _init_patient_iopub(self, context):
    context.sndhwm = UNREAD  # of sockets made from here on
    context.xpub_nodrop = 1
    try:
        _init_iopub(self, context)
    finally:
        del context.sndhwm
        del context.xpub_nodrop


def install():
    """Makes kernels of this process use these streams."""
    kernelapp.IPKernelApp.init_iopub = _init_patient_iopub
    kernelapp.IOPubThread = PatientThread
    iostream.OutStream = PatientStream
