"""The ports of a session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx

from .. import _operations as op
from .. import _port, models
from ..errors import ExhaustedError, UnsupportedError
from .transport import _Request

if TYPE_CHECKING:
    from .session import AsyncSession


class AsyncPorts:
    """Programs of a session that listen on a port of its loopback: `session.ports`. You reach them through the server.

    Answers come from untrusted code. Check them before you use them.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def request(
        self,
        method: str,
        port: int,
        path: str = "/",
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | str | None = None,
        json: Any = None,
        data: Mapping[str, Any] | None = None,
        files: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        wait: float = 0.0,
        follow_redirects: bool = False,
        max_bytes: int = _port.MAX,
    ) -> httpx.Response:
        """Sends an HTTP request to the program on a port, and returns its answer, whatever its status.

        Args:
            method: GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS
            port: port on which the program listens
            path: path of the request, which can have a query
            params: query of the request
            headers: headers of the request. The program gets no Authorization and no cookies
            content: body of the request
            json: a value for the body, as JSON
            data: fields of a form
            files: files of a form, as {field: (name, content)}
            timeout: seconds without bytes after which the request fails. Default: that of the client
            wait: seconds to wait for a program that does not listen yet
            follow_redirects: follow redirects that stay at the port
            max_bytes: maximum bytes of the answer

        Raises NotFoundError if no program listens, ExhaustedError if the answer is too large, and other Errors if the
        server cannot pass the request on. The request is not repeated if the program can have got it.
        """
        body = {"params": params, "headers": headers, "content": content, "json": json, "data": data, "files": files}
        opened = self.stream(
            method, port, path, timeout=timeout, wait=wait, follow_redirects=follow_redirects, **_port.options(**body)
        )
        read = bytearray()
        async with opened as answer:
            async for piece in answer.aiter_bytes():
                read += piece
                if len(read) > max_bytes:
                    raise ExhaustedError(
                        f"The answer of port {port} has more than {max_bytes} bytes. Raise max_bytes, or use stream."
                    )
        return _port.whole(answer, bytes(read))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        port: int,
        path: str = "/",
        *,
        timeout: float | None = None,
        wait: float = 0.0,
        follow_redirects: bool = False,
        **content: Any,
    ) -> AsyncIterator[httpx.Response]:
        """Sends a request as `request` does, and gives the answer with its body unread, for a `with` block."""
        passed = _port.passed(method, path, **content)
        session = self._session
        await session.open()
        request = _Request(
            op.USE_PORT._replace(method=passed.method, path=op.USE_PORT.path.removesuffix("/{path}")),
            (session.id, str(_port.checked(port))),
            None,
            None,
            (lambda: passed.content) if passed.content else None,
            passed.headers,
            None,
            below=passed.path,
            timeout=timeout,
            redirects=follow_redirects,
        )
        async with session._client._transport.passed(request, wait) as answer:
            yield answer

    async def access(self) -> models.PortAccess:
        """Returns the path and the hosts of the ports, and the header with the token for the hosts."""
        return await self._session._call(models.PortAccess, op.GET_PORTS)

    async def url(self, port: int, path: str = "/") -> str:
        """Returns the URL of a port below the path of the server. Other programs send the `headers` with it."""
        target = _port.passed("GET", path).path
        found = _port.below((await self.access()).path, port)
        place = self._session._client._transport.place
        return (place.url if place else "") + found.removesuffix("/") + target

    async def headers(self) -> dict[str, str]:
        """Returns the header with your token for `url`, such as for a WebSocket. The program does not get it."""
        await self._session.open()
        place = self._session._client._transport.place
        return {"Authorization": f"Bearer {place.token}"} if place and place.token else {}

    async def host(self, port: int) -> str:
        """Returns the host of a port, where its pages work in a browser. `access` has the token for it.

        Raises UnsupportedError if the server has no name for such hosts (--host).
        """
        access = await self.access()
        if not access.hosts:
            raise UnsupportedError("The server has no name for hosts of ports (--host). Use url or request.")
        return _port.below(access.hosts[0], port)
