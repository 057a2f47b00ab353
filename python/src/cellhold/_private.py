"""Starts a private server from the program `cellhold`, and ends it with this process.

The server listens on a free port of this machine and has a new token, which is in no file. It reads the pipe whose only
writer is this process. So it also ends when this process is killed.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from typing import IO, Any

from .errors import UnavailableError

_STOP = 20.0
"""Seconds for the server to end its sessions."""

_lock = threading.Lock()
_servers: dict[str, _Server] = {}


class _Server:
    """A running private server."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, token: str) -> None:
        self.process = process
        self.url = url
        self.token = token

    def close(self) -> None:
        """Ends the server and its sessions. Returns when it has ended, or after 20 s."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(_STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(binary: str | None = None) -> tuple[str, str]:
    """Returns the URL and the token of this process's private server, which starts at the first call.

    binary is the path of the program; without it, that of the package cellhold-server or on the path is used.

    Raises UnavailableError if there is no program, or the server does not start.
    """
    program = binary or program_path()
    with _lock:
        server = _servers.get(program)
        if server is None or server.process.poll() is not None:
            server = _servers[program] = _started(program)
        return server.url, server.token


def program_path() -> str:
    """Returns the path of the program `cellhold`. Raises UnavailableError if there is none."""
    try:
        return str(importlib.import_module("cellhold_server").program())
    except (ImportError, FileNotFoundError):
        pass
    found = shutil.which("cellhold")
    if found is None:
        raise UnavailableError("The program cellhold is not on the path. Run: pip install 'cellhold[server]'.")
    return found


def _started(program: str) -> _Server:
    with tempfile.TemporaryFile() as log:
        try:
            # In a session of its own, the server does not get the Ctrl-C of a terminal, which interrupts only Python.
            process = subprocess.Popen(
                [program, "serve", "--private", "--max-egress", "public"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(f"The program {program} cannot start: {error.strerror}.") from error
        greeting = _greeting(process)
        if greeting is None:
            _Server(process, "", "").close()
            raise UnavailableError(f"The private server did not start: {_end(log)}")
    return _Server(process, str(greeting["url"]), str(greeting["token"]))


def _greeting(process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
    """Returns the line with which the server says that it is ready, or None if the server ended."""
    if process.stdout is None:
        return None
    with process.stdout as out:
        line = out.readline(1 << 16)
    try:
        greeting = json.loads(line)
    except ValueError:
        return None
    return greeting if isinstance(greeting, dict) and {"url", "token"} <= greeting.keys() else None


def _end(log: IO[bytes]) -> str:
    """Returns the end of what a server wrote to its log."""
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - 2000))
    return log.read().decode("utf-8", "replace").strip() or "it printed no reason."


def stop() -> None:
    """Ends the private servers of this process, with all their sessions."""
    with _lock:
        servers = list(_servers.values())
        _servers.clear()
    for server in servers:
        server.close()


def _forget() -> None:
    """Closes the pipes in a forked child: otherwise the servers would live as long as the child."""
    global _lock
    _lock = threading.Lock()
    for server in _servers.values():
        if server.process.stdin:
            server.process.stdin.close()
    _servers.clear()


atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
