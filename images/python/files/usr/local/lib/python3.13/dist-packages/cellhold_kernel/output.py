"""sys.stdout and sys.stderr of the kernel.

Text goes into the queue of the stream at once, and becomes a message when the queue is sent. The descriptors 1 and 2, to
which programs write, are two pipes to the kernel. Each flush reads the pipes, and ipykernel flushes before other
outputs. So the output of programs keeps its place in the cell's output. The helper thread reads the pipes at any time.
"""

import _thread
import contextvars
import fcntl
import os
import select
import sys
import termios
import threading

from ipykernel import iostream

import cellhold_encoding

from . import wire
from .session import extract_header

ENTRY = 64  # bytes of memory that count for each piece of text, in addition to its characters
LOOKS = 4   # times that the sources are read when the queue is full; two are enough for what forks have sent before


class OutStream(iostream.OutStream):
    """A text stream whose output belongs to the cell of the code that writes."""

    flush_interval = 0.05

    def __init__(self, session, pub_thread, name, pipe=None, echo=None, *, watchfd=True, isatty=False):
        self.session = session
        self.pub_thread = pub_thread
        self.name = name
        self.topic = b"stream." + name.encode()
        self.echo = echo
        self._isatty = bool(isatty)
        self._parent_header = contextvars.ContextVar("parent_header")
        self._parent_header.set({})
        self._thread_to_parent = {}
        self._thread_to_parent_header = {}
        self._parent_header_global = {}
        self._master_pid = os.getpid()
        self._io_loop = pub_thread.io_loop
        self._buffer_lock = threading.RLock()
        self._local = threading.local()
        self._should_watch = False
        self._chunks = []  # bytes of programs that are read, but not queued yet
        self._pipe_lock = _thread.RLock()
        if watchfd:
            self._should_watch = True
            self._setup_stream_redirects(name)

    def _setup_stream_redirects(self, name):
        self._fid, end = os.pipe()
        self._original_stdstream_fd = getattr(sys, name).fileno()
        self._original_stdstream_copy = os.dup(self._original_stdstream_fd)
        os.dup2(end, self._original_stdstream_fd)
        self._pipe_end = end  # keeps the pipe open when code closes the descriptor
        self.pub_thread.watch(self)

    def _is_master_process(self):
        return not self.pub_thread.forked

    def set_parent(self, parent):
        self.parent_header = extract_header(parent)

    def write(self, string):
        """Queues text (str). Returns its length (int)."""
        if not isinstance(string, str):
            raise TypeError(f"write() argument must be str, not {type(string)}")
        if self.pub_thread is None:
            raise ValueError("I/O operation on closed file")
        if self.echo is not None:
            self._echo(string)
        if type(string) is not str:
            string = str.__str__(string)
        if len(string) <= cellhold_encoding.PIECE:
            if string:
                self.pub_thread.put((self.name, self.parent_header, string), len(string))
        else:
            for piece in cellhold_encoding.pieces(string):
                self.pub_thread.put((self.name, self.parent_header, piece), len(piece))
        return len(string)

    def _echo(self, string):
        try:
            self.echo.write(string)
            self.echo.flush()
        except OSError as error:
            if self.echo is not sys.__stderr__:
                print(f"Write failed: {error}", file=sys.__stderr__)

    def flush(self):
        """Queues the output that programs have written by now. The queue is sent within flush_interval."""
        if self.pub_thread is not None:
            self.pub_thread.look(self)

    def take(self):
        """Queues the output that programs have written by now, without later output: some programs never stop."""
        with self._pipe_lock:
            if self._pipe_lock._recursion_count() > 1:
                return
            self._pass_on()  # what an exception has left
            left = self._unread()
            while left > 0:
                # One call, so that no exception comes between the reading and the storing.
                self._chunks.extend(map(os.read, (self._fid,), (min(left, wire.PIECE),)))
                left -= len(self._chunks[-1])
                self._pass_on()

    def wait(self):
        """Waits until another thread has queued the output that it has read."""
        with self._pipe_lock:
            pass

    def _pass_on(self):
        while self._chunks:
            data = self._chunks[0]
            if data:
                self._copy(data)  # the agent keeps the end of this output, to explain a crash
            self.pub_thread.queue_from(self._chunks, self.name, self._parent_header_global, len(data))

    def _copy(self, data):
        try:
            os.write(self._original_stdstream_copy, data)
        except OSError:
            pass

    def _unread(self):
        return int.from_bytes(fcntl.ioctl(self._fid, termios.FIONREAD, bytes(4)), sys.byteorder)

    def renew_locks(self):
        """Makes new locks, after a fork."""
        self._pipe_lock = _thread.RLock()
        self._buffer_lock = threading.RLock()


