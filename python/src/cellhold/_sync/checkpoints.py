# Generated from ../_async/checkpoints.py by python/tools/generate.py. Do not edit.
"""The checkpoints of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import _operations as op
from .. import models

if TYPE_CHECKING:
    from .session import Session


class Checkpoints:
    """The checkpoints of a session: `session.checkpoints`. They are deleted with the session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, name: str) -> models.Checkpoint:
        """Saves the session under a name: letters, digits, '.', '_' and '-', at most 64.

        Raises ConflictError if the name exists, or a cell, command or transfer is running.
        """
        body = models.MakeCheckpoint(name=name)
        return self._session._call(models.Checkpoint, op.MAKE_CHECKPOINT, json=body)

    def list(self) -> list[models.Checkpoint]:
        """Returns the checkpoints, oldest first, with their size in bytes."""
        return (self._session._call(models.CheckpointList, op.LIST_CHECKPOINTS)).checkpoints

    def delete(self, name: str) -> None:
        """Deletes a checkpoint. Raises NotFoundError."""
        self._session._send(op.DELETE_CHECKPOINT, name)
