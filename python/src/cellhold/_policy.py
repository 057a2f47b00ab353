"""Decides which requests can be repeated, when, and how long an answer can take. It makes no requests."""

from __future__ import annotations

import time

from . import _operations as op
from ._operations import Operation

POLL = 50.0
"""Seconds that one request waits for a result. It is shorter than the timeouts of usual proxies."""

SILENCE = 45.0
"""Seconds without data after which a stream counts as broken. The server sends a comment every 15 s."""

SLOW = 900.0
"""Seconds that an operation can take whose answer comes when its work is done."""

SHORT = 3.0
"""Seconds of retries while a server never answered: its URL can be wrong."""

_REPEATABLE = frozenset(
    {
        op.END_COMMAND,  # does nothing if the command is done
        op.HIBERNATE,  # does nothing if the session is hibernated
        op.MAKE_DIRECTORY,  # does nothing if the directory exists
        op.RESIZE_COMMAND,
        op.RESUME,  # does nothing if the session is not hibernated
        op.SET_DEADLINE,  # it counts from the last request, as the caller wants
        op.DELETE_SESSION,  # a second answer is not_found, which the client accepts
        op.DELETE_CHECKPOINT,
        op.DELETE_KERNEL,
    }
)
"""Operations that have the same effect once and twice. A remove of a file is none: other code can make it again."""

_KEYED = frozenset({op.CREATE_SESSION, op.SUBMIT_CELL, op.RUN, op.RUN_BATCH})
"""Operations that the server does once for each idempotency key."""

_SLOW = frozenset(
    {
        op.CREATE_SESSION,
        op.ADD_KERNEL,
        op.RESTART,
        op.INSTALL_PACKAGES,
        op.REMOVE_PACKAGE,
        op.LOCK_PACKAGES,
        op.MAKE_CHECKPOINT,
        op.ROLLBACK,
        op.FORK,
        op.HIBERNATE,
        op.RESUME,
        op.UPLOAD_FILE,
        op.UPLOAD_FILES,
        op.UPLOAD_ARCHIVE,
        op.MOVE_FILE,
        op.REMOVE_FILE,
        op.END_COMMAND,
        op.DELETE_SESSION,
        op.GET_NOTEBOOK,
        op.IMPORT_NOTEBOOK,
    }
)


def repeatable(operation: Operation, keyed: bool) -> bool:
    """Reports whether a request can be sent again although the server can have done it."""
    if operation in _KEYED:
        return keyed
    return operation.method == "GET" or operation in _REPEATABLE


def deletes(operation: Operation) -> bool:
    """Reports whether not_found is the answer to a repeated request that was done."""
    return operation.method == "DELETE" and operation in _REPEATABLE


def patience(operation: Operation, timeout: float, wait: float | None) -> float:
    """Returns how many seconds the server can be silent before its answer."""
    if wait is not None:
        return max(timeout, wait + 30)
    if operation in (op.RUN, op.RUN_BATCH):
        return 3600 + 60  # the maximum deadline of a run
    return max(timeout, SLOW) if operation in _SLOW else timeout


class Backoff:
    """The pauses between retries: short after a broken connection, longer while a server starts."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.progress()

    def progress(self) -> None:
        """Begins again, because the server answered."""
        self._pause = 0.1
        self._until = time.monotonic() + self._patience

    def limit(self, seconds: float) -> None:
        """Sets a shorter time for all retries together."""
        self._until = min(self._until, time.monotonic() + seconds)

    def next(self) -> float | None:
        """Returns the seconds before the next retry, or None if there is none."""
        pause, self._pause = self._pause, min(2 * self._pause, 2.0)
        return pause if time.monotonic() + pause < self._until else None


class Deadline:
    """A time at which waiting ends."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._at = None if seconds is None else time.monotonic() + seconds

    def poll(self) -> float:
        """Returns how many seconds the next request can wait."""
        if self._at is None:
            return POLL
        return max(0.0, min(POLL, self._at - time.monotonic()))

    @property
    def over(self) -> bool:
        """True if the time has come."""
        return self._at is not None and time.monotonic() >= self._at


def waiting(seconds: float | None) -> str | None:
    """Returns the value of the query parameter wait."""
    return None if seconds is None else f"{seconds:.3f}s"
