"""The commands of a session: programs in its sandbox, outside the kernels."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from .. import _operations as op
from .. import _policy, models
from .._command import CommandView
from .._policy import Deadline, waiting
from ..errors import CommandError, ConflictError, ExhaustedError, UnavailableError, WaitTimeout
from ..events import Event
from . import _sys

if TYPE_CHECKING:
    from .session import AsyncSession

_PIECE = 256 << 10
"""Maximum bytes of one request with input."""


class AsyncCommand(CommandView):
    """One command, which runs or has ended."""

    def __init__(self, session: AsyncSession, data: models.Command) -> None:
        self._session = session
        self.data = data
        self._offset = -1  # bytes of input that the server accepted; -1: not known

    async def wait(self, timeout: float | None = None) -> AsyncCommand:
        """Waits until the command is done, and returns it. timeout is in seconds and does not end the command.

        Raises WaitTimeout if the time ends first.
        """
        deadline = Deadline(timeout)
        while not self.done:
            if deadline.over:
                raise WaitTimeout(f"The command {self.id} is not done after {timeout} s. It continues.", self)
            await self._get(deadline.poll())
        return self

    async def refresh(self) -> AsyncCommand:
        """Reads the command again, with its output so far, and returns it."""
        await self._get(None)
        return self

    async def _get(self, wait: float | None) -> None:
        self.data = await self._session._call(
            models.Command, op.GET_COMMAND, self.id, query={"wait": waiting(wait)}, wait=wait
        )

    def events(self, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yields the events of the command with numbers above after, live, until it is done.

        `event.text` and `event.bytes` have the output. A broken connection is replaced without loss.
        """
        return self._session._watch(op.READ_COMMAND_EVENTS, self.id, after=after, last="command_done")

    async def write(self, data: str | bytes) -> None:
        """Writes to the standard input or the terminal. Each byte arrives once, also after a lost connection.

        It waits while the command does not read. Raises ConflictError if the command closed its input or is done.
        """
        content = data.encode() if isinstance(data, str) else data
        for start in range(0, len(content), _PIECE):
            await self._write(content[start : start + _PIECE], False)

    async def close_input(self) -> None:
        """Closes the standard input. At a terminal, this sends Ctrl-D. Nothing happens if it is closed already."""
        try:
            await self._write(b"", True)
        except ConflictError:
            pass

    async def _write(self, piece: bytes, eof: bool) -> None:
        if self._offset < 0:
            self._offset = await self._take(b"", -1, False)
        backoff = _policy.Backoff(self._session._client._transport.patience)
        while True:
            try:
                self._offset = await self._take(piece, self._offset, eof)
                return
            except ExhaustedError:  # the command does not read yet
                backoff.progress()
            except UnavailableError:  # the server skips the bytes that it has
                pause = backoff.next()
                if pause is None:
                    raise
                await _sys.sleep(pause)

    async def _take(self, piece: bytes, offset: int, eof: bool) -> int:
        taken = await self._session._call(
            models.InputTaken,
            op.WRITE_COMMAND_INPUT,
            self.id,
            query={"offset": offset, "eof": eof},
            body=lambda: piece,
            headers={"Content-Type": "application/octet-stream"},
        )
        return taken.offset

    async def resize(self, rows: int, cols: int) -> None:
        """Sets the size of the terminal, in lines and characters."""
        await self._session._send(op.RESIZE_COMMAND, self.id, json=models.Terminal(rows=rows, cols=cols))

    async def signal(self, signal: str | int = "TERM") -> None:
        """Sends a signal to the process group of the command: a name, with or without SIG, or a number."""
        await self._session._send(op.SIGNAL_COMMAND, self.id, json=models.SendSignal(signal=str(signal)))

    async def kill(self) -> None:
        """Kills the command and all processes that it started, and returns when they have ended."""
        await self._session._send(op.END_COMMAND, self.id)


