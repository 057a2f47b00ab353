"""cellhold runs code that an AI wrote in stateful Jupyter kernels, each in its own gVisor sandbox.

    import cellhold

    with cellhold.Session() as s:
        cell = s.run("6 * 7")
        print(cell.result)

`AsyncSession` and `AsyncClient` have the same names with `await`.
"""

from . import models
from ._async.cell import AsyncCell
from ._async.client import AsyncClient
from ._async.commands import AsyncCommand
from ._async.kernels import AsyncKernel
from ._async.session import AsyncSession
from ._async.stream import AsyncStream
from ._run import RunView as Run
from ._sync.cell import Cell
from ._sync.client import Client
from ._sync.commands import Command
from ._sync.kernels import Kernel
from ._sync.session import Session
from ._sync.stream import Stream
from .errors import (
    CellError,
    CommandError,
    ConflictError,
    DeniedError,
    Error,
    ExhaustedError,
    InternalError,
    InvalidError,
    NotFoundError,
    RunError,
    UnavailableError,
    UnsupportedError,
    WaitTimeout,
)
from .events import Event, Prompt
from .models import Egress, Figures, Limits, RunFile, RunRequest, RunTest, Secret
from .outputs import Failure, Figure, Output

__version__ = "0.1.0"

__all__ = [
    "AsyncCell",
    "AsyncClient",
    "AsyncCommand",
    "AsyncKernel",
    "AsyncSession",
    "AsyncStream",
    "Cell",
    "CellError",
    "Client",
    "Command",
    "CommandError",
    "ConflictError",
    "DeniedError",
    "Egress",
    "Error",
    "Event",
    "ExhaustedError",
    "Failure",
    "Figure",
    "Figures",
    "InternalError",
    "InvalidError",
    "Kernel",
    "Limits",
    "NotFoundError",
    "Output",
    "Prompt",
    "Run",
    "RunError",
    "RunFile",
    "RunRequest",
    "RunTest",
    "Secret",
    "Session",
    "Stream",
    "UnavailableError",
    "UnsupportedError",
    "WaitTimeout",
    "__version__",
    "models",
]
