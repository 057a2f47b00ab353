"""The sessions of an agent: one for each conversation."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from .._sync.cell import Cell
from .._sync.session import Session
from ..errors import Error, InvalidError, NotFoundError
from ._answer import MAX_TEXT, Answer, answer_of

T = TypeVar("T")

_ENDED = (
    "The session of this conversation had ended. This is a new one: earlier variables, files and packages are gone."
)
_LOST = (
    "The session ended while the code ran. Variables, files and packages are gone. The next call uses a new session."
)


class Conversations:
    """One session for each conversation of an agent. A `with` block ends them all.

    Threads and event loops can share one object: an asynchronous call waits in a thread, so a conversation has the same
    session in `invoke` and `ainvoke`.
    """

    def __init__(
        self,
        make: Callable[[], Session] = Session,
        *,
        timeout: float | None = None,
        max_text: int = MAX_TEXT,
        max_conversations: int = 50,
        shared: bool = False,
    ) -> None:
        """Describes the sessions. No request is sent.

        Args:
            make: called for each new conversation; returns its session, such as
                `lambda: cellhold.Session(url, token, egress=["example.org"])`
            timeout: seconds after which a cell is interrupted. Default: that of the server
            max_text: maximum characters of a text for the model; its head and its tail are kept
            max_conversations: above this number, the session that was not used for the longest time ends
            shared: let all runs of a framework without an id of a conversation share one session. Without it, their
                tools raise InvalidError. Set it only if all these runs are of one person: code can read what other
                runs of its session left
        """
        self._make = make
        self._timeout = timeout
        self.max_text = max_text
        self._most = max_conversations
        self._shared = shared
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}  # the last used one is at the end
        self._closed = False
        self._threads = ThreadPoolExecutor(max_conversations, thread_name_prefix="cellhold")

    def named(self, id: object, remedy: str) -> str:
        """Returns the name of the conversation with the id of a framework, such as 0 or "ann".

        Raises InvalidError for None and for "", unless shared is set. remedy says how a run gets an id.
        """
        if id is not None and id != "":
            return str(id)
        if self._shared:
            return ""
        raise InvalidError(
            "The run has no id of a conversation, so its code could read the variables and files of other people. "
            f"{remedy}. If all runs are of one person, use Conversations(shared=True)."
        )

    def run(self, code: str, conversation: str = "") -> Answer:
        """Runs code in the session of a conversation, and returns what a model can read of it.

        An exception in the code is in the text. If the session has ended, such as after its idle time, a new one runs
        the code, and the text says so.

        Raises Error if the server refuses the code or cannot be reached. Ctrl-C interrupts the code.
        """
        return self._run(code, conversation, _Call())

    async def arun(self, code: str, conversation: str = "") -> Answer:
        """The same as `run`, for asyncio. A cancelled task interrupts the code."""
        loop, call = asyncio.get_running_loop(), _Call()
        try:
            return await loop.run_in_executor(self._threads, self._run, code, conversation, call)
        except asyncio.CancelledError:
            loop.run_in_executor(None, call.cancel)  # the threads of this object can all be busy
            raise

    def session(self, conversation: str = "") -> Session:
        """Returns the session of a conversation, for files, packages and commands. It is created at its first use.

        `use` is safer with several conversations: above max_conversations, the returned session can end.
        """
        with self._using(conversation) as entry:
            return entry.session

    def use(self, act: Callable[[Session], T], conversation: str = "") -> T:
        """Calls act with the session of a conversation, which max_conversations does not end during the call.

        If the server has ended the session, act is called once more, with a new session. So act must raise
        NotFoundError only if it had no effect. If the session still exists, the error is that of something else, such
        as a file, and this method raises it.
        """
        try:
            return self._use(act, conversation)
        except _Gone:
            return self._use(act, conversation, last=True)

    def end(self, conversation: str = "") -> None:
        """Ends the session of a conversation. If there is none, nothing happens."""
        with self._lock:
            entry = self._entries.pop(conversation, None)
        if entry:
            entry.close()

    def close(self) -> None:
        """Ends all sessions. A second call does nothing. Raises the first error of the server."""
        with self._lock:
            entries, self._closed = list(self._entries.values()), True
            self._entries.clear()
        problems: list[Error] = []
        for entry in entries:
            try:
                entry.close()
            except Error as error:
                problems.append(error)
        self._threads.shutdown()
        if problems:
            raise problems[0]

    async def aclose(self) -> None:
        """The same as `close`, for asyncio."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Conversations:
        """Returns the object."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends all sessions."""
        self.close()

    async def __aenter__(self) -> Conversations:
        """Returns the object."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends all sessions."""
        await self.aclose()

    def _run(self, code: str, conversation: str, call: _Call) -> Answer:
        try:
            return self._attempt(code, conversation, call, "")
        except _Gone:
            return self._attempt(code, conversation, call, _ENDED)

    def _attempt(self, code: str, conversation: str, call: _Call, note: str) -> Answer:
        with self._using(conversation) as entry:
            entry.session.open()
            try:
                cell = entry.session.submit(code, timeout=self._timeout)
            except NotFoundError as error:
                if note or not self._forget(conversation, entry):  # another new session would not help
                    raise
                raise _Gone from error
            try:
                call.runs(cell)
                cell.wait()
            except NotFoundError:
                if not self._forget(conversation, entry):
                    raise
                return Answer(_LOST, failed=True)
            except BaseException as error:
                if not isinstance(error, Exception):  # such as Ctrl-C
                    call.cancel()
                raise
            return answer_of(cell, note, self.max_text)

    def _use(self, act: Callable[[Session], T], conversation: str, last: bool = False) -> T:
        with self._using(conversation) as entry:
            entry.session.open()
            try:
                return act(entry.session)
            except NotFoundError as error:
                if last or not self._forget(conversation, entry):
                    raise
                raise _Gone from error

    @contextlib.contextmanager
    def _using(self, conversation: str) -> Iterator[_Entry]:
        """Yields the entry of a conversation, whose session does not end as a surplus one until the block ends."""
        with self._lock:
            if self._closed:
                raise Error("These conversations are closed: make a new object.")
            entry = self._entries.pop(conversation, None) or _Entry(self._make())
            self._entries[conversation] = entry
            entry.uses += 1
            surplus = self._surplus()
        try:
            for other in surplus:
                with contextlib.suppress(Error):  # the server ends it at its idle time
                    other.close()
            yield entry
        finally:
            with self._lock:
                entry.uses -= 1
                unused = entry.gone and entry.uses == 0
            if unused:
                with contextlib.suppress(Error):
                    entry.close()

    def _surplus(self) -> list[_Entry]:
        """Removes and returns the entries above the limit that nothing uses. The caller must hold the lock."""
        idle = [key for key, entry in self._entries.items() if entry.uses == 0]
        return [self._entries.pop(key) for key in idle[: max(0, len(self._entries) - self._most)]]

    def _forget(self, conversation: str, entry: _Entry) -> bool:
        """Removes a session if the server does not have it any more. Returns False if the session still exists.

        The last call that uses the entry closes it: a call in another thread can still wait for its answer.
        """
        try:
            entry.session.info()
            return False
        except NotFoundError:
            pass
        with self._lock:
            entry.gone = True
            if self._entries.get(conversation) is entry:  # another call can have replaced it
                del self._entries[conversation]
        return True


class _Gone(Exception):
    """The session of a conversation has ended before it ran the code."""


class _Entry:
    """The session of a conversation."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.uses = 0
        self.gone = False  # the server has ended the session

    def close(self) -> None:
        """Ends the session and closes its connections. Raises Error, unless the server has ended it already."""
        with contextlib.suppress(NotFoundError):
            self.session.close()


class _Call:
    """One call, which another thread can cancel."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cell: Cell | None = None
        self._cancelled = False

    def runs(self, cell: Cell) -> None:
        """Says which cell the call waits for."""
        with self._lock:
            self._cell = cell
            cancelled = self._cancelled
        if cancelled:
            self.cancel()

    def cancel(self) -> None:
        """Interrupts the cell, now or when it exists."""
        with self._lock:
            self._cancelled = True
            cell = self._cell
        if cell:
            with contextlib.suppress(Error):  # it is done, or the server ends it at its deadline
                cell.cancel()
