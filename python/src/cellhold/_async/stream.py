"""The events of one cell while it runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING

from .. import _operations as op
from ..errors import Error
from ..events import Event

if TYPE_CHECKING:
    from .cell import AsyncCell
    from .session import AsyncSession


class AsyncStream:
    """The events of a cell, in order, each once. A broken connection is replaced without loss.

    The cell is submitted when the loop begins. The end of the loop does not end the cell.
    """

    def __init__(
        self,
        session: AsyncSession,
        submit: Callable[[], Awaitable[AsyncCell]],
        on_input: Callable[..., object] | None,
        raise_on_error: bool,
    ) -> None:
        self._session = session
        self._submit = submit
        self._on_input = on_input
        self._raise = raise_on_error
        self._cell: AsyncCell | None = None
        self._events = self._read()

    @property
    def cell(self) -> AsyncCell:
        """The cell. After the loop it is done, with its outputs. Raises Error before the loop begins."""
        if self._cell is None:
            raise Error("The cell is submitted when the loop over the stream begins.")
        return self._cell

    def __aiter__(self) -> AsyncStream:
        """Returns the stream itself."""
        return self

    async def __anext__(self) -> Event:
        """Returns the next event."""
        return await self._events.__anext__()

    async def __aenter__(self) -> AsyncStream:
        """Returns the stream, and closes its connection at the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connection. The cell continues."""
        await self._events.aclose()

    async def result(self) -> AsyncCell:
        """Reads the stream to its end, and returns the cell."""
        async for _ in self:
            pass
        return self.cell

    async def _read(self) -> AsyncGenerator[Event, None]:
        cell = self._cell = await self._submit()
        after = (cell.data.first or 1) - 1
        events = self._session._watch(op.READ_EVENTS, after=after, last="session_ended")
        try:
            async for event in events:
                if event.cell != cell.id and event.type != "session_ended":
                    continue
                yield event
                if event.type == "input_request" and self._on_input:
                    await cell._ask(event, self._on_input)
                if event.type in ("cell_done", "session_ended"):
                    break
        finally:
            await events.aclose()
        await cell.refresh()
        if self._raise:
            cell.check()
