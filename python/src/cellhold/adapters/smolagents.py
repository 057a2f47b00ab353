"""A Python executor for the CodeAgent of smolagents. Needs `pip install 'cellhold[smolagents]'`."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import PIL.Image
from smolagents import ActionStep
from smolagents.local_python_executor import CodeOutput
from smolagents.monitoring import AgentLogger, LogLevel
from smolagents.remote_executors import RemotePythonExecutor
from smolagents.utils import AgentError

from .._sync.session import Session
from ._answer import MAX_IMAGES, MAX_TEXT, Image, answer_of, capped, visible

MAX_PIXELS = 50_000_000
"""Maximum pixels of the images of a step or a final answer. A small file can have an image that fills the memory."""

_MAX_EXPONENT = 1000
"""Maximum exponent of a Decimal. The conversion of a larger one to an integer can fill the memory."""

_COLLECTIONS: dict[str, Callable[[list[Any]], Any]] = {"frozenset": frozenset, "set": set, "tuple": tuple}

_SCALARS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "bytes": lambda value: base64.b64decode(value["data"], validate=True),
    "complex": lambda value: complex(value["real"], value["imag"]),
    "date": lambda value: date.fromisoformat(value["data"]),
    "datetime": lambda value: datetime.fromisoformat(value["data"]),
    "time": lambda value: time.fromisoformat(value["data"]),
    "timedelta": lambda value: timedelta(seconds=value["total_seconds"]),
}


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

        A final answer comes back from the sandbox as JSON, never as a pickle, which could run code here. It can have
        numbers, texts, bytes, lists, tuples, sets, dicts, dates, times, Decimals, and images of Pillow.
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
        self._figures = [*self._figures, *answer.images][-MAX_IMAGES:]  # without the callback, nothing takes them
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
        """A step callback of the agent: shows the last 8 figures of the step to the model as images.

        Images above 50 million pixels, counted over the step, are left out.
        """
        if not isinstance(step, ActionStep):
            return
        figures, self._figures = self._figures, []
        values = _Values()
        opened = [image for image in map(values.opened, figures) if image]
        step.observations_images = (step.observations_images or []) + opened or None

    def cleanup(self) -> None:
        """Ends the session. A second call does nothing. Raises Error of the server."""
        self.session.close()

    def _final(self, value: str) -> Any:
        """Returns a final answer. Untrusted code wrote its JSON, so any mistake in it is an error of the code."""
        try:
            prefix, _, text = value.partition(":")
            if prefix != "safe":
                raise _Refused("The final answer is not JSON. Call final_answer with the value.")
            return _Values().decoded(json.loads(text))
        except _Refused as error:
            raise AgentError(str(error), self.logger) from error
        except Exception as error:
            reason = f"The final answer cannot be read ({type(error).__name__}). Give a shorter or simpler value."
            raise AgentError(reason, self.logger) from error


class _Refused(Exception):
    """The value of a final answer is not read. The text is for the model."""


class _Values:
    """Reads the values of one step, with limits: untrusted code wrote them.

    The decoders of smolagents are not used. They make arrays of any size, and images of all formats of Pillow, one of
    which starts Ghostscript.
    """

    def __init__(self) -> None:
        self._pixels = MAX_PIXELS

    def decoded(self, value: Any) -> Any:
        """Returns the value for its JSON. Raises _Refused for other types, and many classes for damaged values."""
        if isinstance(value, list):
            return [self.decoded(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "__type__" not in value:
            return {key: self.decoded(item) for key, item in value.items()}
        kind = str(value["__type__"])
        if kind in _SCALARS:
            return _SCALARS[kind](value)
        if kind in _COLLECTIONS:
            return _COLLECTIONS[kind](self.decoded(value["data"]))
        if kind == "dict_with_complex_keys":
            return dict(self.decoded(value["data"]))
        if kind == "Decimal":
            return _decimal(value["data"])
        if kind == "PIL.Image":
            return self._image(value["data"])
        raise _Refused(
            f"The final answer has a value of the type {visible(kind)[:40]!r}, which is not read. Give numbers, texts, "
            "lists and dicts: an array as array.tolist(), a path as str(path), an object as a dict."
        )

    def opened(self, image: Image) -> PIL.Image.Image | None:
        """Returns an image of Pillow, or None if the file is damaged or too large."""
        try:
            opened = PIL.Image.open(io.BytesIO(image.data), formats=("PNG", "JPEG"))
            pixels = opened.width * opened.height
            if pixels > self._pixels:
                return None
            self._pixels -= pixels
            opened.load()
            return opened
        except Exception:  # Pillow raises many classes for damaged files
            return None

    def _image(self, data: str) -> PIL.Image.Image:
        image = self.opened(Image(base64.b64decode(data, validate=True), "image/png"))
        if image is None:
            raise _Refused(f"The final answer has an image that is no PNG, or above {MAX_PIXELS} pixels in all.")
        return image


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if abs(number.adjusted()) > _MAX_EXPONENT:
        raise _Refused(f"The final answer has a Decimal with an exponent above {_MAX_EXPONENT}. Give a smaller number.")
    return number