class AsyncCommands:
    """The commands of a session: `session.commands`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def run(
        self,
        command: str | Sequence[str],
        *,
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        wait: float | None = None,
        on_stdout: Callable[[str], object] | None = None,
        on_stderr: Callable[[str], object] | None = None,
        raise_on_error: bool | None = None,
    ) -> AsyncCommand:
        """Runs a command, and returns it when it is done. A failing command has another exit code than 0.

        Args:
            command: a line for the shell, or a program with its arguments
            input: standard input. Without it, the input is empty
            cwd: working directory. Default: that of the session
            env: variables to add to the environment
            timeout: seconds after which the command is ended
            wait: seconds after which this call raises WaitTimeout; the command continues
            on_stdout: called with each piece of standard output
            on_stderr: called with each piece of standard error
            raise_on_error: raise CommandError if the exit code is not 0

        The start is never repeated: after a lost connection, UnavailableError says that the command can have started.
        """
        deadline = Deadline(wait)
        started = await self._start(command, cwd, env, timeout, None, None, no_input=input is None)
        if input is not None:
            try:
                await started.write(input)
            except ConflictError:  # the command reads no more
                pass
            await started.close_input()
        if on_stdout or on_stderr:
            await self._follow(started, deadline, {"stdout": on_stdout, "stderr": on_stderr})
        while not started.done:
            if deadline.over:
                raise WaitTimeout(f"The command {started.id} is not done after {wait} s. It continues.", started)
            await started._get(deadline.poll())
        raises = self._session.raise_on_error if raise_on_error is None else raise_on_error
        if raises and not started.ok:
            raise CommandError(started)
        return started

    async def start(
        self,
        command: str | Sequence[str],
        *,
        terminal: tuple[int, int] | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        tag: str | None = None,
    ) -> AsyncCommand:
        """Starts a command, and returns it at once. Its input stays open until `close_input`.

        Args:
            command: a line for the shell, or a program with its arguments
            terminal: lines and characters of a terminal for the command; all its output is then in stdout
            cwd: working directory. Default: that of the session
            env: variables to add to the environment
            timeout: seconds after which the command is ended
            tag: your label of the command
        """
        return await self._start(command, cwd, env, timeout, terminal, tag, no_input=False)

    async def list(self) -> list[AsyncCommand]:
        """Returns all commands of the session, oldest first."""
        found = await self._session._call(models.CommandList, op.LIST_COMMANDS)
        return [AsyncCommand(self._session, data) for data in found.commands]

    async def get(self, id: str) -> AsyncCommand:
        """Returns a command by its id. Raises NotFoundError."""
        return AsyncCommand(self._session, await self._session._call(models.Command, op.GET_COMMAND, id))

    async def _start(
        self,
        command: str | Sequence[str],
        cwd: str | None,
        env: Mapping[str, str] | None,
        timeout: float | None,
        terminal: tuple[int, int] | None,
        tag: str | None,
        no_input: bool,
    ) -> AsyncCommand:
        body = models.StartCommand(
            command=command if isinstance(command, str) else None,
            args=None if isinstance(command, str) else list(command),
            cwd=cwd,
            env=dict(env) if env else None,
            timeout=timeout,
            tty=models.Terminal(rows=terminal[0], cols=terminal[1]) if terminal else None,
            tag=tag,
            no_input=no_input or None,
        )
        return AsyncCommand(self._session, await self._session._call(models.Command, op.START_COMMAND, json=body))

    async def _follow(
        self, command: AsyncCommand, deadline: Deadline, callbacks: Mapping[str, Callable[[str], object] | None]
    ) -> None:
        """Calls the callbacks until the command is done or the time to wait is over."""
        after, running = command.data.first - 1, True
        while running and not deadline.over:
            seconds = deadline.poll()
            page = await self._session._call(
                models.EventPage,
                op.READ_COMMAND_EVENTS,
                command.id,
                query={"after": after, "wait": waiting(seconds)},
                wait=seconds,
            )
            after = page.next
            for event in map(Event, page.events):
                callback = callbacks.get(event.name)
                if callback:
                    await _sys.call(callback, event.text)
                running = running and event.type != "command_done"
