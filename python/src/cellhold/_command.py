"""A command without requests: what it is, and what it printed."""

from __future__ import annotations

import base64

from . import models


class CommandView:
    """One command in the sandbox of a session, outside its kernels."""

    data: models.Command
    """The command as the server sent it last."""

    @property
    def id(self) -> str:
        """Id of the command, unique within its session."""
        return self.data.id

    @property
    def state(self) -> str:
        """running or done."""
        return self.data.state

    @property
    def done(self) -> bool:
        """True if the command has ended."""
        return self.data.state == "done"

    @property
    def status(self) -> str | None:
        """Result of a done command: ok, exit, signal, timeout, oom or lost."""
        return self.data.status

    @property
    def ok(self) -> bool:
        """True if the exit status is 0."""
        return self.data.status == "ok"

    @property
    def exit_code(self) -> int | None:
        """Exit status, 128 plus the number of a signal, or None."""
        return self.data.exit_code

    @property
    def ending(self) -> str:
        """How the command ended, in some words."""
        if self.data.status == "exit":
            return f"exit status {self.exit_code}"
        if self.data.status == "signal":
            return f"the signal {self.data.signal}"
        return self.data.cause or str(self.data.status or self.data.state)

    @property
    def stdout(self) -> str:
        """Standard output, or the output of the terminal. Above 128 KiB, a note is in place of its middle."""
        return output_text(self.data.stdout)

    @property
    def stderr(self) -> str:
        """Standard error. Above 128 KiB, a note is in place of its middle."""
        return output_text(self.data.stderr)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.status or self.state}>"


def output_bytes(output: models.CommandOutput) -> bytes:
    """Returns the bytes of an output. If bytes are omitted, a note is in their place."""
    parts = [output.text, output.tail or ""]
    coded = output.encoding == "base64"
    head, tail = (base64.b64decode(part) if coded else part.encode() for part in parts)
    note = f"\n[{output.omitted} bytes omitted]\n".encode() if output.omitted else b""
    return head + note + tail


def output_text(output: models.CommandOutput) -> str:
    """Returns the text of an output. Bytes that are not UTF-8 become U+FFFD."""
    return output_bytes(output).decode("utf-8", "replace")
