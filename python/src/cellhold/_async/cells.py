"""The cells of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _operations as op
from .. import models
from .cell import AsyncCell

if TYPE_CHECKING:
    from .session import AsyncSession


class AsyncCells:
    """The cells of a session: `session.cells`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list(self) -> list[AsyncCell]:
        """Returns all cells with their outputs, oldest first."""
        found = await self._session._call(models.CellList, op.LIST_CELLS)
        return [AsyncCell(self._session, data) for data in found.cells]

    async def get(self, id: str) -> AsyncCell:
        """Returns a cell by its id. Raises NotFoundError."""
        return AsyncCell(self._session, await self._session._call(models.Cell, op.GET_CELL, id))
