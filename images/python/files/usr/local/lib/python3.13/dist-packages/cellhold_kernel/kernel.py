"""The kernel: ipykernel's own, on the stream. This module must be imported while the stand-ins are in place."""

import asyncio
import hashlib
import os
import sys

from ipykernel import compiler, eventloops, ipkernel  # noqa: F401: eventloops imports zmq at its first use
from traitlets import Any

ANSWERS = 5  # attempts to answer a request

_folder = None  # of the files that stand for cells; a fork keeps that of its parent


class IPythonKernel(ipkernel.IPythonKernel):
    """Has one event loop for shell and control requests, and for tasks of the user's code."""

    requests = Any()
    publisher = Any()
    _idle = True  # the idle status of the current request was sent

    def start(self):
        """Sends the first status. The application reads requests from then on."""
        self.shell.exit_now = False
        self.io_loop = self.parent.io_loop
        self.msg_queue = self.requests
        self.requests.dispatch, self.requests.numbers = self.dispatch_frame, self._message_counter
        self._control_lock = asyncio.Lock()
        self._publish_status("starting", "shell")

    def schedule_dispatch(self, dispatch, *args):
        self.requests.put_nowait((next(self._message_counter), dispatch, args))

    async def dispatch_frame(self, frame):
        """Handles a shell request. The request always gets a reply and an idle status, even if a signal handler of the code
        raises an exception in the middle of the kernel's own work."""
        self.shell_stream.sent = self._idle = False
        failure = None
        try:
            await self.dispatch_shell(frame[1])
        except BaseException as error:
            failure = error
        for _ in range(ANSWERS):
            try:
                self._conclude(frame[1], failure)
                break
            except Exception:
                continue
        if failure is not None:
            raise failure

    async def execute_request(self, stream, ident, parent):
        await super().execute_request(stream, ident, parent)
        self.publisher.settled = True

    def _conclude(self, parts, failure):
        parent = self.get_parent("shell")
        if not parent or self.session.encode_parent(parent["header"]) != parts[0]:  # the exception came before set_parent
            parent = self.session.deserialize(parts)
            self.set_parent([], parent)
        kind = parent.get("msg_type", "")
        if not self.shell_stream.sent and kind.endswith("_request") and kind in self.shell_handlers:
            name = type(failure).__name__ if failure is not None else "RuntimeError"
            value = str(failure) if failure is not None else "An exception of a signal handler hit the kernel."
            self.session.send(self.shell_stream, kind.removesuffix("request") + "reply", {
                "status": "error", "ename": name, "evalue": value, "traceback": [name],
                "execution_count": self.execution_count, "user_expressions": {}, "payload": []}, parent)
        if not self._idle:
            self._publish_status("idle", "shell")

    def _publish_status(self, status, channel, parent=None):
        if self.publisher.forked:
            return
        super()._publish_status(status, channel, parent)
        if status == "idle" and channel == "shell":
            self._idle = True

    def _input_request(self, prompt, ident, parent, password=False):
        """Asks for input, and waits for the answer. An interrupt ends the wait."""
        if self.publisher.forked:
            raise EOFError("a fork of the kernel has no input")
        sys.stdout.flush()
        sys.stderr.flush()
        while self.stdin_socket.receive() is not None:  # late answers to earlier questions
            pass
        self.session.send(self.stdin_socket, "input_request", dict(prompt=prompt, password=password), parent)
        self.parent.writer.send()
        self.publisher.helper.help_blocked()  # the event loop does not read while this thread waits
        try:
            parts = self.stdin_socket.messages.get()
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Interrupted by user") from None
        if parts is None:  # the stream has ended
            raise EOFError
        try:
            value = self.session.deserialize(parts)["content"]["value"]
        except Exception:
            self.log.error("Bad input_reply: %s", parent)
            value = ""
        if value == "\x04":
            raise EOFError
        return value

    def _process_children(self):
        """Returns the child processes. Most kernels have none, and then psutil is not imported."""
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return []
        return super()._process_children()


def file_name(code):
    """Returns the file name of a cell. ipykernel's own function computes a hash of the code in Python, which is slow."""
    if name := os.environ.get("IPYKERNEL_CELL_NAME"):
        return name
    global _folder
    if _folder is None:
        _folder = compiler.get_tmp_directory()
    number = int.from_bytes(hashlib.blake2b(code.encode("utf-8", "surrogatepass"), digest_size=4).digest())
    return os.path.join(_folder, f"{number}.py")


compiler.get_file_name = file_name
