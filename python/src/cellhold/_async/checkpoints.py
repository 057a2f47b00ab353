"""The checkpoints of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _operations as op
from .. import models

if TYPE_CHECKING:
    from .session import AsyncSession


class AsyncCheckpoints:
    """The checkpoints of a session: `session.checkpoints`. They are deleted with the session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def create(self, name: str) -> models.Checkpoint:
        """Saves the session under a name: letters, digits, '.', '_' and '-', at most 64.

        Raises ConflictError if the name exists, or a cell, command or transfer is running.
        """
        body = models.MakeCheckpoint(name=name)
        return await self._session._call(models.Checkpoint, op.MAKE_CHECKPOINT, json=body)

    async def list(self) -> list[models.Checkpoint]:
        """Returns the checkpoints, oldest first, with their size in bytes."""
        return (await self._session._call(models.CheckpointList, op.LIST_CHECKPOINTS)).checkpoints

    async def delete(self, name: str) -> None:
        """Deletes a checkpoint. Raises NotFoundError."""
        await self._session._send(op.DELETE_CHECKPOINT, name)
