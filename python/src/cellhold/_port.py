"""Requests to ports of a session, and the answers of programs. It makes no requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import httpx

from .errors import InvalidError

MAX = 64 << 20
"""Default limit of the bytes of an answer that is read into memory."""

_OWN = ("Host", "Content-Length", "Transfer-Encoding")
"""Headers that the connection to the server sets."""

_DECODED = ("Content-Encoding", "Content-Length")
"""Headers that are wrong for a body that was decoded."""


class Passed(NamedTuple):
    """A request to a program: its method, its path with the query, its body and its headers."""

    method: str
    path: str
    content: bytes
    headers: dict[str, str]


def checked(port: int) -> int:
    """Returns a port. Raises InvalidError for an impossible one."""
    if not 1 <= port <= 65535:
        raise InvalidError(f"Invalid port {port}: use 1 to 65535.")
    return port


def passed(method: str, path: str, params: Mapping[str, Any] | None = None, **content: Any) -> Passed:
    """Returns a request to a program from the arguments of httpx.Request. Raises InvalidError.

    A path with the segment ".." would be a request to another part of the API, with the token. httpx removes such
    segments, but not their escaped forms, which the server would clean.
    """
    try:
        url = httpx.URL("http://port/" + path.removeprefix("/")).copy_merge_params(params or {})
        built = httpx.Request(method, url, **content)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise InvalidError(f"The request to the port cannot be built: {error}.") from error
    target = built.url.raw_path.decode("ascii")
    if not {".", ".."}.isdisjoint(unquote(target.split("?")[0]).replace("\\", "/").split("/")):
        raise InvalidError(f"Invalid path {path!r}: a segment is a dot. Give the path without it.")
    if "Authorization" in built.headers:
        raise InvalidError("The header Authorization has the token of the server, and no program gets it. Remove it.")
    headers = {name: value for name, value in built.headers.items() if name.title() not in _OWN}
    return Passed(built.method, target, built.read(), headers)


def below(path: str, port: int) -> str:
    """Returns the path or host of a port, from the form of the server with PORT in place of its number."""
    return path.replace("PORT", str(checked(port)), 1)


def whole(answer: httpx.Response, body: bytes) -> httpx.Response:
    """Returns an answer with its body, which was decoded."""
    headers = [(name, value) for name, value in answer.headers.multi_items() if name.title() not in _DECODED]
    made = httpx.Response(answer.status_code, headers=headers, content=body, request=answer.request)
    made.history = answer.history
    return made


def options(**given: Any) -> Mapping[str, Any]:
    """Returns the arguments that are not None."""
    return {name: value for name, value in given.items() if value is not None}
