"""The notebook of a session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .. import _operations as op
from .. import models
from . import _sys

if TYPE_CHECKING:
    from .session import AsyncSession

_FORMATS: dict[str, Literal["ipynb", "py", "html"]] = {".ipynb": "ipynb", ".py": "py", ".html": "html"}


class AsyncNotebook:
    """The cells and outputs of a session as a Jupyter notebook: `session.notebook`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def read(self, format: Literal["ipynb", "py", "html"] = "ipynb", *, kernel: str | None = None) -> bytes:
        """Returns the notebook (nbformat 4.5), a Python script or a page without scripts, of one kernel."""
        query = {"format": format, "kernel": kernel}
        return (await self._session._send(op.GET_NOTEBOOK, query=query)).content

    async def save(self, path: str | os.PathLike[str], *, kernel: str | None = None) -> Path:
        """Writes the notebook to a file on this machine, in the format of the suffix: .ipynb, .py or .html.

        Raises ValueError for another suffix.
        """
        target = Path(path)
        format = _FORMATS.get(target.suffix)
        if format is None:
            raise ValueError(f"The suffix of {target.name!r} is no format of notebooks; use .ipynb, .py or .html.")
        content = await self.read(format, kernel=kernel)
        await _sys.blocking(target.write_bytes, content)
        return target

    async def load(self, notebook: str | os.PathLike[str] | bytes, *, run: bool = False) -> list[str]:
        """Adds the cells of a notebook with their outputs to a session without cells, and returns their ids.

        Args:
            notebook: path of a file on this machine, or its bytes
            run: submit the code cells in order
        """
        content = notebook if isinstance(notebook, bytes) else await _sys.blocking(Path(notebook).read_bytes)
        answer = await self._session._call(
            models.ImportedNotebook,
            op.IMPORT_NOTEBOOK,
            query={"run": run},
            body=lambda: content,
            headers={"Content-Type": "application/x-ipynb+json"},
        )
        return answer.cells
