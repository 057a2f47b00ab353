"""The sandbox of a deep agent of LangChain. Needs `pip install 'cellhold[deepagents]'`, and Python 3.11."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Literal

from deepagents.backends.protocol import ExecuteResponse, FileDownloadResponse, FileUploadResponse, GrepResult
from deepagents.backends.sandbox import BaseSandbox
from langgraph.config import get_config

from .._command import output_bytes
from .._sync.commands import Command
from .._sync.session import Session
from ..errors import ConflictError, DeniedError, Error, ExhaustedError, InvalidError, NotFoundError
from ._answer import visible
from ._conversations import Conversations
from .langchain import REMEDY, thread_of

MAX_OUTPUT = 8 << 20
"""Maximum bytes that are read of the output of a command. Above it, the model gets its head and its tail."""

MAX_FILE = 64 << 20
"""Maximum bytes of a file that is downloaded."""

_LOST = (
    "The result of the command is not known, because the session ended while it ran. Variables, files and packages are "
    "gone. The next call uses a new session."
)
_UNKNOWN = "The result of the command is not known, because the server has no record of it. It can have had its effect."


class SandboxBackend(BaseSandbox):
    """The files and commands of the session of the current thread: `create_deep_agent(model, backend=backend)`.

    With `code_tool` of `cellhold.adapters.langchain` and the same Conversations, a deep agent also runs Python that
    keeps its variables, in the same session. If the server has ended the session, such as after its idle time, a new
    one without its files takes its place.

    The methods raise InvalidError outside a graph and in a run without a thread, unless the Conversations are shared.
    There, use the files and commands of `conversations.session("ann")`.
    """

    def __init__(self, conversations: Conversations, *, timeout: int | None = None) -> None:
        """Describes the backend. No request is sent.

        Args:
            conversations: the sessions, which the caller ends
            timeout: seconds after which a command is ended, if the agent sets none. Default: that of the server
        """
        self._conversations = conversations
        self._timeout = timeout

    @property
    def id(self) -> str:
        """Id of the session of the current thread. Raises Error of the server."""
        return self._conversations.use(Session.open, self._thread()).id

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Runs a shell line in /workspace, and returns its exit status and its output, with standard error.

        Characters that people cannot see are removed from the output. Above 8 MiB, only its head and its tail are
        returned. Deep agents move a long output to a file.

        Args:
            command: a line for the shell
            timeout: seconds after which the command is ended. 0 means the time of the server

        A command that was started is never repeated. If its session ends before it, the output says that its result is
        not known, and there is no exit status.

        Raises Error of the server.
        """
        done = self._run(command, timeout)
        return replace(done, output=visible(done.output))

    def grep(
        self, pattern: str, path: str | None = None, glob: str | None = None, *, max_count: int | None = None
    ) -> GrepResult:
        """Returns the lines that contain a text. Characters that people cannot see are removed from them."""
        return _shown(_Exact(self).grep(pattern, path, glob, max_count=max_count))

    async def agrep(
        self, pattern: str, path: str | None = None, glob: str | None = None, *, max_count: int | None = None
    ) -> GrepResult:
        """The same as `grep`, for asyncio."""
        return _shown(await _Exact(self).agrep(pattern, path, glob, max_count=max_count))

    def _run(self, command: str, timeout: int | None) -> ExecuteResponse:
        """Runs a shell line, and returns its exact output."""
        seconds = self._timeout if timeout is None else timeout
        line = f"exec 2>&1\n{command}"
        return self._conversations.use(lambda session: _executed(session, line, seconds or None), self._name())

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """Writes files, with their missing folders. Each response has the error of its file, or None."""
        name = self._name()
        return [FileUploadResponse(path=path, error=self._write(path, content, name)) for path, content in files]

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """Reads files of at most 64 MiB. Each response has the content or the error of its file."""
        name = self._name()
        return [self._read(path, name) for path in paths]

    def _name(self) -> str:
        """Returns the name of the current conversation, whose session exists: errors of its creation come from here."""
        name = self._thread()
        self._conversations.use(Session.open, name)
        return name

    def _thread(self) -> str:
        """Returns the id of the thread that runs now. Raises InvalidError if there is none, such as outside a graph."""
        try:
            thread = thread_of(get_config())
        except RuntimeError:  # outside a graph
            thread = None
        return self._conversations.named(thread, REMEDY)

    def _write(self, path: str, content: bytes, name: str) -> str | None:
        try:
            self._conversations.use(lambda session: session.files.write(path, content), name)
        except (ConflictError, DeniedError, InvalidError, NotFoundError) as error:
            return _code(error)
        return None

    def _read(self, path: str, name: str) -> FileDownloadResponse:
        try:
            content = self._conversations.use(lambda session: session.files.read(path, max_bytes=MAX_FILE), name)
        except ExhaustedError as error:
            return FileDownloadResponse(path=path, error=str(error))
        except (ConflictError, DeniedError, InvalidError, NotFoundError) as error:
            return FileDownloadResponse(path=path, error=_code(error))
        return FileDownloadResponse(path=path, content=content)


class _Exact(BaseSandbox):
    """A backend whose commands have their exact output: the command of grep separates names with NUL."""

    def __init__(self, backend: SandboxBackend) -> None:
        self._backend = backend

    @property
    def id(self) -> str:
        return self._backend.id

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        return self._backend._run(command, timeout)

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        return self._backend.upload_files(files)

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        return self._backend.download_files(paths)


def _shown(found: GrepResult) -> GrepResult:
    if found.matches:
        found.matches = [{**match, "text": visible(match["text"])} for match in found.matches]
    return found


def _executed(session: Session, line: str, timeout: float | None) -> ExecuteResponse:
    """Runs a line. Raises NotFoundError only if the command was not started."""
    done = session.commands._start(line, None, None, timeout, None, None, no_input=True)
    try:
        done.wait()
    except NotFoundError:
        return ExecuteResponse(output=_UNKNOWN if _exists(session) else _LOST, exit_code=None)
    content, truncated = _content(done)
    text = content.decode("utf-8", "replace")
    if done.status not in ("ok", "exit"):
        text += "\n" + (done.data.cause or f"The command ended with {done.ending}.")
    return ExecuteResponse(output=text, exit_code=done.exit_code, truncated=truncated)


def _exists(session: Session) -> bool:
    try:
        session.info()
    except NotFoundError:
        return False
    return True


def _content(done: Command) -> tuple[bytes, bool]:
    """Returns the output of a command, from its events if it is long, and whether something is missing."""
    omitted = done.data.stdout.omitted or 0
    if 0 < omitted <= MAX_OUTPUT:
        with contextlib.suppress(NotFoundError):  # the session ended after the command
            return b"".join(event.bytes for event in done.events()), False
    return output_bytes(done.data.stdout), omitted > 0


def _code(error: Error) -> Literal["file_not_found", "permission_denied", "is_directory", "invalid_path"]:
    """Returns the word of deep agents for an error of a file."""
    if isinstance(error, NotFoundError):
        return "file_not_found"
    if isinstance(error, ConflictError):
        return "is_directory"
    return "permission_denied" if isinstance(error, DeniedError) else "invalid_path"
