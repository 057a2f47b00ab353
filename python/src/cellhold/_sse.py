"""Reads server-sent events and lines from pieces of bytes. It makes no requests."""

from __future__ import annotations

from typing import NamedTuple

from .errors import InternalError

MAX_LINE = 32 << 20
"""Maximum bytes of a line. The largest event has 16 MiB."""


class Message(NamedTuple):
    """One server-sent event: the field event, and the data."""

    event: str
    data: bytes


class Lines:
    """Splits pieces of bytes into lines."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Returns the lines that a piece completes, without their ends. Raises InternalError above MAX_LINE."""
        *complete, rest = piece.split(b"\n")
        if complete:
            complete[0] = b"".join(self._parts) + complete[0]
            self._parts, self._size = [], 0
        self._parts.append(rest)
        self._size += len(rest)
        if self._size > MAX_LINE:
            raise InternalError(f"The server sent a line above the limit of {MAX_LINE} bytes.")
        return [line.rstrip(b"\r") for line in complete]


class Messages:
    """Splits pieces of bytes into server-sent events."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._event = ""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[Message]:
        """Returns the events that a piece completes. Comments are skipped."""
        found = []
        for line in self._lines.feed(piece):
            name, _, value = line.partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if not line:
                if self._data:
                    found.append(Message(self._event, b"\n".join(self._data)))
                self._event, self._data = "", []
            elif name == b"event":
                self._event = value.decode("utf-8", "replace")
            elif name == b"data":
                self._data.append(value)
        return found
