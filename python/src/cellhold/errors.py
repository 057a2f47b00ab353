"""The errors of the package: one class for each kind of error of the server, and those of code that failed.

An exception in a cell is not an error of the package, unless you ask for it with `raise_on_error`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .outputs import plain

if TYPE_CHECKING:
    from ._cell import CellView
    from ._command import CommandView
    from ._run import RunView


class Error(Exception):
    """The base class of all errors of this package. The text is the sentence of the server.

    Attributes:
        kind: kind of the error, such as "not_found"
        detail: the sentence for people; its words can change
        status: HTTP status, or 0 if there was no answer
        request_id: id of the request in the log of the server, or ""
        fields: invalid parts of the request, each with location and message
    """

    kind = "internal"

    def __init__(
        self, detail: str, *, status: int = 0, request_id: str = "", fields: Sequence[dict[str, Any]] = ()
    ) -> None:
        text = detail
        for field in fields:
            text += f"\n  {field.get('location', 'request')}: {field.get('message', '')}"
        super().__init__(text)
        self.detail = detail
        self.status = status
        self.request_id = request_id
        self.fields = list(fields)


class InvalidError(Error):
    """The request is wrong. Correct it."""

    kind = "invalid"


class NotFoundError(Error):
    """The thing does not exist, or belongs to another token."""

    kind = "not_found"


class ConflictError(Error):
    """The request does not fit the state, such as a checkpoint while a cell runs."""

    kind = "conflict"


class DeniedError(Error):
    """The token is missing or wrong, or the settings of the operator do not allow the request."""

    kind = "denied"


class ExhaustedError(Error):
    """A limit is reached. End or delete something, or raise the limit."""

    kind = "exhausted"


class UnavailableError(Error):
    """The server cannot be reached, or cannot do it now. The request can have had its effect: check before a retry."""

    kind = "unavailable"


class UnsupportedError(Error):
    """This server or its host cannot do it."""

    kind = "unsupported"


class InternalError(Error):
    """A mistake of the server. Its log has the request_id."""

    kind = "internal"


class WaitTimeout(Error, TimeoutError):
    """The time to wait ended. The cell or command continues.

    Attributes:
        waited: the cell or command; its method wait waits longer
    """

    kind = "timeout"

    def __init__(self, detail: str, waited: object) -> None:
        super().__init__(detail)
        self.waited = waited


class CellError(Error):
    """A cell did not end with ok, and `raise_on_error` is set. The text has the traceback.

    Attributes:
        cell: the cell, with its outputs
    """

    kind = "cell"

    def __init__(self, cell: CellView) -> None:
        super().__init__(str(cell.error or cell.status))
        self.cell = cell


class CommandError(Error):
    """A command did not end with exit status 0, and `raise_on_error` is set.

    Attributes:
        command: the command, with its output
    """

    kind = "command"

    def __init__(self, command: CommandView) -> None:
        super().__init__(f"The command ended with {command.ending}.\n{plain(command.stderr)[-2000:]}".rstrip())
        self.command = command


class RunError(Error):
    """A run did not end with ok, and `raise_on_error` is set.

    Attributes:
        run: the run, with its outputs
    """

    kind = "run"

    def __init__(self, run: RunView) -> None:
        super().__init__(str(run.error or run.data.cause or f"The run ended with {run.status}."))
        self.run = run


_KINDS: dict[str, type[Error]] = {
    cls.kind: cls
    for cls in (
        InvalidError,
        NotFoundError,
        ConflictError,
        DeniedError,
        ExhaustedError,
        UnavailableError,
        UnsupportedError,
        InternalError,
    )
}

_STATUSES: dict[int, type[Error]] = {
    400: InvalidError,
    401: DeniedError,
    403: DeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidError,
    416: InvalidError,
    422: InvalidError,
    429: ExhaustedError,
    501: UnsupportedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}


def from_answer(status: int, body: bytes) -> Error:
    """Returns the error of an answer. If the body is no problem document, the status decides the class."""
    cls = _STATUSES.get(status, InternalError)
    return from_problem(status, body) or cls(f"The server answered with status {status}.", status=status)


def from_problem(status: int, body: bytes) -> Error | None:
    """Returns the error of a problem document of the server, or None if the body is something else."""
    try:
        problem = json.loads(body)
        cls, detail = _KINDS[problem["kind"]], str(problem["detail"])
        fields = [field for field in problem.get("errors", ()) if isinstance(field, dict)]
        return cls(detail, status=status, request_id=str(problem.get("request_id", "")), fields=fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def of_kind(kind: str, detail: str) -> Error:
    """Returns an error of a kind."""
    return _KINDS.get(kind, InternalError)(detail)
