"""The result of a run: code in a sandbox that is used once."""

from __future__ import annotations

from typing import Any

from . import models
from ._command import output_text
from .outputs import Failure, Figure, Output, bundle, failure, plain


class RunView:
    """The result of a run. A notebook shows it as its outputs."""

    def __init__(self, data: models.RunResult) -> None:
        self.data = data
        """The result as the server sent it."""

    @property
    def index(self) -> int:
        """Position of the run in its batch, from 0."""
        return self.data.index

    @property
    def status(self) -> str:
        """ok, failed, error, exit, signal, timeout, oom, compile_error, lost or refused."""
        return self.data.status

    @property
    def ok(self) -> bool:
        """True if the code ended without an error, and all tests passed."""
        return self.data.status == "ok"

    @property
    def stdout(self) -> str:
        """Standard output. Above 128 KiB, a note is in place of its middle."""
        return output_text(self.data.stdout)

    @property
    def stderr(self) -> str:
        """Standard error. Above 128 KiB, a note is in place of its middle."""
        return output_text(self.data.stderr)

    @property
    def exit_code(self) -> int | None:
        """Exit status, or None if there is none."""
        return self.data.exit_code

    @property
    def outputs(self) -> list[Output]:
        """Figures, displays and the result of a cell, in order."""
        return [Output(output) for output in self.data.outputs]

    @property
    def result(self) -> str | None:
        """The value of the last expression of a cell as text, or None."""
        results = [output for output in self.outputs if output.type == "execute_result"]
        return results[-1].text if results else None

    @property
    def figures(self) -> list[Figure]:
        """Images that the code has shown, in order."""
        return [output.figure for output in self.outputs if output.figure]

    @property
    def error(self) -> Failure | None:
        """Why the run failed, with the traceback as text, or None."""
        if self.data.exception:
            raised = self.data.exception
            return failure(raised.ename, raised.evalue, raised.traceback)
        if self.ok:
            return None
        reason = plain(self.data.error.detail if self.data.error else self.data.cause or self.stderr)
        return Failure(self.status, reason, f"{self.status}: {reason}".rstrip(": \n"))

    @property
    def tests(self) -> list[models.RunTestResult]:
        """Results of the tests, in the order of the request."""
        return self.data.tests

    @property
    def passed(self) -> int:
        """Number of tests that passed."""
        return self.data.passed

    @property
    def files(self) -> list[models.RunChangedFile]:
        """Files that the code wrote, with their content if it is small."""
        return self.data.files

    @property
    def usage(self) -> models.Usage | None:
        """Seconds, CPU seconds and bytes of memory that the code used."""
        return self.data.usage

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The outputs for a notebook, as escaped text and images."""
        text = [("stdout", self.stdout), ("stderr", self.stderr)]
        printed = [Output(models.Output(output_type="stream", name=name, text=part)) for name, part in text if part]
        return bundle(printed + self.outputs, self.error)

    def __repr__(self) -> str:
        return f"<Run {self.index} {self.status}>"
