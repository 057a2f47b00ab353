# Generated from ../_async/transport.py by python/tools/generate.py. Do not edit.
"""Sends requests to one server, and repeats those that are safe to repeat."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import httpx

from .. import _connect, _policy, _port, models
from .. import _operations as op
from .._operations import Operation
from .._sse import Lines, Messages
from .._values import decode, encode
from ..errors import Error, InternalError, InvalidError, NotFoundError, UnavailableError, from_answer, from_problem
from ..events import Event
from . import _sys

T = TypeVar("T")

Body = Callable[[], bytes | Iterable[bytes]]
"""Makes the body of a request, again for each retry."""

_MAX_PROBLEM = 1 << 20

_NO_PROGRAM = 502
"""Status of the answer to a request to a port on which no program listens."""


class Transport:
    """The connections to one server. The first request finds the server and opens them."""

    def __init__(
        self,
        url: str | None,
        token: str | None,
        *,
        local: bool,
        binary: str | None,
        timeout: float,
        patience: float,
        http: httpx.Client | None,
    ) -> None:
        self._find: tuple[str | None, str | None, bool, str | None] = (url, token, local, binary)
        self.timeout = timeout
        self.patience = patience
        self._given = http
        self._http: httpx.Client | None = None
        self._lock = _sys.Lock()
        self._answered = False
        self.place: _connect.Place | None = None

    def open(self) -> httpx.Client:
        """Finds the server, and returns the client of its connections."""
        with self._lock:
            if self._http is None:
                url, token, local, binary = self._find
                place = _sys.blocking(_connect.find, url, token, local=local, binary=binary)
                self.place = place
                self._http = self._given or httpx.Client(trust_env=not place.on_loopback)
            return self._http

    def close(self) -> None:
        """Closes the connections, unless the caller gave their client."""
        if self._http is not None and self._given is None:
            self._http.close()
        self._http = None

    def call(
        self,
        cls: type[T],
        operation: Operation,
        *parts: str,
        json: Any = None,
        query: Mapping[str, Any] | None = None,
        key: str | None = None,
        wait: float | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Sends a request, and returns its answer as an object of a model's class."""
        answer = self.send(operation, *parts, json=json, query=query, key=key, wait=wait, body=body, headers=headers)
        try:
            return decode(cls, answer.json())
        except ValueError as error:
            raise InternalError("The answer of the server is not JSON.") from error

    def send(
        self,
        operation: Operation,
        *parts: str,
        json: Any = None,
        query: Mapping[str, Any] | None = None,
        key: str | None = None,
        wait: float | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        once: bool = False,
    ) -> httpx.Response:
        """Sends a request, and returns its successful answer. Raises an Error otherwise.

        A request is repeated if no byte of it left, or if its effect is the same once and twice. once forbids this.
        """
        more = {"Idempotency-Key": key} if key else {}
        request = _Request(operation, parts, query, json, body, {**more, **(headers or {})}, wait)
        backoff, repeatable = (
            _policy.Backoff(self.patience),
            _policy.repeatable(operation, key is not None) and not once,
        )
        self.open()
        for attempt in range(1 << 20):
            try:
                answer = self._exchange(request)
                answer.read()
                return answer
            except NotFoundError:
                if attempt > 0 and _policy.deletes(operation):
                    return httpx.Response(204)
                raise
            except (UnavailableError, httpx.TransportError) as error:
                self._pause(backoff, error, repeatable)
        raise AssertionError("the retries have no end")

    def _pause(self, backoff: _policy.Backoff, error: Exception, repeatable: bool) -> None:
        """Waits before a retry. Raises the error if there is none."""
        if not self._answered:
            backoff.limit(_policy.SHORT)
        unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
        seconds = backoff.next() if unsent or repeatable else None
        if seconds is None:
            raise self._error(error) from error
        _sys.sleep(seconds)

    def _error(self, error: Exception) -> Error:
        """Returns an error of this package for an error of a connection."""
        if isinstance(error, Error):
            return error
        where = self.place.url if self.place else "the server"
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return UnavailableError(f"The server at {where} cannot be reached: {error or type(error).__name__}.")
        reason = str(error) or type(error).__name__
        return UnavailableError(f"The connection to {where} broke: {reason}. The request can have had its effect.")

    def _exchange(self, request: _Request) -> httpx.Response:
        """Sends a request once, and returns the answer before its body is read. Raises an Error for a problem."""
        answer = self._dispatch(request)
        if answer.is_success:
            return answer
        raise from_answer(answer.status_code, _problem(answer))

    def _dispatch(self, request: _Request) -> httpx.Response:
        """Sends a request once, and returns the answer, whatever its status, before its body is read."""
        http = self.open()
        if self.place is None:
            raise AssertionError("an open transport has a place")
        built = request.build(http, self.place, self.timeout)
        try:
            answer = http.send(built, stream=True, follow_redirects=request.redirects)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise InvalidError(f"The request cannot be built: {error}.") from error
        self._answered = True
        return answer

    @contextmanager
    def passed(self, request: _Request, listening: float) -> Iterator[httpx.Response]:
        """Sends a request to a program in a sandbox, and gives its answer, whatever its status, with the body unread.

        It is repeated only if no byte of it left, or if for some time no program listens. listening is this time in
        seconds. Raises an Error if the server could not pass the request on.
        """
        backoff, starting = _policy.Backoff(self.patience), _policy.Backoff(listening)
        self.open()
        while True:
            try:
                answer = self._pass_once(request)
                break
            except NotFoundError as error:
                # The session exists, because its absence has the status 404. So the program got nothing.
                seconds = starting.next() if error.status == _NO_PROGRAM else None
                if seconds is None:
                    raise
                _sys.sleep(seconds)
            except (UnavailableError, httpx.TransportError) as error:
                self._pause(backoff, error, False)
        try:
            yield answer
        except httpx.TransportError as error:
            raise self._error(error) from error
        finally:
            answer.close()

    def _pass_once(self, request: _Request) -> httpx.Response:
        """Sends a request to a program once. Raises an Error if the answer is a problem of the server."""
        answer = self._dispatch(request)
        if answer.is_success or answer.headers.get("Content-Type") != "application/problem+json":
            return answer
        body = _problem(answer)
        error = from_problem(answer.status_code, body)
        if error is not None:
            raise error
        return _port.whole(answer, body)  # an error of the program in the same form

    @contextmanager
    def streamed(
        self,
        operation: Operation,
        *parts: str,
        query: Mapping[str, Any] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> Iterator[httpx.Response]:
        """Sends a request once, and gives its answer with the body unread. Raises an Error otherwise."""
        request = _Request(operation, parts, query, json, None, dict(headers or {}), silence)
        try:
            answer = self._exchange(request)
            try:
                yield answer
            finally:
                answer.close()
        except httpx.TransportError as error:
            raise self._error(error) from error

    def watch(self, operation: Operation, *parts: str, after: int, last: str) -> Generator[Event, None, None]:
        """Yields the events after a number, up to the first event of the type last.

        When a connection breaks, it continues after the last event: it omits no event and repeats none.
        """
        self.open()
        backoff = _policy.Backoff(self.patience)
        while True:
            try:
                for event in self._watch_once(operation, *parts, after=after):
                    backoff.progress()
                    if event is None:
                        return
                    if event.seq > after:
                        after = event.seq
                        yield event
                        if event.type == last:
                            return
                raise UnavailableError("The server closed the stream.")
            except (UnavailableError, httpx.TransportError) as error:
                self._pause(backoff, error, True)

    def _watch_once(self, operation: Operation, *parts: str, after: int) -> Generator[Event | None, None, None]:
        """Yields the events of one connection, and None if there will be no more."""
        headers, messages = {"Accept": "text/event-stream"}, Messages()
        query = {"after": after}
        request = _Request(operation, parts, query, None, None, headers, _policy.SILENCE - 30)
        answer = self._exchange(request)
        try:
            if answer.status_code == 204:
                yield None
                return
            for piece in answer.iter_bytes():
                for message in messages.feed(piece):
                    if message.event == "bye":
                        return
                    yield Event(decode(models.Event, _json(message.data)))
        finally:
            answer.close()

    def lines(self, answer: httpx.Response) -> Generator[bytes, None, None]:
        """Yields the lines of an answer that are not empty."""
        lines = Lines()
        for piece in answer.iter_bytes():
            for line in lines.feed(piece):
                if line:
                    yield line


class _Request:
    """One request, from which an httpx.Request is built for each attempt."""

    def __init__(
        self,
        operation: Operation,
        parts: tuple[str, ...],
        query: Mapping[str, Any] | None,
        json: Any,
        body: Body | None,
        headers: dict[str, str],
        wait: float | None,
        *,
        below: str = "",
        timeout: float | None = None,
        redirects: bool = False,
    ) -> None:
        self.operation = operation
        self.path = path_of(operation, parts) + query_of(query) + below
        self.json = encode(json) if json is not None else None
        self.body = body
        self.headers = headers
        self.wait = wait
        self.timeout = timeout
        self.redirects = redirects

    def build(self, http: httpx.Client, place: _connect.Place, timeout: float) -> httpx.Request:
        """Returns the request for one attempt."""
        headers = dict(self.headers)
        if place.token and self.operation not in (op.HEALTH, op.READY):
            headers["Authorization"] = f"Bearer {place.token}"
        silence = self.timeout or _policy.patience(self.operation, timeout, self.wait)
        limits = httpx.Timeout(timeout, connect=10.0, read=silence, pool=None)
        content = self.body() if self.body else None
        return http.build_request(
            self.operation.method,
            place.url + self.path,
            json=self.json,
            content=content,
            headers=headers,
            timeout=limits,
        )


def _problem(answer: httpx.Response) -> bytes:
    """Reads the body of an answer that can be a problem document, and closes it. The rest of a long body is omitted."""
    try:
        body = b""
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > _MAX_PROBLEM:
                break
    finally:
        answer.close()
    return body


def path_of(operation: Operation, parts: tuple[str, ...]) -> str:
    """Returns the path of an operation with its parameters filled in. Only the path of a file keeps its slashes."""
    pieces, values = [], iter(parts)
    for piece in operation.path.split("/"):
        if piece.startswith("{"):
            piece = quote(next(values), safe="/" if piece == "{path}" else "")
            if piece in ("", ".", ".."):
                raise InvalidError("An id or name in the request is empty or a dot: give one of the server.")
        pieces.append(piece)
    return "/".join(pieces)


def query_of(query: Mapping[str, Any] | None) -> str:
    """Returns a query. Parameters whose value is None are omitted. A value of bytes keeps all its bytes."""
    pairs = {
        name: ("true" if value else "false") if isinstance(value, bool) else value
        for name, value in (query or {}).items()
        if value is not None
    }
    return "?" + urlencode(pairs, quote_via=quote) if pairs else ""


def _json(data: bytes) -> Any:
    try:
        return jsonlib.loads(data)
    except ValueError as error:
        raise InternalError("The server sent an event that is not valid JSON.") from error
