"""A cell without requests: what it is, and what it printed."""

from __future__ import annotations

from typing import Any

from . import models
from .outputs import Failure, Figure, Output, bundle, shown, streamed


class CellView:
    """One piece of code with its outputs and its result. A notebook shows it as its outputs."""

    data: models.Cell
    """The cell as the server sent it last."""

    @property
    def id(self) -> str:
        """Id of the cell, unique within its session."""
        return self.data.id

    @property
    def code(self) -> str:
        """The submitted source code."""
        return self.data.code

    @property
    def kernel(self) -> str:
        """Id of the kernel that runs the cell."""
        return self.data.kernel

    @property
    def state(self) -> str:
        """queued, running or done."""
        return self.data.state

    @property
    def status(self) -> str | None:
        """Result of a done cell: ok, error, interrupted, timeout, cancelled, oom, signal, exit or lost."""
        return self.data.status

    @property
    def done(self) -> bool:
        """True if the cell has ended."""
        return self.data.state == "done"

    @property
    def ok(self) -> bool:
        """True if the cell ended without an error."""
        return self.data.status == "ok"

    @property
    def outputs(self) -> list[Output]:
        """All outputs, in order. Progress bars show only their last state."""
        return [Output(output) for output in self.data.outputs]

    @property
    def text(self) -> str:
        """Everything that the cell printed, and the text forms of its displays and its result, in order."""
        return shown(self.outputs)

    @property
    def stdout(self) -> str:
        """Text on standard output. If `truncated` is true, only its beginning and its end."""
        return streamed(self.outputs, "stdout")

    @property
    def stderr(self) -> str:
        """Text on standard error. If `truncated` is true, only its beginning and its end."""
        return streamed(self.outputs, "stderr")

    @property
    def result(self) -> str | None:
        """The value of the last expression as text, or None."""
        results = [output for output in self.outputs if output.type == "execute_result"]
        return results[-1].text if results else None

    @property
    def error(self) -> Failure | None:
        """Why the cell did not end with ok, with the traceback as text. None if it did, or is not done."""
        if self.data.status in (None, "ok"):
            return None
        errors = [output.error for output in self.outputs if output.error]
        if errors and self.data.status == "error":
            return errors[-1]
        status, cause = str(self.data.status), self.data.cause or ""
        trace = [errors[-1].traceback] if errors else []
        return Failure(status, cause, "\n".join([*trace, f"{status}: {cause}".rstrip(": ")]))

    @property
    def figures(self) -> list[Figure]:
        """Images that the cell has shown, in order."""
        return [output.figure for output in self.outputs if output.figure]

    @property
    def files(self) -> list[models.CellFile]:
        """Files that were written while the cell ran, at most 100, with path, size in bytes and time."""
        return list(self.data.files or ())

    @property
    def usage(self) -> models.Usage | None:
        """Seconds, CPU seconds and bytes of memory that a done cell used."""
        return self.data.usage

    @property
    def truncated(self) -> bool:
        """True if `outputs` has only the beginning and the end. `read_text` reads the rest."""
        return bool(self.data.truncated)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The outputs for a notebook, as escaped text and images."""
        if not self.done:
            return {"text/plain": repr(self)}
        return bundle(self.outputs, self.error)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.status or self.state}>"
