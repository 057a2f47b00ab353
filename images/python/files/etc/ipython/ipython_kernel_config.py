# The history of a session is its notebook; a database in the sandbox would only cost time.
c.HistoryManager.enabled = False

# IPython keeps a copy of all that cells print, for %notebook and for as long as the kernel lives.
import contextlib

from IPython.core.interactiveshell import InteractiveShell

InteractiveShell._tee = lambda self, channel: contextlib.nullcontext()

# Output that comes faster than it is read waits for its reader. Left alone, ZeroMQ drops what a
# subscriber has not read yet beyond 1,000 messages without a word, even the status that ends a cell; and
# without that bound, or with one text of a gigabyte, the kernel's memory fills and the kernel is killed.
# Three bounds replace this: text goes out in pieces, code that is far ahead of the sending waits for it,
# and the sending waits for the reader. An interrupt ends the waiting.
import threading

import zmq
from ipykernel import iostream, kernelapp

PIECE = 64 << 10  # characters of one message of text
AHEAD = 1 << 20   # characters of text, and bytes of other messages, that may wait to be sent
UNREAD = 128      # messages that may wait to be read


class PatientThread(iostream.IOPubThread):
    """Sends messages, and lets those wait who are too far ahead of it."""

    def __init__(self, *args, **kwargs):
        self._ahead = 0
        self._room = threading.Condition()
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
        with self._room:
            while self._ahead > AHEAD and self.thread.is_alive():
                self._room.wait(1)
            self._ahead += size

        def send():
            try:
                self._really_send(msg, *args, **kwargs)
            finally:
                with self._room:
                    self._ahead -= size
                    self._room.notify_all()

        self.schedule(send)


class PatientStream(iostream.OutStream):
    """Takes text in pieces, and lets those wait who write faster than it is sent."""

    _unsent = 0        # characters in the buffers
    _flushing = False  # they are on their way to the thread's queue

    def write(self, string):
        if not isinstance(string, str) or not self._is_master_process():
            return super().write(string)
        for i in range(0, len(string), PIECE):
            piece = string[i : i + PIECE]
            super().write(piece)
            with self._buffer_lock:
                self._unsent += len(piece)
            if self._unsent > AHEAD:
                self._drain()
        return len(string)

    def _drain(self):
        thread = self.pub_thread
        if thread is None or threading.current_thread() is thread.thread:
            return
        sent = threading.Event()
        thread.schedule(self._flush)
        thread.schedule(sent.set)
        while not sent.wait(1) and thread.thread.is_alive():
            pass

    def flush(self):
        """Waits for nothing where nothing is to be sent: every display flushes both streams."""
        if self._unsent or self._flushing or not self._is_master_process():
            super().flush()

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
            for i in range(0, len(data), PIECE):
                yield parent, data[i : i + PIECE]


_init_iopub = kernelapp.IPKernelApp.init_iopub


def _init_patient_iopub(self, context):
    context.sndhwm = UNREAD  # of sockets made from here on
    context.xpub_nodrop = 1
    try:
        _init_iopub(self, context)
    finally:
        del context.sndhwm
        del context.xpub_nodrop


kernelapp.IPKernelApp.init_iopub = _init_patient_iopub
kernelapp.IOPubThread = PatientThread
iostream.OutStream = PatientStream

# Each message and each flush asks the system several times whether this is still the process that it
# was, or a fork of it, and in gVisor each time costs more than the rest of the look. It is asked once
# here, and again in every fork.
import os
import types

from jupyter_client import session

_remembering = types.ModuleType("os")
_remembering.__dict__.update(os.__dict__)


def _remember():
    pid = os.getpid()
    _remembering.getpid = lambda: pid


_remember()
os.register_at_fork(after_in_child=_remember)
iostream.os = session.os = _remembering

# Half a millisecond before each reply, meant to let output go first. Who waits for the idle status has
# the output, and the agent does.
c.Kernel._execute_sleep = 0

# Figures as the caller of a cell asked for them.
c.InteractiveShellApp.extensions = ["cellhold_figures"]
