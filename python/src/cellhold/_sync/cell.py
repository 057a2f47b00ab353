# Generated from ../_async/cell.py by python/tools/generate.py. Do not edit.
"""One cell of a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from .. import _operations as op
from .. import models
from .._cell import CellView
from .._policy import Deadline, waiting
from ..errors import CellError, ConflictError, WaitTimeout
from ..events import Event, Prompt
from . import _sys

if TYPE_CHECKING:
    from .session import Session
    from .stream import Stream


class Cell(CellView):
    """One piece of code with its outputs and its result."""

    def __init__(self, session: Session, data: models.Cell) -> None:
        self._session = session
        self.data = data

    def wait(self, timeout: float | None = None) -> Cell:
        """Waits until the cell is done, and returns it. timeout is in seconds and does not end the cell.

        Raises WaitTimeout if the time ends first.
        """
        self._until(Deadline(timeout))
        return self

    def _until(self, deadline: Deadline) -> None:
        while not self.done:
            if deadline.over:
                raise WaitTimeout(f"The cell {self.id} is not done after {deadline.seconds} s. It continues.", self)
            self._get(deadline.poll())

    def refresh(self) -> Cell:
        """Reads the cell again, with its outputs so far and its late output, and returns it."""
        self._get(None)
        return self

    def _get(self, wait: float | None) -> None:
        query = {"wait": waiting(wait)}
        self.data = self._session._call(models.Cell, op.GET_CELL, self.id, query=query, wait=wait)

    def stream(self, *, on_input: Callable[..., object] | None = None) -> Stream:
        """Returns the events of the cell from its beginning, live."""
        return self._session._stream_of(self, on_input)

    def cancel(self) -> Cell:
        """Cancels the cell if it waits, or interrupts it if it runs, and returns it. Raises ConflictError if it is done."""
        self.data = self._session._call(models.Cell, op.CANCEL_CELL, self.id)
        return self

    def interrupt(self) -> None:
        """Interrupts the cell if it runs. Another cell is never interrupted. The kernel keeps its variables."""
        self._session._send(op.INTERRUPT, query={"kernel": self.kernel, "cell": self.id})

    def answer(self, value: str, *, request: int | None = None) -> None:
        """Answers a question of the cell, which must have been submitted with allow_stdin.

        value has no line break and at most 1 MiB. request is the number of the input_request event; None means the
        open question. Raises ConflictError if there is no such question.
        """
        self._session._send(op.ANSWER_INPUT, self.id, json=models.AnswerInput(value=value, request=request))

    def read_text(
        self, stream: Literal["stdout", "stderr"] = "stdout", *, offset: int = 0, limit: int | None = None
    ) -> str:
        """Returns the full text that the cell printed to a stream up to now, at most 256 MiB.

        offset and limit are in bytes. Bytes that are not UTF-8 become U+FFFD.
        """
        query = {"stream": stream, "offset": offset, "limit": limit}
        answer = self._session._send(op.GET_CELL_TEXT, self.id, query=query)
        return answer.content.decode("utf-8", "replace")

    def _ask(self, event: Event, answer: Callable[..., object]) -> None:
        """Asks the caller, and answers the cell. A question that ended before needs no answer."""
        prompt = Prompt(str(event.content.get("prompt", "")), bool(event.content.get("password")))
        value = _sys.call(answer, prompt)
        try:
            self.answer(str(value), request=event.seq)
        except ConflictError:
            pass

    def check(self) -> Cell:
        """Returns the cell. Raises CellError if it is done and did not end with ok."""
        if self.done and not self.ok:
            raise CellError(self)
        return self
