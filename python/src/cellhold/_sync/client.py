# Generated from ../_async/client.py by python/tools/generate.py. Do not edit.
"""One server."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import httpx

from .. import _operations as op
from .. import models
from .._run import RunView
from .._settings import egress_of, limits_of
from ..errors import RunError, UnavailableError
from . import runs
from .transport import Transport

if TYPE_CHECKING:
    from .session import Session


class Client:
    """One server, and its sessions, templates and runs. A `with` block closes the connections."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        local: bool = False,
        binary: str | None = None,
        timeout: float = 60.0,
        patience: float = 60.0,
        http: httpx.Client | None = None,
    ) -> None:
        """Describes the server. No request is sent.

        Args:
            url: URL of the server. Without it: CELLHOLD_URL, then a server on this machine, then a private server
            token: token for the server. Without it: CELLHOLD_TOKEN, then the token that this user can read
            local: use a private server, which starts from the program cellhold and ends with this process
            binary: path of the program cellhold. Default: that of the package cellhold-server, or on the path
            timeout: seconds without an answer after which a request fails
            patience: seconds for which safe requests are repeated while the server cannot be reached
            http: client for the connections, which the caller closes
        """
        self._transport = Transport(
            url, token, local=local, binary=binary, timeout=timeout, patience=patience, http=http
        )

    def __enter__(self) -> Client:
        """Finds the server."""
        self._transport.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connections."""
        self.close()

    def close(self) -> None:
        """Closes the connections. Sessions stay."""
        self._transport.close()

    def session(self, id: str | None = None, **settings: Any) -> Session:
        """Returns a new session with the settings of Session, or an existing one by its id."""
        from .session import Session

        if id is not None:
            return Session.attach(id, client=self, **settings)
        return Session(client=self, **settings)

    def _session_of(self, data: models.Session, raise_on_error: bool) -> Session:
        """Returns a session that this program owns."""
        session = self.session(data.id, raise_on_error=raise_on_error)
        session._data, session._ends = data, True
        return session

    def sessions(self) -> list[models.Session]:
        """Returns the sessions of the token, newest first."""
        return (self._transport.call(models.SessionList, op.LIST_SESSIONS)).sessions

    def templates(self) -> list[models.Template]:
        """Returns the templates of the server, the default one first."""
        return (self._transport.call(models.TemplateList, op.LIST_TEMPLATES)).templates

    def version(self) -> models.Version:
        """Returns the versions of the server, its API and Go."""
        return self._transport.call(models.Version, op.VERSION)

    def status(self) -> models.Status:
        """Returns numbers for monitoring: sessions, memory in bytes, seconds since the start."""
        return self._transport.call(models.Status, op.STATUS)

    def is_alive(self) -> bool:
        """Reports whether the server answers. It needs no token."""
        return self._answers(op.HEALTH)

    def is_ready(self) -> bool:
        """Reports whether the server can create sessions. It needs no token."""
        return self._answers(op.READY)

    def _answers(self, operation: op.Operation) -> bool:
        try:
            self._transport.send(operation, once=True)
        except UnavailableError:
            return False
        return True

    def run(
        self,
        code: str | None = None,
        *,
        command: str | None = None,
        language: str | None = None,
        mode: Literal["cell", "program"] | None = None,
        args: Sequence[str] = (),
        stdin: str | None = None,
        files: Mapping[str, str | bytes] | Sequence[models.RunFile] = (),
        packages: Sequence[str] = (),
        tests: Sequence[models.RunTest] = (),
        env: Mapping[str, str] | None = None,
        egress: models.Egress | Literal["none", "public"] | Sequence[str] | None = None,
        limits: models.Limits | Mapping[str, Any] | None = None,
        image: str | None = None,
        template: str | None = None,
        timeout: float | None = None,
        deadline: float | None = None,
        raise_on_error: bool = False,
        key: str | None = None,
    ) -> RunView:
        """Runs code, or a shell command, in a sandbox that is used once.

        Args:
            code: source code, at most 4 MiB
            command: line for a shell, in place of code
            language: python, bash, javascript, typescript, r, c, cpp, go, rust or java
            mode: "cell" for figures and values, "program" for arguments, input and an exit status
            args: arguments of the program
            stdin: standard input of the program
            files: files that the sandbox has before, as {path: content}
            packages: requirements to install before, in the syntax of pip
            tests: inputs and expected outputs of the program, as RunTest
            env: variables to add to the environment
            egress: "none", "public", or a list of hosts
            limits: limits of the sandbox
            image: name of an image
            template: name of a template
            timeout: seconds for the code, or for each test
            deadline: seconds for the whole run, at most 3600
            raise_on_error: raise RunError if the run does not end with ok
            key: your name for the run. With it the run continues without a connection, and a second request with it
                returns the same result

        Without a key, the run ends if the connection breaks, and is not repeated.
        """
        request = models.RunRequest(
            code=code,
            command=command,
            language=language,
            mode=mode,
            args=list(args) or None,
            stdin=stdin,
            files=runs.files_of(files),
            packages=list(packages) or None,
            tests=list(tests) or None,
            env=dict(env) if env else None,
            egress=egress_of(egress),
            limits=limits_of(limits),
            image=image,
            template=template,
            timeout=timeout,
            deadline=deadline,
        )
        found = RunView(self._transport.call(models.RunResult, op.RUN, json=request, key=key))
        if raise_on_error and not found.ok:
            raise RunError(found)
        return found

    def run_batch(
        self, requests: Sequence[models.RunRequest], *, parallel: int | None = None, key: str | None = None
    ) -> Generator[RunView, None, None]:
        """Yields the result of each run, in the order in which they end. `index` says which run it is.

        Args:
            requests: the runs
            parallel: maximum number of runs at the same time. Default: 8
            key: your name for the batch. With it the batch survives a lost connection, and no code runs twice.
                Without it, the batch ends with the loop
        """
        return runs.batch(self._transport, requests, parallel, key)
