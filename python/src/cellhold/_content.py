"""Bodies of uploads: their bytes, their size, and whether they can be sent again."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import IO

PIECE = 1 << 20
"""Bytes of one piece of an upload or download."""

Content = str | bytes | bytearray | memoryview | IO[bytes]


class Source:
    """The content of an upload."""

    def __init__(self, content: Content) -> None:
        if isinstance(content, str):
            content = content.encode()
        if isinstance(content, (bytes, bytearray, memoryview)):
            content = io.BytesIO(content)
        self.file = content
        self.start = content.tell() if content.seekable() else None
        self.size = self._size()

    def _size(self) -> int | None:
        if self.start is None:
            return None
        end = self.file.seek(0, os.SEEK_END)
        self.file.seek(self.start)
        return end - self.start

    def rewind(self) -> None:
        """Goes back to the beginning, for another attempt."""
        if self.start is not None:
            self.file.seek(self.start)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the body."""
        known = {"Content-Length": str(self.size)} if self.size is not None else {}
        return {"Content-Type": "application/octet-stream", **known}


class Partial:
    """A file that appears with its whole content, or not at all. A new one replaces no file: it raises FileExistsError."""

    def __init__(self, path: str | os.PathLike[str], *, new: bool = False) -> None:
        self.path = Path(path)
        self._new = new
        if new and os.path.lexists(self.path):
            raise FileExistsError(errno.EEXIST, "The file exists: give a path on this machine", str(self.path))
        self._part = self.path.with_name(f".{self.path.name}.part-{os.getpid()}")
        self._file: IO[bytes] | None = None

    def write(self, piece: bytes) -> None:
        """Writes a piece at the end."""
        if self._file is None:
            self._file = open(self._part, "wb")
        self._file.write(piece)

    def finish(self) -> Path:
        """Gives the file its name, and returns the path."""
        self.write(b"")
        self.close()
        if self._new:
            open(self.path, "xb").close()  # it could have been made since then
        os.replace(self._part, self.path)
        return self.path

    def restart(self) -> None:
        """Forgets the content."""
        self.close()
        self._part.unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def opened(path: str | os.PathLike[str]) -> IO[bytes]:
    """Opens a file of this machine for reading."""
    return open(path, "rb")
