# Generated from ../_async/kernels.py by python/tools/generate.py. Do not edit.
"""The kernels of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _operations as op
from .. import models
from .cell import Cell
from .stream import Stream

if TYPE_CHECKING:
    from .session import Session


class Kernel:
    """One kernel of a session, with variables and a queue of its own."""

    def __init__(self, session: Session, data: models.Kernel) -> None:
        self._session = session
        self.data = data
        """The kernel as the server sent it last: spec, language, state, number of queued cells."""

    @property
    def id(self) -> str:
        """Id of the kernel, unique within its session."""
        return self.data.id

    def run(self, code: str, **more: Any) -> Cell:
        """Runs code in this kernel. The arguments are those of `session.run`."""
        return self._session.run(code, kernel=self.id, **more)

    def submit(self, code: str, **more: Any) -> Cell:
        """Queues code in this kernel. The arguments are those of `session.submit`."""
        return self._session.submit(code, kernel=self.id, **more)

    def stream(self, code: str, **more: Any) -> Stream:
        """Returns the events of code in this kernel. The arguments are those of `session.stream`."""
        return self._session.stream(code, kernel=self.id, **more)

    def complete(self, code: str, cursor: int | None = None) -> models.Completion:
        """Returns the texts that can stand at the cursor. The arguments are those of `session.complete`."""
        return self._session.complete(code, cursor, kernel=self.id)

    def inspect(self, code: str, cursor: int | None = None, *, detail: int = 0) -> models.Inspection:
        """Returns the description of an object. The arguments are those of `session.inspect`."""
        return self._session.inspect(code, cursor, detail=detail, kernel=self.id)

    def is_complete(self, code: str) -> models.Completeness:
        """Returns whether code can run or needs more lines, as `session.is_complete` does."""
        return self._session.is_complete(code, kernel=self.id)

    def history(self, *, limit: int = 100) -> list[models.HistoryEntry]:
        """Returns the code of the newest cells of this kernel, the oldest of them first."""
        return self._session.history(kernel=self.id, limit=limit)

    def interrupt(self) -> None:
        """Interrupts the running cell. The variables are kept."""
        self._session.interrupt(self.id)

    def restart(self) -> None:
        """Restarts the kernel. The variables are lost."""
        self._session.restart(self.id)

    def delete(self) -> None:
        """Ends the kernel. Its cells can still be read. Raises ConflictError for the first kernel."""
        self._session._send(op.DELETE_KERNEL, self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.data.state}>"


class Kernels:
    """The kernels of a session: `session.kernels`. They share the files and limits of the session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def start(self, spec: str, *, id: str | None = None, cwd: str | None = None) -> Kernel:
        """Starts another kernel, and returns it when it is idle. A session has at most 8.

        spec is a name of `specs`, such as "bash". cwd is an absolute path of an existing directory.
        """
        body = models.AddKernel(spec=spec, id=id, cwd=cwd)
        return Kernel(self._session, self._session._call(models.Kernel, op.ADD_KERNEL, json=body))

    def specs(self) -> list[models.KernelSpec]:
        """Returns the kernels that can be started: name, display name and language."""
        return (self._session._call(models.KernelSpecList, op.LIST_KERNELSPECS)).kernelspecs

    def list(self) -> list[Kernel]:
        """Returns the kernels, the first one first."""
        found = self._session._call(models.KernelList, op.LIST_KERNELS)
        return [Kernel(self._session, data) for data in found.kernels]
