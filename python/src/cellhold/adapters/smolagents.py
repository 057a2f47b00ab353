"""A Python executor for the CodeAgent of smolagents. Needs `pip install 'cellhold[smolagents]'`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import PIL.Image
from smolagents import ActionStep
from smolagents.local_python_executor import CodeOutput
from smolagents.monitoring import AgentLogger, LogLevel
from smolagents.remote_executors import RemotePythonExecutor
from smolagents.utils import AgentError

from .._sync.session import Session
from ._answer import MAX_TEXT, Image, answer_of, capped, visible

_MAX_PIXELS = 50_000_000
"""Maximum pixels of a figure: a small file can have an image that fills the memory."""


class SandboxExecutor(RemotePythonExecutor):
    """The executor of one agent: `CodeAgent(tools, model, executor=SandboxExecutor())`. It has one session.

    `agent.cleanup()`, or a `with` block of the agent, ends the session. For figures, add the callback:
    `step_callbacks=[executor.show_figures]`.
    """

    def __init__(
        self,
        session: Session | None = None,
        additional_imports: Sequence[str] = (),
        *,
        timeout: float | None = None,
        max_text: int = MAX_TEXT,
        logger: AgentLogger | None = None,
    ) -> None:
        """Describes the executor. No request is sent until packages are needed or code runs.

        Args:
            session: the session, which ends with the agent. Default: a new one
            additional_imports: Python packages to install
            timeout: seconds after which a cell is interrupted. Default: that of the server
            max_text: maximum characters of a text for the model; its head and its tail are kept
            logger: the log of smolagents

        Values come back from the sandbox as JSON, never as pickles: a pickle of untrusted code could run code here.
        """
        super().__init__(list(additional_imports), logger or AgentLogger(level=LogLevel.ERROR), allow_pickle=False)
        self.session = session or Session()
        self._timeout = timeout
        self._max_text = max_text
        self._figures: list[Image] = []
        if additional_imports:
            self.installed_packages = self.install_packages(list(additional_imports))

    def run_code_raise_errors(self, code: str) -> CodeOutput:
        """Runs code, and returns its result, what it printed, and whether the result is the final answer.

        Raises AgentError with the traceback, which the agent gives to its model, and Error of the server.
        """
        cell = self.session.run(code, timeout=self._timeout, raise_on_error=False)
        answer = answer_of(cell, most=self._max_text)
        self._figures += answer.images
        printed = capped(visible(cell.stdout + cell.stderr), self._max_text, "Print less.")
        if cell.error and cell.error.name == self.FINAL_ANSWER_EXCEPTION:
            return CodeOutput(output=self._final(cell.error.value), logs=printed, is_final_answer=True)
        if not cell.ok:
            raise AgentError(answer.text, self.logger)
        result = None if cell.result is None else capped(visible(cell.result), self._max_text, "Print less.")
        return CodeOutput(output=result, logs=printed, is_final_answer=False)

    def install_packages(self, additional_imports: list[str]) -> list[str]:
        """Installs packages from the server's package index, and returns their names. Raises Error of the server."""
        if additional_imports:
            self.session.packages.install(*additional_imports)
        return additional_imports

    def show_figures(self, step: Any, agent: Any = None) -> None:
        """A step callback of the agent: shows the figures of the step to the model as images."""
        if not isinstance(step, ActionStep):
            return
        figures, self._figures = self._figures, []
        opened = [image for image in map(_opened, figures) if image]
        step.observations_images = (step.observations_images or []) + opened or None

    def cleanup(self) -> None:
        """Ends the session. A second call does nothing. Raises Error of the server."""
        self.session.close()

    def _final(self, value: str) -> Any:
        """Returns a final answer. Untrusted code wrote its JSON, so any mistake in it is an error of the code."""
        try:
            return self._deserialize_final_answer(value, allow_pickle=False)
        except Exception as error:
            reason = f"The final answer cannot be read ({type(error).__name__}). Give a shorter or simpler value."
            raise AgentError(reason, self.logger) from error


def _opened(image: Image) -> PIL.Image.Image | None:
    """Returns an image of Pillow, or None if the file is damaged or too large."""
    try:
        opened = PIL.Image.open(io.BytesIO(image.data), formats=("PNG", "JPEG"))
        if opened.width * opened.height > _MAX_PIXELS:
            return None
        opened.load()
        return opened
    except Exception:  # Pillow raises many classes for damaged files
        return None
