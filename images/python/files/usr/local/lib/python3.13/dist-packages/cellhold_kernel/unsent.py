"""Keeps output that is queued and not sent in shared memory. The agent reads it when the kernel has died.

The queue of wire.Writer joins entries to a block, and sends the block. Each entry has a record in the memory.

The memory has SIZE bytes: a header, the rest of a block, and records. The header has little-endian u64 numbers:

    end       bytes of all records
    start     bytes of the records that are in the block, or were sent
    before    bytes of the records that were sent before the block
    position  position of the block in the stream: the number of bytes before it
    length    bytes of the block; 0 if no block is being sent
    rest_at   position of the rest of the block in the stream
    rest      bytes of the rest that could not be sent; they begin at REST
    lost      1 if there was no space for a record

A record is u8 kind, u8 zero, u16 length of the id of the request, u32 length of the data, the id, the data. The data
is text in UTF-8 of standard output (kind 1) or standard error (kind 2), or a frame (kind 3).

The agent counts the bytes that it has read. If they end before the block, the records from `before` on are missing. If
they end in the block, the rest of the block and the records from `start` on are missing. If they end after the block,
only the records from `start` on are missing.
"""

import _thread
import struct

import cellhold_encoding

SIZE = 1 << 20
REST, RECORDS = 64, 512 << 10  # offsets of the rest and of the records in the memory

STDOUT, STDERR, FRAME = 1, 2, 3

_NUMBERS = struct.Struct("<8Q")
_RECORD = struct.Struct("<BBHI")
_MARKS = struct.Struct("<5Q")
_ONE = struct.Struct("<Q")
_KINDS = {"stdout": STDOUT, "stderr": STDERR}


class Unsent:
    """Writes the memory (mmap.mmap of SIZE bytes). wire.Writer holds the lock while it adds an entry and its record, and
    while it counts entries and records. So entries and records always agree."""

    def __init__(self, memory):
        self.lock = _thread.RLock()
        self._memory = memory
        self._end = self._start = 0  # as in the header
        self._lost = 0      # number of records without space, after the block
        self._lost_in = 0   # number of records without space, in the block

    def add(self, entry):
        """Adds a record for a frame (bytes), or for text: a tuple of a stream's name, a parent header, and str or bytes.
        The caller holds the lock."""
        if self.lock._recursion_count() > 1:
            return  # a signal handler has interrupted this function and called it
        kind, request, data = _record(entry)
        at = RECORDS + self._end
        end = at + _RECORD.size + len(request) + len(data)
        if end > SIZE:
            self._lost += 1
            _ONE.pack_into(self._memory, 56, 1)
            return
        self._memory[at:end] = b"".join((_RECORD.pack(kind, 0, len(request), len(data)), request, data))
        self._end = end - RECORDS
        _ONE.pack_into(self._memory, 0, self._end)

    def mark(self):
        """Returns the end of the records so far, and the number of lost records (tuple). The caller holds the lock."""
        return self._end, self._lost

    def begin(self, mark, position, length):
        """Notes that the records before a mark are in a block of the stream, and that the block is being sent."""
        with self.lock:
            before, self._start = self._start, mark[0]
            self._lost_in, self._lost = mark[1], self._lost - mark[1]
            _MARKS.pack_into(self._memory, 0, self._end, self._start, before, position, length)

    def keep(self, position, rest):
        """Keeps the rest (memoryview) of the block, which cannot be sent now."""
        fits = len(rest) <= RECORDS - REST
        _ONE.pack_into(self._memory, 48, 0)
        if fits:
            self._memory[REST : REST + len(rest)] = rest
            _ONE.pack_into(self._memory, 40, position)
            _ONE.pack_into(self._memory, 48, len(rest))
        _ONE.pack_into(self._memory, 56, int(not fits or self._lost + self._lost_in > 0))

    def done(self):
        """Forgets the block, which was sent."""
        with self.lock:
            self._lost_in = 0
            if self._start == self._end:  # no record came while it was sent
                self._start = self._end = 0
            _NUMBERS.pack_into(self._memory, 0, self._end, self._start, self._start, 0, 0, 0, 0, int(self._lost > 0))


def _record(entry):
    """Returns the fields of an entry's record: the kind (int), the id of the request (bytes) and the data (bytes)."""
    if type(entry) is bytes:
        return FRAME, b"", entry
    name, parent, data = entry
    if type(data) is str:
        data = cellhold_encoding.utf8(data)
    return _KINDS[name], str(parent.get("msg_id", "")).encode()[:1000], data


class Nothing:
    """Replaces Unsent if the agent gave no memory."""

    def __init__(self):
        self.lock = _thread.RLock()

    def add(self, entry):
        pass

    def mark(self):
        pass

    def begin(self, mark, position, length):
        pass

    def keep(self, position, rest):
        pass

    def done(self):
        pass
