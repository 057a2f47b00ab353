"""Packs a folder of this machine, and unpacks an archive that untrusted code filled."""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from .errors import DeniedError, ExhaustedError, UnsupportedError

MAX_ENTRIES = 100_000
"""Maximum number of files in an archive of a session."""


def pack(folder: str | os.PathLike[str]) -> IO[bytes]:
    """Returns a temporary tar file with the content of a folder. Only files, folders and symbolic links are in it."""
    file: IO[bytes] = tempfile.TemporaryFile()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in sorted(os.listdir(folder)):
            archive.add(Path(folder) / name, name, filter=_kept)
    file.seek(0)
    return file


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry if entry.isreg() or entry.isdir() or entry.issym() else None


def unpack(file: IO[bytes], folder: str | os.PathLike[str], max_bytes: int) -> Path:
    """Unpacks a tar file into a folder of this machine, which is created if it is missing.

    Untrusted code chose the names. So names and links that lead out of the folder, devices, and archives above
    max_bytes are refused. Raises DeniedError, ExhaustedError, and UnsupportedError for an old Python.
    """
    if not hasattr(tarfile, "data_filter"):
        raise UnsupportedError("This Python cannot unpack archives safely; use Python 3.10.12, 3.11.4 or later.")
    target, size, count = Path(folder), 0, 0
    target.mkdir(parents=True, exist_ok=True)
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        archive.errorlevel = 1
        for entry in archive:
            size, count = size + entry.size, count + 1
            if size > max_bytes or count > MAX_ENTRIES:
                raise ExhaustedError(
                    f"The folder has more than {max_bytes} bytes or {MAX_ENTRIES} files; set max_bytes or download less."
                )
            try:
                archive.extract(entry, target, filter="data")
            except tarfile.FilterError as error:
                raise DeniedError(f"The session's folder has an unsafe entry: {error}.") from error
    return target
