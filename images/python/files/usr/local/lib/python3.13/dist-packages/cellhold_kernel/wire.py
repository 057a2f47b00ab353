"""Frames on the stream between the kernel and the agent.

A frame is little-endian: u32 length of the rest, u8 channel, u8 zero, u16 number of parts, u32 length of each part, the
parts. The parts are those of a Jupyter message: header, parent header, metadata, content, then buffers.

An exception can come between any two steps of Python in the main thread: an interrupt, or a signal handler of the user's
code. So each change of state here is one call of a function in C: it happens whole, or it does not happen.
"""

import _thread
import select
import struct
from socket import MSG_DONTWAIT

from . import unsent

SHELL, CONTROL, STDIN, IOPUB = 1, 2, 3, 4

PIECE = 64 << 10  # bytes that are read at once
HELD = 64 << 10    # bytes that can wait for the end of a request
AHEAD = 384 << 10  # bytes that can wait for the agent; code that writes more waits

_HEAD = struct.Struct("<IBBH")
_FOUR = struct.Struct("<IBBHIIII")


def encode(channel, parts):
    """Returns a frame (bytes) with the parts (list of bytes) of one message."""
    sizes = [len(part) for part in parts]
    if len(parts) == 4:
        head = _FOUR.pack(20 + sum(sizes), channel, 0, 4, *sizes)
    else:
        head = _HEAD.pack(4 + 4 * len(parts) + sum(sizes), channel, 0, len(parts)) + struct.pack(f"<{len(parts)}I", *sizes)
    return b"".join((head, *parts))


def decode(data):
    """Splits bytes into whole frames (list of pairs of a channel and the parts) and the rest (bytes)."""
    frames, at = [], 0
    while len(data) - at >= _HEAD.size:
        size, channel, _, count = _HEAD.unpack_from(data, at)
        end = at + 4 + size
        if end > len(data):
            break
        parts, start = [], at + _HEAD.size + 4 * count
        for length in struct.unpack_from(f"<{count}I", data, at + _HEAD.size):
            parts.append(data[start : start + length])
            start += length
        frames.append((channel, parts))
        at = end
    return frames, data[at:]


class Reader:
    """Reads frames. Several threads can call it."""

    def __init__(self, sock):
        self.frames = []  # whole frames (pairs), and after them bytes of the next one
        self.ended = False
        self._sock = sock
        self._lock = _thread.RLock()

    def read(self):
        """Reads what has come, without waiting, and adds it to frames."""
        with self._lock:
            if self._lock._recursion_count() > 1:  # a signal handler that came in between
                return
            while not self.ended:
                known = len(self.frames)
                try:
                    # One call, so that no exception comes between the reading and the storing.
                    self.frames.extend(map(self._sock.recv, (PIECE,), (MSG_DONTWAIT,)))
                except BlockingIOError:
                    break
                except OSError:
                    self.ended = True
                    break
                data = self.frames[-1]
                if not data:
                    self.ended = True
                if known == len(self.frames) or len(data) < PIECE:
                    break
            self._split()

    def _split(self):
        first = next((i for i, item in enumerate(self.frames) if type(item) is bytes), None)
        if first is None:
            return
        data = b"".join(self.frames[first:])
        frames, rest = decode(data)
        if rest:
            frames.append(rest)
        self.frames[first:] = frames

    def take(self, into):
        """Moves the first whole frame to a list. Returns whether there was one (bool)."""
        if not self.frames or type(self.frames[0]) is bytes:
            return False
        into.extend(map(self.frames.pop, (0,)))
        return True


class _Block:
    """Bytes that are being sent."""

    def __init__(self, data, position):
        self.data = data
        self.position = position  # in the stream
        self.sent = []  # how many bytes each call has sent

    def rest(self):
        return memoryview(self.data)[sum(self.sent):]