class Publisher:
    """Puts all output into the queue. It replaces ipykernel's thread for output: kernel.iopub_thread."""

    closed = False
    forked = False   # this process is a fork of the kernel
    settled = False  # no code has run since the last look

    def __init__(self, writer, session, io_loop):
        self.io_loop = io_loop
        self.streams = {}     # OutStreams by the descriptor of their pipe
        self.helper = self.requests = self.forks = None  # set before the first output
        self.socket = self.background_socket = None
        self._writer, self._session = writer, session
        self._poll = select.poll()
        self._looking = _thread.RLock()
        self._forks_lock = _thread.RLock()

    thread = property(lambda self: self.helper)

    # Output of the code.

    def put(self, text, size):
        """Queues text (tuple of a stream's name, a parent header and a str)."""
        if self.forks.used:
            self.take_forks()  # for code that waits for the end of a fork and then writes
        self._writer.add(text, size + ENTRY)
        self.helper.arm()

    def send_frame(self, frame):
        """Queues a message (bytes). If no request is being handled, it sends the message at once."""
        self._writer.add(frame, len(frame))
        if not self.requests.current and threading.current_thread() is not self.helper:
            self._writer.send(wait=False)
        self.helper.arm()

    # Output of programs.

    def watch(self, stream):
        self.streams[stream._fid] = stream
        self._poll.register(stream._fid, select.POLLIN)

    def queue_from(self, chunks, name, parent, size):
        self._writer.queue_from(chunks, name, parent, size)

    def look(self, stream):
        """Queues the output that programs have written by now. A call for stdout is enough for both streams, because
        ipykernel flushes stdout and then stderr."""
        if self.forked or stream is not None and stream.name == "stderr" and getattr(sys.stdout, "pub_thread", None) is self:
            return
        if self.settled:
            self.settled = False
            return
        for _ in range(LOOKS):
            with self._looking:  # one poll object cannot be used by two threads at once
                if self._looking._recursion_count() > 1:  # a signal handler has interrupted this function and called it
                    return
                for descriptor, _ in self._poll.poll(0):
                    if descriptor in self.streams:
                        self.streams[descriptor].take()
                    else:
                        self.take_forks()
                for stream in self.streams.values():
                    stream.wait()
                with self._forks_lock:
                    pass
            if not self._writer.full():
                return
            self._writer.send()

    # Forks.

    def watch_forks(self, forks):
        self.forks = forks
        self._poll.register(forks.receiver, select.POLLIN)

    def take_forks(self):
        """Queues the messages that forks have sent by now, as far as there is space. Returns whether there were any."""
        taken = False
        with self._forks_lock:
            if self._forks_lock._recursion_count() > 1:  # a signal handler has interrupted this function and called it
                return False
            while not self._writer.full() and (frame := self.forks.receive()):
                self._writer.queue(frame, len(frame))
                taken = True
        return taken

    def enter_child(self):
        """Makes a fork of the kernel send all its output through the kernel."""
        self.forked = True
        self._writer.forget()
        self._session.pid = os.getpid()
        self.forks.enter_child()
        self._looking, self._forks_lock = _thread.RLock(), _thread.RLock()
        for stream in self.streams.values():
            stream.renew_locks()
        self.put = lambda text, size: [self.forks.send(frame) for frame in self._session.text_frames([text])]
        self.send_frame = self.forks.send

    # The methods that users of ipykernel's thread call.

    def schedule(self, function):
        function()

    def send_multipart(self, parts, *args, **kwargs):
        self.socket.send_multipart(parts)

    def send_parts(self, parts):
        self.socket.send_parts(parts)

    def start(self):
        pass

    stop = close = start
