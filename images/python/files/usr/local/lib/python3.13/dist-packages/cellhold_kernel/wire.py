"""Frames on the stream between the kernel and the agent.

A frame is little-endian: u32 length of the rest, u8 channel, u8 zero, u16 number of parts, u32 length of each part, the
parts. The parts are those of a Jupyter message: header, parent header, metadata, content, then buffers.

An exception can come between any two steps of Python in the main thread: an interrupt, or a signal handler of the user's
code. So each change of state here is one call of a function in C: it happens completely or not at all.
"""

import _thread
import select
import struct
from socket import MSG_DONTWAIT

from . import unsent

SHELL, CONTROL, STDIN, IOPUB = 1, 2, 3, 4

PIECE = 64 << 10   # the most bytes of one read
HELD = 64 << 10    # the most bytes that wait for the end of a request
AHEAD = 384 << 10  # the most bytes that wait for the agent; code that writes more must wait

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
        self.frames = []  # whole frames (pairs), and after them bytes of the next frame
        self.ended = False
        self._needed = 0  # bytes of the frame that is not whole yet; 0 if they are not known
        self._sock = sock
        self._lock = _thread.RLock()

    def read(self):
        """Reads the bytes that have come, without waiting, and adds their frames to self.frames."""
        with self._lock:
            if self._lock._recursion_count() > 1:  # a signal handler has interrupted this function and called it
                return
            while not self.ended:
                known = len(self.frames)
                try:
                    # One call, so that no exception comes between reading the bytes and storing them.
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
        if sum(map(len, self.frames[first:])) < self._needed:
            return  # the next frame is not whole yet
        data = b"".join(self.frames[first:])
        frames, rest = decode(data)
        self._needed = 4 + int.from_bytes(rest[:4], "little") if len(rest) >= 4 else 0
        if rest:
            frames.append(rest)
        self.frames[first:] = frames

    def forget(self):
        """Drops what has come and makes a new lock, after a fork: the parent handles it."""
        self.ended = True
        self.frames.clear()
        self._lock = _thread.RLock()

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
        self.position = position  # number of bytes of the stream before the block
        self.sent = []  # number of bytes that each call of send has sent

    def rest(self):
        return memoryview(self.data)[sum(self.sent):]


class Writer:
    """A queue of frames and of text. Several threads can call it. An entry that is bytes is a frame, and all other entries
    are text. The function `text` turns a list of text entries into a list of frames."""

    def __init__(self, sock, text, unsent):
        self.lost = False  # the agent has closed its end
        self._sock = sock
        self._text = text
        self._unsent = unsent
        self._last = _Block(b"", 0)
        self._entries = []  # the block that is being sent, if any; then frames and text
        self._size = 0      # approximate number of bytes of the entries after the block
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
        """Moves the first item of a list to this queue, as text of an output stream: (name, parent header, item)."""
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
        """Returns the number of bytes of the block that are not sent yet (int)."""
        for first in self._entries[:1]:
            if type(first) is _Block:
                return len(first.rest())
        return 0

    def send(self, wait=True):
        """Sends the queue. If wait is true, it waits until at most AHEAD / 2 bytes are left."""
        with self._lock:
            self._send(wait)

    def try_send(self):
        """Sends as much as the stream accepts at once, if no other thread is sending. Returns whether output is left (bool).
        Only the helper thread calls it."""
        if not self._lock.acquire(False):
            return bool(self._entries)  # the other thread sends the rest
        try:
            self._send(False)
        finally:
            self._lock.release()
        return bool(self._entries)

    def _send(self, wait):
        if self._lock._recursion_count() > 1:
            return  # a signal handler has interrupted this function; its output is sent with the rest
        while self._entries:
            if self.lost:
                self._entries.clear()
                return
            block = self._block()
            try:
                # One call, so that no exception comes between sending the bytes and counting them.
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
        """Returns the block that is being sent. Without such a block, it makes one block of all entries."""
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
        """Drops the queue and makes new locks, in a fork: the parent process sends this output."""
        self._unsent = unsent.Nothing()
        self._entries.clear()
        self._size = self._tried = 0
        self._lock = _thread.RLock()
