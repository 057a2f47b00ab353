# Generated from ../_async/stream.py by python/tools/generate.py. Do not edit.
"""The events of one cell while it runs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING

from .. import _operations as op
from ..errors import Error
from ..events import Event

if TYPE_CHECKING:
    from .cell import Cell
    from .session import Session


class Stream:
    """The events of a cell, in order, each once. A broken connection is replaced without loss.

    The cell is submitted when the loop begins. The end of the loop does not end the cell.
    """

    def __init__(
        self,
        session: Session,
        submit: Callable[[], Cell],
        on_input: Callable[..., object] | None,
        raise_on_error: bool,
    ) -> None:
        self._session = session
        self._submit = submit
        self._on_input = on_input
        self._raise = raise_on_error
        self._cell: Cell | None = None
        self._events = self._read()

    @property
    def cell(self) -> Cell:
        """The cell. After the loop it is done, with its outputs. Raises Error before the loop begins."""
        if self._cell is None:
            raise Error("The cell is submitted when the loop over the stream begins.")
        return self._cell

    def __iter__(self) -> Stream:
        """Returns the stream itself."""
        return self

    def __next__(self) -> Event:
        """Returns the next event."""
        return self._events.__next__()

    def __enter__(self) -> Stream:
        """Returns the stream, and closes its connection at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        self.close()

    def close(self) -> None:
        """Closes the connection. The cell continues."""
        self._events.close()

    def result(self) -> Cell:
        """Reads the stream to its end, and returns the cell."""
        for _ in self:
            pass
        return self.cell

    def _read(self) -> Generator[Event, None, None]:
        cell = self._cell = self._submit()
        after = (cell.data.first or 1) - 1
        events = self._session._watch(op.READ_EVENTS, after=after, last="session_ended")
        try:
            for event in events:
                if event.cell != cell.id and event.type != "session_ended":
                    continue
                yield event
                if event.type == "input_request" and self._on_input:
                    cell._ask(event, self._on_input)
                if event.type in ("cell_done", "session_ended"):
                    break
        finally:
            events.close()
        cell.refresh()
        if self._raise:
            cell.check()
