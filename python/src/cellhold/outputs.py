"""Outputs of code: text, figures and failures.

Code that an AI wrote makes these values. They are data of a stranger: show them as text and as images only.
"""

from __future__ import annotations

import base64
import binascii
import html
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import models

_BINARY = {"png": "image/png", "jpeg": "image/jpeg", "pdf": "application/pdf"}
_SUFFIXES = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".svg": "svg", ".pdf": "pdf"}
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def plain(text: str) -> str:
    """Returns a text without colours and other control characters. Tabs and line breaks stay."""
    return _ESCAPES.sub("", text.replace("\r\n", "\n"))


class Figure:
    """A figure that code has shown, in one or more formats."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    @property
    def formats(self) -> list[str]:
        """The formats of the figure: png, jpeg, svg and pdf."""
        return [name for name in ("png", "jpeg", "svg", "pdf") if self._bytes(name) is not None]

    @property
    def png(self) -> bytes:
        """The figure as PNG. Raises ValueError if the figure has no PNG."""
        return self.read("png")

    @property
    def jpeg(self) -> bytes:
        """The figure as JPEG. Raises ValueError if the figure has no JPEG."""
        return self.read("jpeg")

    @property
    def pdf(self) -> bytes:
        """The figure as PDF. Raises ValueError if the figure has no PDF."""
        return self.read("pdf")

    @property
    def svg(self) -> str:
        """The figure as SVG. Raises ValueError if the figure has no SVG."""
        return self.read("svg").decode()

    @property
    def text(self) -> str:
        """The text that the code gave for the figure."""
        return plain(_text(self._data.get("text/plain")))

    def read(self, format: str) -> bytes:
        """Returns the bytes of a format. Raises ValueError if the figure does not have it."""
        found = self._bytes(format)
        if found is None:
            have = ", ".join(self.formats)
            raise ValueError(
                f"The figure has no {format}, only {have}; choose formats with figures= before the cell runs."
            )
        return found

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the figure to a file, in the format of the file's suffix, and returns the path.

        Raises ValueError if the figure does not have the format.
        """
        target = Path(path)
        format = _SUFFIXES.get(target.suffix.lower())
        if format is None:
            raise ValueError(f"The suffix of {target.name!r} is no format of figures; use .png, .jpg, .svg or .pdf.")
        target.write_bytes(self.read(format))
        return target

    def _bytes(self, format: str) -> bytes | None:
        if format == "svg":
            return _text(self._data["image/svg+xml"]).encode() if "image/svg+xml" in self._data else None
        text = self._data.get(_BINARY.get(format, ""))
        if not isinstance(text, str):
            return None
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            return None

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The image for a notebook. SVG can have scripts, so it is not shown."""
        shown = {
            _BINARY[name]: base64.b64encode(self.read(name)).decode()
            for name in self.formats
            if name in ("png", "jpeg")
        }
        return {"text/plain": repr(self), **shown}

    def __repr__(self) -> str:
        return f"<Figure {' '.join(self.formats)}>"


@dataclass(frozen=True)
class Failure:
    """Why code failed. `str()` gives the traceback as text, for a person or a model."""

    name: str
    """Class of the exception, or the status of the cell, such as "timeout"."""
    value: str
    """Text of the exception, or one sentence that explains the status."""
    traceback: str
    """Traceback without colours. If there is none, the name and the value."""

    def __str__(self) -> str:
        return self.traceback


def failure(ename: str, evalue: str, traceback: Iterable[str]) -> Failure:
    """Returns the failure of an exception. The arguments are those of Jupyter's error."""
    name, value = plain(ename), plain(evalue)
    return Failure(name, value, plain("\n".join(traceback)) or f"{name}: {value}")


class Output:
    """One output of a cell: printed text, a result, a display or an exception."""

    def __init__(self, data: models.Output) -> None:
        self.data = data
        """The output in notebook form."""

    @property
    def type(self) -> str:
        """stream, execute_result, display_data or error."""
        return self.data.output_type

    @property
    def name(self) -> str:
        """stdout or stderr for a stream, otherwise empty."""
        return self.data.name or ""

    @property
    def text(self) -> str:
        """The output as text: what was printed, the text form of a value, or the traceback without colours."""
        if self.data.output_type == "stream":
            return self.data.text or ""
        if self.data.output_type == "error":
            return str(self.error)
        return _text((self.data.data or {}).get("text/plain"))

    @property
    def mime(self) -> dict[str, Any]:
        """The forms of a result or display by MIME type. HTML and JavaScript of untrusted code are among them."""
        return dict(self.data.data or {})

    @property
    def figure(self) -> Figure | None:
        """The figure, if the output is an image."""
        found = Figure(self.data.data or {})
        return found if found.formats else None

    @property
    def error(self) -> Failure | None:
        """The exception, if the output is one."""
        if self.data.output_type != "error":
            return None
        return failure(self.data.ename or "", self.data.evalue or "", self.data.traceback or ())

    def __repr__(self) -> str:
        return f"<Output {self.type} {plain(self.text)[:60]!r}>"


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value or "")


def streamed(outputs: Iterable[Output], name: str) -> str:
    """Returns the text of one stream."""
    return "".join(output.text for output in outputs if output.type == "stream" and output.name == name)


def shown(outputs: Iterable[Output]) -> str:
    """Returns the text of all outputs without exceptions, each value on lines of its own."""
    parts: list[str] = []
    for output in outputs:
        if output.type == "stream":
            parts.append(output.text)
        elif output.type != "error" and output.text:
            if parts and not parts[-1].endswith("\n"):
                parts.append("\n")
            parts.append(output.text + "\n")
    return "".join(parts)


def bundle(outputs: list[Output], error: Failure | None) -> dict[str, Any]:
    """Returns the outputs for a notebook: as text, and as a page of escaped text and images.

    The page has nothing that the code wrote as HTML, because such a page could act as the reader of the notebook.
    """
    text = plain(shown(outputs))
    parts: list[str] = []
    for output in outputs:
        figure = output.figure
        if figure and {"png", "jpeg"} & set(figure.formats):
            format = "png" if "png" in figure.formats else "jpeg"
            image = base64.b64encode(figure.read(format)).decode()
            parts.append(f'<img src="data:image/{format};base64,{image}">')
        elif output.type != "error" and output.text:
            parts.append(f"<pre>{html.escape(plain(output.text))}</pre>")
    if error:
        text += str(error) + "\n"
        parts.append(f"<pre>{html.escape(str(error))}</pre>")
    return {"text/plain": text, "text/html": "\n".join(parts)}
