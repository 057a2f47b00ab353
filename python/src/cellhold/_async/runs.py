"""Batches of runs."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Mapping, Sequence

import httpx

from .. import _operations as op
from .. import _policy, models
from .._run import RunView
from .._values import decode
from ..errors import InternalError, UnavailableError
from .transport import AsyncTransport


async def batch(
    transport: AsyncTransport, requests: Sequence[models.RunRequest], parallel: int | None, key: str | None
) -> AsyncGenerator[RunView, None]:
    """Yields the result of each run once."""
    body = models.StartRuns(runs=list(requests), parallel=parallel)
    headers = {"Idempotency-Key": key} if key else {}
    backoff, seen = _policy.Backoff(transport.patience), set[int]()
    while len(seen) < len(requests):
        try:
            async with transport.streamed(
                op.RUN_BATCH, json=body, headers=headers, silence=_policy.SILENCE - 30
            ) as answer:
                async for line in transport.lines(answer):
                    backoff.progress()
                    run = RunView(decode(models.RunResult, _parsed(line)))
                    if run.index not in seen:
                        seen.add(run.index)
                        yield run
            if len(seen) < len(requests):
                raise UnavailableError("The batch ended before all its results.")
        except (UnavailableError, httpx.TransportError) as error:
            await transport._pause(backoff, error, key is not None)


def _parsed(line: bytes) -> object:
    try:
        found: object = json.loads(line)
    except ValueError as error:
        raise InternalError("The server sent a result that is not valid JSON.") from error
    return found


def files_of(files: Mapping[str, str | bytes] | Sequence[models.RunFile]) -> list[models.RunFile] | None:
    """Returns the files of a run. A mapping has the content for each path."""
    if not isinstance(files, Mapping):
        return list(files) or None
    return [_file(path, content) for path, content in files.items()] or None


def _file(path: str, content: str | bytes) -> models.RunFile:
    if isinstance(content, str):
        return models.RunFile(path=path, content=content)
    return models.RunFile(path=path, content=base64.b64encode(content).decode(), encoding="base64")
