"""A server that follows a script: each request gets the next answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx

import cellhold

Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]

SESSION = {
    "id": "s1", "created": "2026-01-01T00:00:00Z", "egress": {"policy": "none"}, "expires": "2026-01-01T00:00:00Z",
    "image": "python", "kernels": [], "limits": {}, "state": "ready", "used": "2026-01-01T00:00:00.123456789Z",
}  # fmt: skip


def cell(state: str = "done", **more: Any) -> httpx.Response:
    """An answer with a cell."""
    status = {"status": "ok"} if state == "done" else {}
    data = {"id": "c1", "session": "s1", "kernel": "python3", "code": "x", "state": state, "first": 3, "outputs": []}
    return httpx.Response(200, json={**data, "submitted": "2026-01-01T00:00:00Z", **status, **more})


def command(state: str = "done", **more: Any) -> httpx.Response:
    """An answer with a command."""
    empty = {"text": "", "bytes": 0}
    data = {"id": "x1", "session": "s1", "state": state, "exit_code": 0, "first": 3, "stdout": empty, "stderr": empty}
    return httpx.Response(200, json={**data, "started": "2026-01-01T00:00:00Z", "status": "ok", **more})


def problem(status: int, kind: str, **more: Any) -> httpx.Response:
    """An answer with an error of the server."""
    body = {"title": "T", "status": status, "kind": kind, "detail": f"It is {kind}.", "request_id": "r1", **more}
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json"})


def event(seq: int, type: str, **content: Any) -> bytes:
    """A server-sent event."""
    data = {"seq": seq, "time": "2026-01-01T00:00:00Z", "type": type, "cell": "c1", "content": content}
    return f"id: {seq}\nevent: {type}\ndata: {json.dumps(data)}\n\n".encode()


class Broken(httpx.SyncByteStream):
    """A body that breaks after its pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        raise httpx.ReadError("the connection broke")


def broken(*pieces: bytes) -> httpx.Response:
    """An answer that breaks."""
    return httpx.Response(200, stream=Broken(*pieces), headers={"Content-Type": "text/event-stream"})


class Script:
    """The answers, and the requests that came."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        if not self.answers:
            raise AssertionError(f"no answer is left for {request.method} {request.url}")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    @property
    def asked(self) -> list[str]:
        """The methods and paths of the requests."""
        return [f"{r.method} {r.url.raw_path.decode()}" for r in self.requests]

    def client(self, patience: float = 5.0) -> cellhold.Client:
        """A client of this server."""
        http = httpx.Client(transport=httpx.MockTransport(self))
        return cellhold.Client("http://server", "secret", patience=patience, http=http)

    def session(self, **more: Any) -> cellhold.Session:
        """The session s1 of this server."""
        return self.client(**more).session("s1")


class Sandboxes:
    """A server with sessions that run nothing. It knows no file, and a cell or command is done at once."""

    def __init__(self) -> None:
        self.lives: set[str] = set()
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[], httpx.Response]] = {}
        """The answers to some requests, by their method and the last part of their path, such as "GET content"."""
        self._made = 0
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        method, path = request.method, request.url.path
        with self._lock:
            self.asked.append(f"{method} {path}")
            if path == "/v1/sessions":
                self._made += 1
                self.lives.add(f"s{self._made}")
                return httpx.Response(201, json={**SESSION, "id": f"s{self._made}"})
        id = path.split("/")[3]
        answer = self.answers.get(f"{method} {path.rsplit('/', 1)[-1]}")
        if id not in self.lives:
            return problem(404, "not_found")
        if method == "DELETE":
            self.lives.discard(id)
            return httpx.Response(204)
        if answer:
            return answer()
        if path.endswith(id):
            return httpx.Response(200, json={**SESSION, "id": id})
        if "/files/" in path:
            return problem(404, "not_found")
        return cell() if "/cells" in path else command()

    def made(self) -> cellhold.Session:
        """A new session of this server."""
        http = httpx.Client(transport=httpx.MockTransport(self))
        return cellhold.Session(client=cellhold.Client("http://server", "secret", patience=0.0, http=http))
