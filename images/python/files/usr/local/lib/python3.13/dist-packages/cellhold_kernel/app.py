"""The application: ipykernel's own, on the stream. This module must be imported while the stand-ins are in place."""

import _thread
import asyncio
import atexit
import collections
import os

from ipykernel import kernelapp
from traitlets import Any, DottedObjectName

import cellhold_interrupts

from . import channels, forks, helper, kernel, loop, output, requests, wire

LEVELS = 4  # nested calls that keep the event loop running

# Control requests that the helper thread can answer while a cell runs.
HELPED = {"interrupt_request", "kernel_info_request", "shutdown_request", "debug_request", "usage_request",
          "comm_info_request", "connect_request"}


def _first(queue):
    """Takes the first item of a deque, or None if another thread was faster."""
    try:
        return queue.popleft()
    except IndexError:
        return None


class IPKernelApp(kernelapp.IPKernelApp):
    """Starts a kernel on the stream that has this descriptor."""

    outstream_class = DottedObjectName("cellhold_kernel.output.OutStream", allow_none=True).tag(config=True)

    sock = Any()      # the kernel's end of the stream (socket.socket)
    unsent = Any()    # a copy of the queued output (Unsent or Nothing); set before initialize
    standins = Any()  # closes the stand-ins (contextlib.ExitStack)
    controls = Any()  # control requests that are not handled yet

    def init_connection_file(self):
        pass  # the file is for other clients of the kernel, and there are none

    write_connection_file = log_connection_info = init_heartbeat = init_poller = init_connection_file

    def init_sockets(self):
        asyncio.set_event_loop(asyncio.new_event_loop())
        self.io_loop = loop.IOLoop.current()
        self.controls = collections.deque()
        self._controlling = _thread.RLock()  # held while control requests are handled, which keeps their order
        self._taken = []  # the frame that read() moves to a queue, at most one
        self._reading = _thread.RLock()
        self.writer = wire.Writer(self.sock, self.session.text_frames, self.unsent)
        self.reader = wire.Reader(self.sock)
        self.publisher = publisher = output.Publisher(self.writer, self.session, self.io_loop)
        publisher.watch_forks(forks.Forks())
        publisher.helper = helper.Helper(self.sock, self.writer, publisher, publisher.forks, self.log)
        publisher.requests = requests.Requests(self.io_loop.asyncio_loop, self._request_done, self.log)
        publisher.helper.requests = publisher.requests
        publisher.helper.read = self._help
        publisher.helper.answer = self._help_controls
        publisher.helper.ended = lambda: self.reader.ended
        self.control_thread = publisher.helper
        self.shell_socket, self.control_socket, self.stdin_socket, self.iopub_socket = (
            channels.ZMQStream(number, publisher, self.flush)
            for number in (wire.SHELL, wire.CONTROL, wire.STDIN, wire.IOPUB))
        publisher.socket = publisher.background_socket = self.iopub_socket
        self.iopub_thread = publisher
        cellhold_interrupts.on_interrupt = publisher.helper.help_blocked
        self.log.setLevel(self.log_level)  # ipykernel makes four debug records for each cell, which no handler shows
        os.register_at_fork(after_in_parent=publisher.forks.enter_parent, after_in_child=self._enter_child)
        atexit.register(self.close)

    def init_kernel(self):
        self.kernel = kernel.IPythonKernel.instance(
            parent=self, session=self.session, requests=self.publisher.requests, publisher=self.publisher,
            shell_stream=self.shell_socket, control_stream=self.control_socket, control_thread=self.control_thread,
            debugpy_stream=None, iopub_thread=self.iopub_thread, iopub_socket=self.iopub_socket,
            stdin_socket=self.stdin_socket, log=self.log, profile_dir=self.profile_dir, user_ns=self.user_ns)
        self.displayhook.get_execution_count = lambda: self.kernel.execution_count
        self.publisher.helper.start()

    def init_shell(self):
        super().init_shell()
        self.standins.close()  # extensions and startup files get the real modules

    def start(self):
        """Handles requests until the kernel is told to end, or the agent closes the stream."""
        self.kernel.start()
        self.writer.send()
        self.io_loop.asyncio_loop.add_reader(self.sock, self._continue)
        self._keep_running(LEVELS)

    def _keep_running(self, level):
        """Runs the loop, and continues after exceptions that signal handlers of the code raise. An exception that hits this
        function itself ends only the innermost call."""
        while not self._ended():
            try:
                if level:
                    self._keep_running(level - 1)
                else:
                    self.io_loop.asyncio_loop.call_soon(self._continue)  # does the work that an exception has interrupted
                    self.io_loop.start()
            # The exception is of a task, which keeps it, of a callback, or of a signal handler.
            except BaseException:
                pass

    def _ended(self):
        return self.shell.exit_now or self.reader.ended

    def close(self):
        """Sends the rest of the output."""
        self.reset_io()
        if not self.publisher.forked:
            self.publisher.look(None)
        self.writer.send()

    # Requests.

    def _continue(self):
        """Reads the stream in the event loop, and handles the requests that have come."""
        self.publisher.helper.blocked = False
        self.publisher.helper.arm()  # the helper continues this function if an exception has stopped it
        self.read()
        if self._for_helper():
            self.publisher.helper.ask()
        elif self.controls:
            self.io_loop.asyncio_loop.create_task(self._handle_controls())
        self.publisher.requests.next()
        if self.reader.ended:
            self.io_loop.stop()

    def read(self):
        """Queues the messages that have come on the stream. No request begins before all of them are queued: an error in a
        cell aborts the requests that came with it."""
        with self._reading:
            if self._reading._recursion_count() > 1:  # a signal handler has interrupted this function and called it
                return
            self.reader.read()
            while self._taken or self.reader.take(self._taken):
                channel, parts = self._taken[0]
                if channel == wire.SHELL:
                    self.publisher.requests.put_frame(self._taken)
                elif channel == wire.CONTROL:
                    self.controls.extend(map(self._taken.pop, (0,)))
                else:
                    self._taken.clear()
                    self.stdin_socket.messages.put(parts)

    def flush(self):
        """Reads all messages that have come, and queues them."""
        self.read()
        if self.publisher.requests.stalled():
            self.publisher.requests.wake()
        if self.controls:
            self.io_loop.add_callback(self._continue)
        if self.reader.ended:  # nobody answers a question any more
            self.stdin_socket.messages.put(None)

    async def _handle_controls(self):
        """Handles the control requests in the event loop, one at a time and in order."""
        async with self.kernel._control_lock:
            with self._controlling:
                while not self._for_helper() and (frame := _first(self.controls)) is not None:
                    await self.kernel.process_control(frame[1])
                    self.writer.send()
        if self.controls:
            self.publisher.helper.ask()

    def _for_helper(self):
        """Returns whether the helper thread must handle the next control request (bool). While a cell runs, the signal of
        an interrupt would hit the event loop's own work."""
        try:
            return bool(self.publisher.requests.current) and self._is_helped(self.controls[0])
        except IndexError:
            return False

    def _is_helped(self, frame):
        return self.session.unpack(frame[1][0]).get("msg_type") in HELPED

    def _help(self):
        """Reads the stream in the helper thread while the event loop is blocked, and answers control requests."""
        self.flush()
        self._help_controls()
        if self.reader.ended:
            self.io_loop.add_callback(self.io_loop.stop)

    def _help_controls(self):
        """Answers control requests in the helper thread."""
        if self._controlling.acquire(False):  # otherwise the event loop is handling them
            try:
                while self.controls and self._is_helped(self.controls[0]):
                    self._run_in_own_loop(self.kernel.process_control(_first(self.controls)[1]))
            finally:
                self._controlling.release()
        if self.controls:
            self.io_loop.add_callback(self._continue)

    def _run_in_own_loop(self, coroutine):
        own = asyncio.new_event_loop()
        try:
            own.run_until_complete(coroutine)
        finally:
            own.close()

    def _request_done(self):
        self.writer.send()
        if self.writer:
            self.publisher.helper.hurry()

    # Forks.

    def _enter_child(self):
        self.publisher.enter_child()
        # The fork is no kernel. If its code does not end it, the end of the cell does.
        self._reading, self._controlling = _thread.RLock(), _thread.RLock()
        self.reader.forget()
        self.publisher.requests.forget()
        for queue in self.controls, self._taken:
            queue.clear()
        self.sock.close()  # it stays registered in the loop, whose epoll instance the fork shares with the kernel


cellhold_interrupts.recognise(requests.Requests.handle)
