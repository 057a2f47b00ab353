"""Output of forked processes.

Only the kernel itself writes to the stream, and a fork has no helper thread. So a fork sends its messages as packets
over a pair of sockets, and the helper thread of the kernel puts them into the kernel's queue. The helper reads at any
time. Otherwise a kernel that waits for the end of its fork would wait forever once the socket is full.
"""

import os
import socket
import struct

PACKET = 48 << 10  # the most bytes of a message in one packet
LARGEST = 64 << 20  # the most bytes of one message
PROCESSES = 1000   # the most forks whose incomplete messages are kept

_HEAD = struct.Struct("<I?")  # process id, and whether this packet is the last of its message


class Forks:
    """Carries frames from forks to the kernel."""

    def __init__(self):
        self.receiver, self._sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.receiver.setblocking(False)
        self._parts = {}  # packets of messages that are not complete, by process id

    def enter_child(self):
        """Prepares sending, in a fork. Each fork sends whole packets, so forks can share the socket."""
        self.receiver.close()
        self._pid = os.getpid()

    def send(self, frame):
        """Sends a frame (bytes) to the kernel, from a fork. It waits while the socket is full."""
        view = memoryview(frame)
        for start in range(0, len(view), PACKET):
            last = start + PACKET >= len(view)
            try:
                self._sender.send(_HEAD.pack(self._pid, last) + view[start : start + PACKET])
            except OSError:  # the kernel has ended
                return

    def receive(self):
        """Returns the next whole frame (bytes) of a fork, or None."""
        while True:
            try:
                packet = self.receiver.recv(_HEAD.size + PACKET)
            except OSError:
                return None
            if len(packet) < _HEAD.size:
                return None
            pid, last = _HEAD.unpack_from(packet)
            parts = self._parts.setdefault(pid, [])
            parts.append(packet[_HEAD.size :])
            if last:
                del self._parts[pid]
                return b"".join(parts)
            if len(self._parts) > PROCESSES or len(parts) * PACKET > LARGEST:
                self._parts.pop(next(iter(self._parts)))
