# Generated from ../_async/commands.py by python/tools/generate.py. Do not edit.
"""The commands of a session: programs in its sandbox, outside the kernels."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING

from .. import _operations as op
from .. import _policy, models
from .._command import CommandView
from .._policy import Deadline, waiting
from ..errors import CommandError, ConflictError, ExhaustedError, UnavailableError, WaitTimeout
from ..events import Event
from . import _sys

if TYPE_CHECKING:
    from .session import Session

_PIECE = 256 << 10
"""Maximum bytes of one request with input."""


class Command(CommandView):
    """One command, which runs or has ended."""

    def __init__(self, session: Session, data: models.Command) -> None:
        self._session = session
        self.data = data
        self._offset = -1  # bytes of input that the server accepted; -1: not known

    def wait(self, timeout: float | None = None) -> Command:
        """Waits until the command is done, and returns it. timeout is in seconds and does not end the command.

        Raises WaitTimeout if the time ends first.
        """
        deadline = Deadline(timeout)
        while not self.done:
            if deadline.over:
                raise WaitTimeout(f"The command {self.id} is not done after {timeout} s. It continues.", self)
            self._get(deadline.poll())
        return self

    def refresh(self) -> Command:
        """Reads the command again, with its output so far, and returns it."""
        self._get(None)
        return self

    def _get(self, wait: float | None) -> None:
        self.data = self._session._call(
            models.Command, op.GET_COMMAND, self.id, query={"wait": waiting(wait)}, wait=wait
        )

    def events(self, after: int = 0) -> Generator[Event, None, None]:
        """Yields the events of the command with numbers above after, live, until it is done.

        `event.text` and `event.bytes` have the output. A broken connection is replaced without loss.
        """
        return self._session._watch(op.READ_COMMAND_EVENTS, self.id, after=after, last="command_done")

    def write(self, data: str | bytes) -> None:
        """Writes to the standard input or the terminal. Each byte arrives once, also after a lost connection.

        It waits while the command does not read. Raises ConflictError if the command closed its input or is done.
        """
        content = data.encode() if isinstance(data, str) else data
        for start in range(0, len(content), _PIECE):
            self._write(content[start : start + _PIECE], False)

    def close_input(self) -> None:
        """Closes the standard input. At a terminal, this sends Ctrl-D. Nothing happens if it is closed already."""
        try:
            self._write(b"", True)
        except ConflictError:
            pass

    def _write(self, piece: bytes, eof: bool) -> None:
        if self._offset < 0:
            self._offset = self._take(b"", -1, False)
        backoff = _policy.Backoff(self._session._client._transport.patience)
        while True:
            try:
                self._offset = self._take(piece, self._offset, eof)
                return
            except ExhaustedError:  # the command does not read yet
                backoff.progress()
            except UnavailableError:  # the server skips the bytes that it has
                pause = backoff.next()
                if pause is None:
                    raise
                _sys.sleep(pause)

    def _take(self, piece: bytes, offset: int, eof: bool) -> int:
        taken = self._session._call(
            models.InputTaken,
            op.WRITE_COMMAND_INPUT,
            self.id,
            query={"offset": offset, "eof": eof},
            body=lambda: piece,
            headers={"Content-Type": "application/octet-stream"},
        )
        return taken.offset

    def resize(self, rows: int, cols: int) -> None:
        """Sets the size of the terminal, in lines and characters."""
        self._session._send(op.RESIZE_COMMAND, self.id, json=models.Terminal(rows=rows, cols=cols))

    def signal(self, signal: str | int = "TERM") -> None:
        """Sends a signal to the process group of the command: a name, with or without SIG, or a number."""
        self._session._send(op.SIGNAL_COMMAND, self.id, json=models.SendSignal(signal=str(signal)))

    def kill(self) -> None:
        """Kills the command and all processes that it started, and returns when they have ended."""
        self._session._send(op.END_COMMAND, self.id)


class Commands:
    """The commands of a session: `session.commands`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(
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
    ) -> Command:
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
        started = self._start(command, cwd, env, timeout, None, None, no_input=input is None)
        if input is not None:
            try:
                started.write(input)
            except ConflictError:  # the command reads no more
                pass
            started.close_input()
        if on_stdout or on_stderr:
            self._follow(started, deadline, {"stdout": on_stdout, "stderr": on_stderr})
        while not started.done:
            if deadline.over:
                raise WaitTimeout(f"The command {started.id} is not done after {wait} s. It continues.", started)
            started._get(deadline.poll())
        raises = self._session.raise_on_error if raise_on_error is None else raise_on_error
        if raises and not started.ok:
            raise CommandError(started)
        return started

    def start(
        self,
        command: str | Sequence[str],
        *,
        terminal: tuple[int, int] | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        tag: str | None = None,
    ) -> Command:
        """Starts a command, and returns it at once. Its input stays open until `close_input`.

        Args:
            command: a line for the shell, or a program with its arguments
            terminal: lines and characters of a terminal for the command; all its output is then in stdout
            cwd: working directory. Default: that of the session
            env: variables to add to the environment
            timeout: seconds after which the command is ended
            tag: your label of the command
        """
        return self._start(command, cwd, env, timeout, terminal, tag, no_input=False)

    def list(self) -> list[Command]:
        """Returns all commands of the session, oldest first."""
        found = self._session._call(models.CommandList, op.LIST_COMMANDS)
        return [Command(self._session, data) for data in found.commands]

    def get(self, id: str) -> Command:
        """Returns a command by its id. Raises NotFoundError."""
        return Command(self._session, self._session._call(models.Command, op.GET_COMMAND, id))

    def _start(
        self,
        command: str | Sequence[str],
        cwd: str | None,
        env: Mapping[str, str] | None,
        timeout: float | None,
        terminal: tuple[int, int] | None,
        tag: str | None,
        no_input: bool,
    ) -> Command:
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
        return Command(self._session, self._session._call(models.Command, op.START_COMMAND, json=body))

    def _follow(
        self, command: Command, deadline: Deadline, callbacks: Mapping[str, Callable[[str], object] | None]
    ) -> None:
        """Calls the callbacks until the command is done or the time to wait is over."""
        after, running = command.data.first - 1, True
        while running and not deadline.over:
            seconds = deadline.poll()
            page = self._session._call(
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
                    _sys.call(callback, event.text)
                running = running and event.type != "command_done"
