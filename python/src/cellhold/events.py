"""Events: everything that happens in a session, with numbers in order."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from . import models
from ._values import decode
from .outputs import Output

OUTPUTS = frozenset({"stream", "execute_result", "display_data", "error"})


class Event:
    """One event. Its number is unique within the session. New types can appear; ignore those that you do not know."""

    def __init__(self, data: models.Event) -> None:
        self.data = data
        """The event as the server sent it."""

    @property
    def seq(self) -> int:
        """Number of the event in its session, from 1."""
        return self.data.seq

    @property
    def type(self) -> str:
        """Type of the event, such as stream, execute_result, error, cell_done or session_ended."""
        return self.data.type

    @property
    def cell(self) -> str | None:
        """Id of the cell of the event."""
        return self.data.cell

    @property
    def command(self) -> str | None:
        """Id of the command of the event."""
        return self.data.command

    @property
    def kernel(self) -> str | None:
        """Id of the kernel of the event."""
        return self.data.kernel

    @property
    def content(self) -> dict[str, Any]:
        """Content, which depends on the type. Outputs have Jupyter's content."""
        return self.data.content if isinstance(self.data.content, dict) else {}

    @property
    def name(self) -> str:
        """stdout or stderr, if the event is printed text."""
        return str(self.content.get("name", "")) if self.type == "stream" else ""

    @property
    def text(self) -> str:
        """The text of an output, or "". Bytes of a command that are not UTF-8 become U+FFFD."""
        if self.type == "stream" and "data" in self.content:
            return self.bytes.decode("utf-8", "replace")
        output = self.output
        return output.text if output else ""

    @property
    def bytes(self) -> bytes:
        """The bytes that a command printed, or the text of a cell as UTF-8."""
        if self.type != "stream":
            return b""
        if "data" not in self.content:
            return str(self.content.get("text", "")).encode()
        try:
            return base64.b64decode(str(self.content["data"]))
        except binascii.Error:
            return b""

    @property
    def output(self) -> Output | None:
        """The output, if the event is one: printed text, a result, a display or an exception."""
        if self.type not in OUTPUTS:
            return None
        return Output(decode(models.Output, {**self.content, "output_type": self.type}))

    def __repr__(self) -> str:
        return f"<Event {self.seq} {self.type}>"


class Prompt(str):
    """The question of code that calls input(). It is the text of the question."""

    password: bool
    """True if the typed text must not be shown."""

    def __new__(cls, text: str, password: bool) -> Prompt:
        """Returns the question."""
        made = super().__new__(cls, text)
        made.password = password
        return made
