"""The helper thread of the kernel. It sleeps in one poll() until one of these is true:

- Output waits for some time: of long cells, of threads, of tasks between cells. The helper sends it.
- Programs have written to a pipe, or a fork has sent a message. The helper queues this output.
- A cell runs for some time. Until its end the helper reads the stream, because the event loop is blocked. It answers
  control requests, queues shell requests, and passes on input.

Short cells wake the helper only by the timer, at most once in INTERVAL.
"""

import os
import select
import threading
import time

from ipykernel.control import CONTROL_THREAD_NAME

BLOCKED = -1
LOST = 1.0       # seconds after which an armed timer is set again
INTERVAL = 0.05  # seconds that output can wait, and after which a cell counts as long


class Helper(threading.Thread):
    """Has the name of ipykernel's thread for control requests, because ipykernel checks this name."""

    def __init__(self, sock, writer, publisher, forks, log):
        super().__init__(name=CONTROL_THREAD_NAME, daemon=True)
        self.pydev_do_not_trace = self.is_pydev_daemon_thread = True
        self.io_loop = publisher.io_loop
        self.writer, self.log = writer, log
        self.requests = None  # set before the start
        self.answer = None    # function that answers control requests; set before the start
        self.ended = None     # function that says whether the stream has ended; set before the start
        self.read = None      # function that reads the stream and passes the messages on; set before the start
        self._sock, self._publisher, self._forks = sock, publisher, forks
        self._timer = os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_CLOEXEC | os.TFD_NONBLOCK)
        self._asked = False    # the event loop has control requests for the helper
        self._armed = False
        self._due = 0.0        # time at which an armed timer counts as lost
        self._unsent = False   # output is left, because the stream was full
        self._listened = {}    # events by descriptor that the last poll() waited for
        self.blocked = False   # code that belongs to no request may block the event loop
        self._watched = 0      # number of the request during which the stream is watched, or BLOCKED; 0 means none
        self._stopped = False
        self._poll = select.poll()

    def arm(self, seconds=INTERVAL):
        """Wakes the helper after some seconds, unless the timer is set already."""
        now = time.monotonic()
        if not self._armed or now > self._due:
            self._armed, self._due = True, now + LOST
            os.timerfd_settime(self._timer, initial=seconds)

    def hurry(self):
        """Wakes the helper at once."""
        self._armed, self._due = True, time.monotonic() + LOST
        os.timerfd_settime(self._timer, initial=1e-9)

    def ask(self):
        """Has the helper answer control requests that the event loop has read."""
        self._asked = True
        self.hurry()

    def help_blocked(self):
        """Has the helper read the stream until the event loop does. A task of an earlier cell can block the loop."""
        self.blocked = True
        self.hurry()

    def rearm(self):
        """Sets the timer again after a restore of a snapshot, which can lose the timer."""
        self._armed = False
        self.arm()

    def stop(self):
        self._stopped = True
        self.hurry()

    def run(self):
        self._poll.register(self._timer, select.POLLIN)
        sources = [self._forks.receiver.fileno(), *self._publisher.streams]
        while not self._stopped:
            self._listen(sources, self._stream_events())
            ready = dict(self._poll.poll())
            try:
                self._look(ready)
            except Exception:  # one fault must not end the output of the session
                self.log.exception("Error in the helper thread")

    def _stream_events(self):
        """Returns the events to wait for on the stream (int): requests in a long cell, and space for unsent output."""
        if self._watched != self._current():
            self._watched = 0
        return (select.POLLIN if self._watched and not self.ended() else 0) | (select.POLLOUT if self._unsent else 0)

    def _current(self):
        if self.requests.current:
            return self.requests.number
        return BLOCKED if self.blocked else 0

    def _listen(self, sources, events):
        """Sets the events that the next poll() waits for. No source is read while the agent does not read."""
        wanted = {} if self.writer.full() else dict.fromkeys(sources, select.POLLIN)
        if events:
            wanted[self._sock.fileno()] = events
        for descriptor in self._listened.keys() - wanted.keys():
            self._poll.unregister(descriptor)
        for descriptor, mask in wanted.items():
            if self._listened.get(descriptor) != mask:
                self._poll.register(descriptor, mask)
        self._listened = wanted

    def _look(self, ready):
        output = False
        for descriptor, stream in self._publisher.streams.items():
            if descriptor in ready:
                stream.take()
                output = True
        if self._forks.receiver.fileno() in ready:
            output = self._publisher.take_forks() or output
        if self._timer in ready:
            self._fire()
        if self._asked:
            self._asked = False
            self.answer()
        if self._watched and ready.get(self._sock.fileno(), 0) & ~select.POLLOUT and self._stream_events() & select.POLLIN:
            self.read()
        if self._timer in ready or self._sock.fileno() in ready:
            self._unsent = self.writer.try_send()
        elif output:
            self.arm()

    def _fire(self):
        self._armed = False
        try:
            os.read(self._timer, 8)
        except BlockingIOError:
            pass
        self._watched = self._current()
        if self.requests.stalled():
            self.requests.wake()
