# Generated from ../_async/files.py by python/tools/generate.py. Do not edit.
"""The files of a session."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import httpx

from .. import _archive, models
from .. import _operations as op
from .._content import PIECE, Content, Partial, Source, opened
from .._operations import Operation
from .._settings import path_bytes
from .._sse import Messages
from .._values import decode
from ..errors import ExhaustedError, NotFoundError, UnavailableError
from . import _sys
from .transport import _json

if TYPE_CHECKING:
    from .session import Session


T = TypeVar("T")


class Listed(Protocol):
    """An entry that the server listed, such as a FileInfo or a CellFile."""

    @property
    def path(self) -> str:
        """Path in the sandbox."""


Path_ = str | bytes | Listed
Progress = Callable[[int, int | None], object]


class Files:
    """The files of a session: `session.files`. Relative paths begin at its working directory, /workspace."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, path: Path_, *, max_bytes: int | None = None) -> bytes:
        """Returns the content of a file. Raises NotFoundError, and ExhaustedError if it has more than max_bytes."""
        if max_bytes is None:
            return (self._session._send(op.DOWNLOAD_FILE, query=_query(path=path))).content
        content = bytearray()
        pieces = self._pieces(op.DOWNLOAD_FILE, _query(path=path))
        try:
            for piece, size, total in pieces:
                if max(size, total or 0) > max_bytes:
                    raise ExhaustedError(f"The file has more than {max_bytes} bytes; set max_bytes or read a range.")
                content += piece
        finally:
            pieces.close()
        return bytes(content)

    def read_text(self, path: Path_, encoding: str = "utf-8") -> str:
        """Returns the content of a file as text. Raises NotFoundError, and UnicodeDecodeError."""
        return (self.read(path)).decode(encoding)

    def read_range(self, path: Path_, start: int, end: int | None = None) -> bytes:
        """Returns the bytes of a file from start up to end, without end. Raises InvalidError beyond the end of the file."""
        last = "" if end is None else str(end - 1)
        headers = {"Range": f"bytes={start}-{last}"}
        return (self._session._send(op.DOWNLOAD_FILE, query=_query(path=path), headers=headers)).content

    def write(
        self, path: Path_, content: Content, *, mode: int | None = None, on_progress: Progress | None = None
    ) -> models.FileInfo:
        """Writes a file completely or not at all, and creates missing folders.

        Args:
            path: path in the sandbox
            content: text, bytes, or a file that is open for reading bytes
            mode: permission bits, such as 0o755. Default: those of the existing file, or 0o644
            on_progress: called with the bytes sent and the size in bytes, or None if it is unknown
        """
        octal = None if mode is None else f"0{mode:o}"
        return self._put(models.FileInfo, op.UPLOAD_FILE, Source(content), _query(path=path, mode=octal), on_progress)

    def upload(
        self, local: str | os.PathLike[str], path: Path_ | None = None, *, on_progress: Progress | None = None
    ) -> models.FileInfo:
        """Uploads a file of this machine. Without path it gets the same name in the working directory.

        on_progress is called with the bytes sent and the size in bytes.
        """
        file = _sys.blocking(opened, local)
        with file:
            return self.write(Path(local).name if path is None else path, file, on_progress=on_progress)

    def download(
        self, path: Path_, local: str | os.PathLike[str] | None = None, *, on_progress: Progress | None = None
    ) -> Path:
        """Downloads a file to this machine, completely or not at all, and returns its path there.

        Without local it gets the same name in the current folder, and replaces no file: untrusted code can have chosen
        the name. on_progress is called with the bytes received and the size in bytes. Raises FileExistsError.
        """
        name = os.fsdecode(path_bytes(path) or b"").rsplit("/", 1)[-1]
        target = Partial(local if local is not None else name, new=local is None)
        try:
            for piece, size, total in self._pieces(op.DOWNLOAD_FILE, _query(path=path)):
                _sys.blocking(target.write, piece)
                if on_progress:
                    _sys.call(on_progress, size, total)
            return _sys.blocking(target.finish)
        except BaseException:
            target.restart()
            raise

    def write_many(self, files: Mapping[str, bytes | str], folder: Path_ | None = None) -> list[models.FileInfo]:
        """Writes small files into one folder in one request. The names have no folders."""
        form = [
            ("file", (name, content.encode() if isinstance(content, str) else content))
            for name, content in files.items()
        ]
        built = httpx.Request("POST", "http://form", files=form)
        content, kind = built.read(), built.headers["Content-Type"]
        answer = self._session._call(
            models.FilesWritten,
            op.UPLOAD_FILES,
            query=_query(path=folder),
            body=lambda: content,
            headers={"Content-Type": kind},
        )
        return answer.files

    def stat(self, path: Path_) -> models.FileInfo:
        """Returns the attributes of a path. Links are not followed. Raises NotFoundError."""
        return self._session._call(models.FileInfo, op.STAT_FILE, query=_query(path=path))

    def exists(self, path: Path_) -> bool:
        """Reports whether a path exists."""
        try:
            self.stat(path)
        except NotFoundError:
            return False
        return True

    def mkdir(self, path: Path_) -> models.FileInfo:
        """Creates a folder and its missing parents. If it exists, nothing changes."""
        return self._session._call(models.FileInfo, op.MAKE_DIRECTORY, query=_query(path=path))

    def move(self, source: Path_, target: Path_, *, replace: bool = False) -> models.FileInfo:
        """Moves a file or folder. If the target exists, replace must be true. Raises ConflictError."""
        query = {"from": path_bytes(source), "to": path_bytes(target), "replace": replace}
        return self._session._call(models.FileInfo, op.MOVE_FILE, query=query)

    def remove(self, path: Path_, *, recursive: bool = False) -> None:
        """Removes a file, a link or a folder. For a folder with content, recursive must be true."""
        self._session._send(op.REMOVE_FILE, query=_query(path=path, recursive=recursive))

    def upload_folder(
        self, local: str | os.PathLike[str], path: Path_, *, on_progress: Progress | None = None
    ) -> models.Unpacked:
        """Uploads the content of a folder of this machine into a folder of the session, completely or not at all."""
        packed = _sys.blocking(_archive.pack, local)
        with packed:
            return self._put(models.Unpacked, op.UPLOAD_ARCHIVE, Source(packed), _query(path=path), on_progress)

    def upload_archive(self, archive: Content, path: Path_, *, on_progress: Progress | None = None) -> models.Unpacked:
        """Unpacks a tar, tgz or zip archive into a folder of the session, completely or not at all."""
        return self._put(models.Unpacked, op.UPLOAD_ARCHIVE, Source(archive), _query(path=path), on_progress)

    def download_folder(
        self,
        path: Path_,
        local: str | os.PathLike[str],
        *,
        max_bytes: int = 1 << 30,
        on_progress: Progress | None = None,
    ) -> Path:
        """Downloads the content of a folder into a folder of this machine, and returns its path.

        Untrusted code chose the names: an entry that leads out of the folder raises DeniedError. More than max_bytes
        raise ExhaustedError.
        """
        with tempfile.TemporaryFile() as file:
            for piece, size, total in self._pieces(op.DOWNLOAD_ARCHIVE, _query(path=path, format="tar")):
                if size > max_bytes + (max_bytes >> 3) + (1 << 20):  # tar adds a header to each file
                    raise ExhaustedError(f"The folder has more than {max_bytes} bytes; set max_bytes or download less.")
                _sys.blocking(file.write, piece)
                if on_progress:
                    _sys.call(on_progress, size, total)
            return _sys.blocking(_archive.unpack, file, local, max_bytes)

    def download_archive(
        self, path: Path_, local: str | os.PathLike[str], *, format: Literal["tar", "tgz", "zip"] = "tar"
    ) -> Path:
        """Downloads a folder as an archive. Untrusted code chose the names in it: check them before you unpack it."""
        target = Partial(local)
        try:
            for piece, _, _ in self._pieces(op.DOWNLOAD_ARCHIVE, _query(path=path, format=format)):
                _sys.blocking(target.write, piece)
            return _sys.blocking(target.finish)
        except BaseException:
            target.restart()
            raise

    def watch(
        self, path: Path_ | None = None, *, recursive: bool = False
    ) -> Generator[models.FileChange | None, None, None]:
        """Yields the changes in a folder. The first element is None: all later changes are reported.

        The type of a change is created, modified, removed, or overflow, if changes were missed. Raises
        UnavailableError when the server or the sandbox ends the watch.
        """
        self._session.open()
        messages, transport = Messages(), self._session._client._transport
        query = _query(path=path, recursive=recursive)
        with transport.streamed(op.WATCH_DIRECTORY, self._session.id, query=query) as answer:
            for piece in answer.iter_bytes():
                for message in messages.feed(piece):
                    if message.event == "ready":
                        yield None
                    elif message.event != "bye":
                        yield decode(models.FileChange, _json(message.data))
        raise UnavailableError("The watch ended. Watch again and list the folder, because changes can be missing.")

    def outputs(self) -> list[models.OutputFile]:
        """Returns the files that code wrote to /mnt/data/output. The server keeps a copy of them."""
        return (self._session._call(models.FileList, op.LIST_FILES)).files

    def read_output(self, path: str | models.OutputFile) -> bytes:
        """Returns the content of a file of `outputs`. Raises NotFoundError."""
        return (self._session._send(op.GET_FILE, path if isinstance(path, str) else path.path)).content

    def _put(
        self, cls: type[T], operation: Operation, source: Source, query: dict[str, Any], on_progress: Progress | None
    ) -> T:
        """Uploads a body. A request is repeated only if nothing was sent."""

        def body() -> Iterator[bytes]:
            source.rewind()
            sent = 0
            for piece in _sys.pieces(source.file, PIECE):
                sent += len(piece)
                yield piece
                if on_progress:
                    _sys.call(on_progress, sent, source.size)

        return self._session._call(cls, operation, query=query, body=body, headers=source.headers)

    def _pieces(self, operation: Operation, query: dict[str, Any]) -> Generator[tuple[bytes, int, int | None], None]:
        """Yields the pieces of a download, with the bytes so far and the size."""
        self._session.open()
        received = 0
        with self._session._client._transport.streamed(operation, self._session.id, query=query) as answer:
            length = answer.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            for piece in answer.iter_bytes(PIECE):
                received += len(piece)
                yield piece, received, total

    def list(self, path: Path_ | None = None, *, limit: int = 100_000) -> list[models.FileInfo]:
        """Returns the entries of a folder, sorted by name: path, type, size in bytes, time and mode.

        Raises ExhaustedError if the folder has more than limit entries: code can create entries without end.
        """
        found: list[models.FileInfo] = []
        after: bytes | None = None
        while True:
            query = _query(path=path, after=after)
            page = self._session._call(models.Directory, op.LIST_DIRECTORY, query=query)
            found.extend(page.entries)
            if len(found) > limit:
                raise ExhaustedError(f"The folder has more than {limit} entries.")
            if not page.next or not page.entries:
                return found
            after = path_bytes(_Escaped(page.next))


class _Escaped:
    """A percent-encoded name."""

    def __init__(self, escaped: str) -> None:
        self.escaped = escaped


def _query(path: Any = None, **more: Any) -> dict[str, Any]:
    return {"path": path_bytes(path), **more}
