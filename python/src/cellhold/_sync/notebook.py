# Generated from ../_async/notebook.py by python/tools/generate.py. Do not edit.
"""The notebook of a session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .. import _operations as op
from .. import models
from . import _sys

if TYPE_CHECKING:
    from .session import Session

_FORMATS: dict[str, Literal["ipynb", "py", "html"]] = {".ipynb": "ipynb", ".py": "py", ".html": "html"}


class Notebook:
    """The cells and outputs of a session as a Jupyter notebook: `session.notebook`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read(self, format: Literal["ipynb", "py", "html"] = "ipynb", *, kernel: str | None = None) -> bytes:
        """Returns the notebook (nbformat 4.5), a Python script or a page without scripts, of one kernel."""
        query = {"format": format, "kernel": kernel}
        return (self._session._send(op.GET_NOTEBOOK, query=query)).content

    def save(self, path: str | os.PathLike[str], *, kernel: str | None = None) -> Path:
        """Writes the notebook to a file on this machine, in the format of the suffix: .ipynb, .py or .html.

        Raises ValueError for another suffix.
        """
        target = Path(path)
        format = _FORMATS.get(target.suffix)
        if format is None:
            raise ValueError(f"The suffix of {target.name!r} is no format of notebooks; use .ipynb, .py or .html.")
        content = self.read(format, kernel=kernel)
        _sys.blocking(target.write_bytes, content)
        return target

    def load(self, notebook: str | os.PathLike[str] | bytes, *, run: bool = False) -> list[str]:
        """Adds the cells of a notebook with their outputs to a session without cells, and returns their ids.

        Args:
            notebook: path of a file on this machine, or its bytes
            run: submit the code cells in order
        """
        content = notebook if isinstance(notebook, bytes) else _sys.blocking(Path(notebook).read_bytes)
        answer = self._session._call(
            models.ImportedNotebook,
            op.IMPORT_NOTEBOOK,
            query={"run": run},
            body=lambda: content,
            headers={"Content-Type": "application/x-ipynb+json"},
        )
        return answer.cells
