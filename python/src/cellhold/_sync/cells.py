# Generated from ../_async/cells.py by python/tools/generate.py. Do not edit.
"""The cells of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _operations as op
from .. import models
from .cell import Cell

if TYPE_CHECKING:
    from .session import Session


class Cells:
    """The cells of a session: `session.cells`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self) -> list[Cell]:
        """Returns all cells with their outputs, oldest first."""
        found = self._session._call(models.CellList, op.LIST_CELLS)
        return [Cell(self._session, data) for data in found.cells]

    def get(self, id: str) -> Cell:
        """Returns a cell by its id. Raises NotFoundError."""
        return Cell(self._session, self._session._call(models.Cell, op.GET_CELL, id))
