"""Output of forked processes.

Only the kernel itself writes to the stream, and a fork has no helper thread. So a fork sends its messages as packets
over a pair of sockets, and the helper thread of the kernel puts them into the kernel's queue. The helper reads at any
time. Otherwise a kernel that waits for the end of its fork would wait forever once the socket is full.
"""

import itertools
import os
import socket
import struct

PACKET = 48 << 10  # the most bytes of a message in one packet
LARGEST = 64 << 20  # the most bytes of one message
MESSAGES = 1000    # incomplete messages that are kept

_HEAD = struct.Struct("<IQ?")  # process id, number of the message, and whether this packet is its last one
_NUMBERS = itertools.count()


class Forks:
    """Carries frames from forks to the kernel."""

    def __init__(self):
        self.receiver, self._sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.receiver.setblocking(False)
        self._inode = os.fstat(self._sender.fileno()).st_ino
        self.used = False  # the kernel has made a fork
        self._parts = {}  # packets of incomplete messages, by process id and number; None for a message that is too large

    def enter_parent(self):
        """Notes that the kernel has made a fork."""
        self.used = True

    def enter_child(self):
        """Prepares sending, in a fork. Each fork sends whole packets, so forks can share the socket."""
        self.receiver.close()
        self._pid = os.getpid()

    def send(self, frame):
        """Sends a frame (bytes) to the kernel, from a fork. It waits while the socket is full."""
        view, number = memoryview(frame), next(_NUMBERS)
        for start in range(0, len(view), PACKET):
            last = start + PACKET >= len(view)
            try:
                # A fork that becomes a daemon closes all descriptors, and its own files get their numbers.
                if os.fstat(self._sender.fileno()).st_ino != self._inode:
                    return
                self._sender.send(_HEAD.pack(self._pid, number, last) + view[start : start + PACKET])
            except OSError:  # the kernel has ended, or the descriptor is closed
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
            pid, number, last = _HEAD.unpack_from(packet)
            if (frame := self._join((pid, number), packet[_HEAD.size :], last)) is not None:
                return frame

    def _join(self, key, data, last):
        """Adds a packet to its message. Returns the frame (bytes) if it is whole."""
        parts = self._parts.setdefault(key, [])
        if parts is not None:
            parts.append(data)
            if len(parts) * PACKET > LARGEST:
                self._parts[key] = parts = None
        if last:
            del self._parts[key]
            frame = b"".join(parts or ())
            # A frame with another length would end the stream.
            return frame if len(frame) == 4 + int.from_bytes(frame[:4], "little") else None
        if len(self._parts) > MESSAGES:
            del self._parts[next(iter(self._parts))]
        return None
