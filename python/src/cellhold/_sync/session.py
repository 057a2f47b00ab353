# Generated from ../_async/session.py by python/tools/generate.py. Do not edit.
"""One session: a sandbox with its kernels, files and events."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, TypeVar

import httpx

from .. import _operations as op
from .. import models
from .._operations import Operation
from .._policy import Deadline, waiting
from .._settings import egress_of, figures_of, limits_of, secrets_of
from ..errors import Error
from ..events import Event
from ..outputs import Output
from . import _sys
from .cell import Cell
from .cells import Cells
from .checkpoints import Checkpoints
from .client import Client
from .commands import Commands
from .egress import Egress
from .files import Files
from .kernels import Kernels
from .notebook import Notebook
from .packages import Packages
from .ports import Ports
from .stream import Stream

T = TypeVar("T")


class Session:
    """A sandbox with kernels that keep their variables from cell to cell.

    The session is created at the first use, or at the beginning of a `with` block, and ends with the block.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        local: bool = False,
        client: Client | None = None,
        user: str | None = None,
        template: str | None = None,
        image: str | None = None,
        startup: str | None = None,
        packages: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        egress: models.Egress | Literal["none", "public"] | Sequence[str] | None = None,
        secrets: Sequence[models.Secret] | Mapping[str, tuple[str, str]] = (),
        limits: models.Limits | Mapping[str, Any] | None = None,
        figures: models.Figures | Sequence[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        lifetime: float | None = None,
        at_deadline: Literal["end", "hibernate"] | None = None,
        resume: Literal["use", "request"] | None = None,
        public_ports: bool | None = None,
        raise_on_error: bool = False,
        key: str | None = None,
    ) -> None:
        """Describes a session. No request is sent.

        Args:
            url: URL of the server. Without it: CELLHOLD_URL, then a server on this machine, then a private server
            token: token for the server. Without it: CELLHOLD_TOKEN, then the token that this user can read
            local: use a private server, which starts from the program cellhold and ends with this process
            client: client of a server, in place of url, token and local
            user: label of the person or agent, at most 256 characters
            template: name of a template of the server
            image: name of an image of the server
            startup: code that runs without output after each start of the kernel, at most 64 KiB
            packages: requirements to install at the creation, in the syntax of pip
            env: variables to add to the environment, at most 64 KiB
            cwd: working directory, an absolute path that exists. Default: /workspace
            egress: "none", "public", or a list of hosts that code can reach
            secrets: values that code can use without seeing them, as Secret, or as {name: (host, value)}
            limits: memory, disk, tmp and output in bytes or as "2GiB"; cpu in cores; processes
            figures: formats of figures, such as ["png", "svg"], or Figures with dpi
            metadata: your notes, at most 32
            lifetime: seconds until the session ends, even if it is used. Default: it ends when it is idle
            at_deadline: end or hibernate after lifetime
            resume: use or request that resumes the session after a requested hibernation
            public_ports: let everybody reach the ports through hosts of the server, without a token
            raise_on_error: raise CellError and CommandError for code that fails
            key: your name for the session: a second creation with the same key returns the same session
        """
        self._client = client or Client(url, token, local=local)
        self._owns_client = client is None
        self._data: models.Session | None = None
        self._id = ""
        self._ends = True
        self._ended = False
        self._packages = list(packages)
        self._key = key or uuid.uuid4().hex
        self._lock = _sys.Lock()
        self.raise_on_error = raise_on_error
        self._create = models.CreateSession(
            user=user,
            template=template,
            image=image,
            startup=startup,
            env=dict(env) if env else None,
            cwd=cwd,
            egress=egress_of(egress),
            secrets=secrets_of(secrets),
            limits=limits_of(limits),
            figures=figures_of(figures),
            metadata=dict(metadata) if metadata else None,
            lifetime=lifetime,
            at_deadline=at_deadline,
            resume=resume,
            public_ports=public_ports,
        )
        self.cells = Cells(self)
        self.files = Files(self)
        self.commands = Commands(self)
        self.kernels = Kernels(self)
        self.packages = Packages(self)
        self.ports = Ports(self)
        self.checkpoints = Checkpoints(self)
        self.egress = Egress(self)
        self.notebook = Notebook(self)

    @classmethod
    def attach(
        cls,
        id: str,
        url: str | None = None,
        token: str | None = None,
        *,
        client: Client | None = None,
        raise_on_error: bool = False,
    ) -> Session:
        """Returns an existing session by its id. The end of its `with` block does not end it."""
        session = cls(url, token, client=client, raise_on_error=raise_on_error)
        session._id, session._ends = id, False
        return session

    def __enter__(self) -> Session:
        """Creates the session, or reads the existing one."""
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the session, unless it was attached."""
        self.close()

    def open(self) -> Session:
        """Creates the session if it does not exist yet, and returns it when its kernel is idle."""
        with self._lock:
            if self._id:
                return self
            data = self._client._transport.call(models.Session, op.CREATE_SESSION, json=self._create, key=self._key)
            self._data, self._id = data, data.id
        if self._packages:
            self.packages.install(*self._packages)
        return self

    def close(self) -> None:
        """Ends the session, unless it was attached, and closes the connections."""
        try:
            if self._ends:
                self.end()
        finally:
            if self._owns_client:
                self._client.close()

    def end(self) -> None:
        """Ends the session: its running cell, its sandbox, its files and its events. A second call does nothing."""
        if self._id and not self._ended:
            self._send(op.DELETE_SESSION)
            self._ended = True

    def detach(self) -> str:
        """Lets the session live after the `with` block, and returns its id for `attach`."""
        self._ends = False
        return self.id

    @property
    def id(self) -> str:
        """Id of the session. Raises Error if the session is not created yet."""
        if not self._id:
            raise Error("The session is created at its first use: use a with block, or call open() before.")
        return self._id

    @property
    def client(self) -> Client:
        """The client of the session's server."""
        return self._client

    def info(self) -> models.Session:
        """Returns the session as it is now: state, image, limits, egress, kernels, times."""
        self._data = self._call(models.Session, op.GET_SESSION)
        return self._data

    def run(
        self,
        code: str,
        *,
        timeout: float | None = None,
        wait: float | None = None,
        kernel: str | None = None,
        env: Mapping[str, str] | None = None,
        figures: models.Figures | Sequence[str] | None = None,
        on_stdout: Callable[[str], object] | None = None,
        on_stderr: Callable[[str], object] | None = None,
        on_output: Callable[[Output], object] | None = None,
        on_input: Callable[..., object] | None = None,
        on_error: Literal["continue", "cancel"] | None = None,
        raise_on_error: bool | None = None,
        key: str | None = None,
    ) -> Cell:
        """Runs code, and returns the cell when it is done. An exception in the code is in `cell.error`.

        Args:
            code: source code, at most 4 MiB
            timeout: seconds after which the cell is interrupted, without its time in the queue
            wait: seconds after which this call raises WaitTimeout; the cell continues
            kernel: id of the kernel. Default: the first one
            env: environment variables of this cell only
            figures: formats of figures, such as ["png", "svg"]
            on_stdout: called with each piece of text on standard output
            on_stderr: called with each piece of text on standard error
            on_output: called with each output, as an Output
            on_input: called with the question of input(), a Prompt; returns the answer. `input` works
            on_error: effect on the queued cells if this cell fails
            raise_on_error: raise CellError if the cell does not end with ok
            key: your name for the cell: a second run with the same key returns the same cell

        Raises CellError, WaitTimeout, and Error of the server. The connection can break without an error.
        """
        raises = self.raise_on_error if raise_on_error is None else raise_on_error
        callbacks = [on_stdout, on_stderr, on_output, on_input]
        deadline = Deadline(wait)
        first = 0.0 if any(callbacks) else deadline.poll()
        cell = self._submit(code, timeout, kernel, env, figures, on_error, on_input is not None, key, first)
        if any(callbacks):
            self._follow(cell, deadline, on_stdout, on_stderr, on_output, on_input)
        cell._until(deadline)
        return cell.check() if raises else cell

    def submit(
        self,
        code: str,
        *,
        timeout: float | None = None,
        kernel: str | None = None,
        env: Mapping[str, str] | None = None,
        figures: models.Figures | Sequence[str] | None = None,
        allow_stdin: bool = False,
        on_error: Literal["continue", "cancel"] | None = None,
        key: str | None = None,
    ) -> Cell:
        """Queues code, and returns the cell at once. The arguments are those of `run`.

        With allow_stdin the code can call input(); answer it with `cell.answer`.
        """
        return self._submit(code, timeout, kernel, env, figures, on_error, allow_stdin, key, 0.0)

    def stream(
        self,
        code: str,
        *,
        timeout: float | None = None,
        kernel: str | None = None,
        env: Mapping[str, str] | None = None,
        figures: models.Figures | Sequence[str] | None = None,
        on_input: Callable[..., object] | None = None,
        on_error: Literal["continue", "cancel"] | None = None,
        raise_on_error: bool | None = None,
        key: str | None = None,
    ) -> Stream:
        """Returns the events of code while it runs. The arguments are those of `run`."""
        key = key or uuid.uuid4().hex
        raises = self.raise_on_error if raise_on_error is None else raise_on_error

        def submitted() -> Cell:
            return self._submit(code, timeout, kernel, env, figures, on_error, on_input is not None, key, 0.0)

        return Stream(self, submitted, on_input, raises)

    def events(self, after: int = 0) -> Generator[Event, None, None]:
        """Yields all events of the session with numbers above after, live, until the session ends.

        A broken connection is replaced: no event is omitted, and none comes twice.
        """
        return self._watch(op.READ_EVENTS, after=after, last="session_ended")

    def read_events(self, after: int = 0, *, limit: int | None = None, wait: float | None = None) -> list[Event]:
        """Returns one page of events with numbers above after. Empty if there are none.

        limit is at most 5000. wait is the number of seconds to wait for a first event, at most 600.
        """
        query = {"after": after, "limit": limit, "wait": waiting(wait)}
        page = self._call(models.EventPage, op.READ_EVENTS, query=query, wait=wait)
        return [Event(event) for event in page.events]

    def interrupt(self, kernel: str | None = None) -> None:
        """Interrupts the running cell of a kernel. The kernel keeps its variables."""
        self._send(op.INTERRUPT, query={"kernel": kernel})

    def restart(self, kernel: str | None = None) -> None:
        """Restarts a kernel, and returns when it is idle. Its variables are lost, and files stay."""
        self._data = self._call(models.Session, op.RESTART, query={"kernel": kernel})

    def complete(self, code: str, cursor: int | None = None, *, kernel: str | None = None) -> models.Completion:
        """Returns the texts that can stand at the cursor, as the Tab key does.

        cursor is a position in characters; None means the end of the code. Raises ConflictError if the kernel is busy or
        the session is hibernated. The texts come from the kernel, which is not trusted.
        """
        body = models.CompleteCode(code=code, cursor=cursor, kernel=kernel)
        return self._call(models.Completion, op.COMPLETE, json=body)

    def inspect(
        self, code: str, cursor: int | None = None, *, detail: int = 0, kernel: str | None = None
    ) -> models.Inspection:
        """Returns the description of the object at the cursor: signature and documentation, by MIME type.

        cursor is a position in characters; None means the end of the code. detail=1 adds the source code. Raises
        ConflictError if the kernel is busy or the session is hibernated.
        """
        body = models.InspectCode(code=code, cursor=cursor, detail=detail, kernel=kernel)
        return self._call(models.Inspection, op.INSPECT, json=body)

    def is_complete(self, code: str, *, kernel: str | None = None) -> models.Completeness:
        """Returns whether code can run or needs more lines. The code does not run.

        Raises ConflictError if the kernel is busy or the session is hibernated.
        """
        return self._call(models.Completeness, op.IS_COMPLETE, json=models.CheckCode(code=code, kernel=kernel))

    def history(self, *, kernel: str | None = None, limit: int = 100) -> list[models.HistoryEntry]:
        """Returns the code of the newest cells, the oldest of them first. limit is at most 1000."""
        query = {"kernel": kernel, "limit": limit}
        return (self._call(models.HistoryList, op.GET_HISTORY, query=query)).history

    def hibernate(self) -> None:
        """Saves memory, files and processes to disk. The next use resumes the session.

        Raises ConflictError if a cell, command or transfer is running.
        """
        self._data = self._call(models.Session, op.HIBERNATE)

    def resume(self) -> None:
        """Resumes a hibernated session, so that its next use is fast."""
        self._data = self._call(models.Session, op.RESUME)

    def checkpoint(self, name: str) -> models.Checkpoint:
        """Saves the session under a name, for `rollback` and `fork`. The session continues."""
        return self.checkpoints.create(name)

    def rollback(self, checkpoint: str) -> None:
        """Restores variables, files and kernels of a checkpoint.

        Raises ConflictError if a cell, command or transfer is running. If it fails, the session does not change.
        """
        body = models.RollBack(checkpoint=checkpoint)
        self._data = self._call(models.Session, op.ROLLBACK, json=body)

    def fork(self, count: int = 1, *, checkpoint: str | None = None) -> list[Session]:
        """Creates sessions that continue from this one, as it is now or at a checkpoint. count is at most 16.

        Each fork ends with its own `with` block, or with `end`. Raises ConflictError if code is running.
        """
        body = models.ForkSession(count=count, checkpoint=checkpoint)
        made = self._call(models.SessionList, op.FORK, json=body)
        return [self._client._session_of(data, self.raise_on_error) for data in made.sessions]

    def set_deadline(
        self, lifetime: float, *, at_deadline: Literal["end", "hibernate"] | None = None
    ) -> datetime | None:
        """Sets when the session ends or hibernates, in seconds from now, even if it is used. Returns the time."""
        body = models.SetDeadline(lifetime=lifetime, at_deadline=at_deadline)
        self._data = self._call(models.Session, op.SET_DEADLINE, json=body)
        return self._data.deadline

    def _submit(
        self,
        code: str,
        timeout: float | None,
        kernel: str | None,
        env: Mapping[str, str] | None,
        figures: models.Figures | Sequence[str] | None,
        on_error: Literal["continue", "cancel"] | None,
        allow_stdin: bool,
        key: str | None,
        wait: float,
    ) -> Cell:
        body = models.SubmitCell(
            code=code,
            timeout=timeout,
            kernel=kernel,
            env=dict(env) if env else None,
            figures=figures_of(figures),
            on_error=on_error,
            allow_stdin=allow_stdin or None,
        )
        query = {"wait": waiting(wait)} if wait else None
        data = self._call(models.Cell, op.SUBMIT_CELL, json=body, query=query, wait=wait, key=key or uuid.uuid4().hex)
        return Cell(self, data)

    def _follow(
        self,
        cell: Cell,
        deadline: Deadline,
        on_stdout: Callable[[str], object] | None,
        on_stderr: Callable[[str], object] | None,
        on_output: Callable[[Output], object] | None,
        on_input: Callable[..., object] | None,
    ) -> None:
        """Calls the callbacks until the cell is done or the time to wait is over."""
        streams = {"stdout": on_stdout, "stderr": on_stderr}
        after, running = (cell.data.first or 1) - 1, True
        while running and not deadline.over:
            seconds = deadline.poll()
            query = {"after": after, "wait": waiting(seconds)}
            page = self._call(models.EventPage, op.READ_EVENTS, query=query, wait=seconds)
            after = page.next
            for event in map(Event, page.events):
                if event.cell != cell.id:
                    continue
                running = running and event.type != "cell_done"
                output, callback = event.output, streams.get(event.name)
                if output and on_output:
                    _sys.call(on_output, output)
                if callback:
                    _sys.call(callback, event.text)
                if event.type == "input_request" and on_input:
                    cell._ask(event, on_input)
        if not running:
            cell.refresh()

    def _stream_of(self, cell: Cell, on_input: Callable[..., object] | None) -> Stream:
        def submitted() -> Cell:
            return cell

        return Stream(self, submitted, on_input, False)

    def _call(self, cls: type[T], operation: Operation, *parts: str, **more: Any) -> T:
        self.open()
        return self._client._transport.call(cls, operation, self._id, *parts, **more)

    def _send(self, operation: Operation, *parts: str, **more: Any) -> httpx.Response:
        self.open()
        return self._client._transport.send(operation, self._id, *parts, **more)

    def _watch(self, operation: Operation, *parts: str, after: int, last: str) -> Generator[Event, None, None]:
        self.open()
        events = self._client._transport.watch(operation, self._id, *parts, after=after, last=last)
        try:
            for event in events:
                yield event
        finally:
            events.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id or 'not created'}>"