class Writer:
    """A queue of frames and of text. Several threads can call it. `text` makes frames of text: it gets a list of entries
    that are no bytes, and returns a list of bytes."""

    def __init__(self, sock, text, unsent):
        self.lost = False  # the agent has closed its end
        self._sock = sock
        self._text = text
        self._unsent = unsent
        self._last = _Block(b"", 0)
        self._entries = []  # a block first, if one is being sent; then frames and text
        self._size = 0      # bytes of the entries behind the block, about
        self._tried = 0     # _size at the last attempt to send
        self._lock = _thread.RLock()
        self._writable = select.poll()
        self._writable.register(sock, select.POLLOUT)

    def add(self, entry, size):
        """Queues a frame (bytes), or text. The caller waits if it is far ahead of the agent."""
        self.queue(entry, size)
        if self._size - self._tried > HELD:
            self.send(wait=self.full())

    def queue(self, entry, size):
        """Queues a frame (bytes), or text, without waiting."""
        with self._unsent.lock:
            self._unsent.add(entry)
            self._entries.append(entry)
        self._size += size

    def queue_from(self, items, name, parent, size):
        """Moves the first item of a list here, as text of a stream with a parent header: (name, parent, item)."""
        with self._unsent.lock:
            self._unsent.add((name, parent, items[0]))
            self._entries.extend(zip((name,), (parent,), map(items.pop, (0,))))
        self._size += size

    def full(self):
        """Returns whether code that writes must wait (bool)."""
        return self._size + self._blocked() > AHEAD

    def __len__(self):
        return len(self._entries)

    def _blocked(self):
        """Returns how many bytes of the block are not sent yet (int)."""
        for first in self._entries[:1]:
            if type(first) is _Block:
                return len(first.rest())
        return 0

    def send(self, wait=True):
        """Sends what is queued. With wait, it waits until all but AHEAD / 2 bytes are sent."""
        with self._lock:
            self._send(wait)

    def try_send(self):
        """Sends what can be sent at once, if no other thread is sending. For the helper thread only. Returns whether
        something is left (bool)."""
        if not self._lock.acquire(False):
            return False  # the other thread sends the rest
        try:
            self._send(False)
        finally:
            self._lock.release()
        return bool(self._entries)

    def _send(self, wait):
        if self._lock._recursion_count() > 1:
            return  # a signal handler that came in between; what it has queued is sent with the rest
        while self._entries:
            block = self._block()
            try:
                # One call, so that no exception comes between the sending and the counting.
                block.sent.extend(map(self._sock.send, (block.rest(),), (MSG_DONTWAIT,)))
            except BlockingIOError:
                self._tried = self._size
                rest = block.rest()
                self._unsent.keep(block.position + len(block.data) - len(rest), rest)
                if not wait or self._size + len(rest) <= AHEAD // 2:
                    return
                self._writable.poll()
                continue
            except OSError:
                self.lost = True
                self._entries.clear()
                return
            if not block.rest():
                self._entries.remove(block)
                self._unsent.done()

    def _block(self):
        """Returns the first entry as a block. If it is none, all entries become one block."""
        first = self._entries[0]
        if type(first) is _Block:
            return first
        with self._unsent.lock:
            count, mark = len(self._entries), self._unsent.mark()
        block = _Block(self._join(self._entries[:count]), self._last.position + len(self._last.data))
        self._size = self._tried = 0
        self._unsent.begin(mark, block.position, len(block.data))
        self._entries[:count] = (block,)
        self._last = block
        return block

    def _join(self, entries):
        frames, text = [], []
        for entry in entries:
            if type(entry) is not bytes:
                text.append(entry)
                continue
            if text:
                frames += self._text(text)
                text = []
            frames.append(entry)
        if text:
            frames += self._text(text)
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def forget(self):
        """Drops what is queued and makes new locks, after a fork: the parent sends it."""
        self._unsent = unsent.Nothing()
        self._entries.clear()
        self._size = self._tried = 0
        self._lock = _thread.RLock()
