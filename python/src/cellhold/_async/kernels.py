"""The kernels of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _operations as op
from .. import models
from .cell import AsyncCell
from .stream import AsyncStream

if TYPE_CHECKING:
    from .session import AsyncSession


class AsyncKernel:
    """One kernel of a session, with variables and a queue of its own."""

    def __init__(self, session: AsyncSession, data: models.Kernel) -> None:
        self._session = session
        self.data = data
        """The kernel as the server sent it last: spec, language, state, number of queued cells."""

    @property
    def id(self) -> str:
        """Id of the kernel, unique within its session."""
        return self.data.id

    async def run(self, code: str, **more: Any) -> AsyncCell:
        """Runs code in this kernel. The arguments are those of `session.run`."""
        return await self._session.run(code, kernel=self.id, **more)

    async def submit(self, code: str, **more: Any) -> AsyncCell:
        """Queues code in this kernel. The arguments are those of `session.submit`."""
        return await self._session.submit(code, kernel=self.id, **more)

    def stream(self, code: str, **more: Any) -> AsyncStream:
        """Returns the events of code in this kernel. The arguments are those of `session.stream`."""
        return self._session.stream(code, kernel=self.id, **more)

    async def complete(self, code: str, cursor: int | None = None) -> models.Completion:
        """Returns the texts that can stand at the cursor. The arguments are those of `session.complete`."""
        return await self._session.complete(code, cursor, kernel=self.id)

    async def inspect(self, code: str, cursor: int | None = None, *, detail: int = 0) -> models.Inspection:
        """Returns the description of an object. The arguments are those of `session.inspect`."""
        return await self._session.inspect(code, cursor, detail=detail, kernel=self.id)

    async def is_complete(self, code: str) -> models.Completeness:
        """Returns whether code can run or needs more lines, as `session.is_complete` does."""
        return await self._session.is_complete(code, kernel=self.id)

    async def history(self, *, limit: int = 100) -> list[models.HistoryEntry]:
        """Returns the code of the newest cells of this kernel, the oldest of them first."""
        return await self._session.history(kernel=self.id, limit=limit)

    async def interrupt(self) -> None:
        """Interrupts the running cell. The variables are kept."""
        await self._session.interrupt(self.id)

    async def restart(self) -> None:
        """Restarts the kernel. The variables are lost."""
        await self._session.restart(self.id)

    async def delete(self) -> None:
        """Ends the kernel. Its cells can still be read. Raises ConflictError for the first kernel."""
        await self._session._send(op.DELETE_KERNEL, self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.data.state}>"


class AsyncKernels:
    """The kernels of a session: `session.kernels`. They share the files and limits of the session."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def start(self, spec: str, *, id: str | None = None, cwd: str | None = None) -> AsyncKernel:
        """Starts another kernel, and returns it when it is idle. A session has at most 8.

        spec is a name of `specs`, such as "bash". cwd is an absolute path of an existing directory.
        """
        body = models.AddKernel(spec=spec, id=id, cwd=cwd)
        return AsyncKernel(self._session, await self._session._call(models.Kernel, op.ADD_KERNEL, json=body))

    async def specs(self) -> list[models.KernelSpec]:
        """Returns the kernels that can be started: name, display name and language."""
        return (await self._session._call(models.KernelSpecList, op.LIST_KERNELSPECS)).kernelspecs

    async def list(self) -> list[AsyncKernel]:
        """Returns the kernels, the first one first."""
        found = await self._session._call(models.KernelList, op.LIST_KERNELS)
        return [AsyncKernel(self._session, data) for data in found.kernels]
