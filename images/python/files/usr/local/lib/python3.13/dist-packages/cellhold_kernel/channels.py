"""Objects that replace ZeroMQ's sockets and streams: kernel.iopub_socket, kernel.shell_stream and others."""

import _queue

from . import wire

POLLIN, POLLOUT = 1, 2  # of ZeroMQ


class ZMQStream:
    """A channel of the stream. It has the methods that ipykernel calls on sockets and on streams."""

    closed = False
    linger = 1000

    def __init__(self, number, publisher, read):
        self.number = number
        self.io_loop = publisher.io_loop
        self.messages = _queue.SimpleQueue()  # messages that are not received yet (lists of parts)
        self.sent = False  # whether a message was sent since a caller has set this to False
        self._publisher = publisher
        self._read = read  # reads the messages that have come on the stream
        self.socket = self

    def send_parts(self, parts):
        """Queues a message (list of bytes)."""
        if self._publisher.forked and self.number != wire.IOPUB:
            return  # a fork answers no requests
        frame = wire.encode(self.number, parts)
        self.sent = True
        self._publisher.send_frame(frame)

    def send_multipart(self, parts, *args, **kwargs):
        """Queues a message. Identities, a delimiter and a signature can come before it, as on ZeroMQ's sockets."""
        parts = [bytes(part) for part in parts]
        if b"<IDS|MSG>" in parts:
            parts = parts[parts.index(b"<IDS|MSG>") + 2 :]
        self.send_parts(parts)

    def receive(self):
        """Returns the parts of the next message (list of bytes), or None if there is none."""
        try:
            return self.messages.get(False)
        except _queue.Empty:
            return None

    def recv_multipart(self, *args, **kwargs):
        return self.receive()

    def flush(self, flag=POLLIN, limit=None):
        """Reads all messages that have come, and queues them."""
        if flag & POLLIN:
            self._read()

    def getsockopt(self, option):
        raise NotImplementedError("this kernel has no ZeroMQ sockets; the kernel python3-zmq has them")

    def on_recv(self, callback, copy=True):
        pass

    def close(self, *args, **kwargs):
        pass
