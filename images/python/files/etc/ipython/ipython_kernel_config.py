# The history of a session is its notebook; a database in the sandbox would only cost time.
c.HistoryManager.enabled = False

# IPython keeps a copy of all that cells print, for %notebook and for as long as the kernel lives.
import contextlib

from IPython.core.interactiveshell import InteractiveShell

InteractiveShell._tee = lambda self, channel: contextlib.nullcontext()

# What this image changes about its kernels; each module says what and why. A later one may wrap what an earlier
# one has put in place.
import importlib

for _module in (
    "cellhold_absent",
    "cellhold_binary",
    "cellhold_debugger",
    "cellhold_displays",
    "cellhold_encoding",
    "cellhold_exit",
    "cellhold_interrupts",
    "cellhold_loops",
    "cellhold_paths",
    "cellhold_results",
    "cellhold_streams",
    "cellhold_system",
    "cellhold_tracebacks",
):
    importlib.import_module(_module).install()

# Each message and each flush asks the system several times whether this is still the process that it
# was, or a fork of it, and in gVisor each time costs more than the rest of the look. It is asked once
# here, and again in every fork.
import os
import types

from ipykernel import iostream
from jupyter_client import session

_remembering = types.ModuleType("os")
_remembering.__dict__.update(os.__dict__)


def _remember():
    pid = os.getpid()
    _remembering.getpid = lambda: pid


_remember()
os.register_at_fork(after_in_child=_remember)
iostream.os = session.os = _remembering

# Half a millisecond before each reply, meant to let output go first. Who waits for the idle status has
# the output, and the agent does.
c.Kernel._execute_sleep = 0

# Figures as the caller of a cell asked for them; nothing of a cell that would mislead the next one.
c.InteractiveShellApp.extensions = ["cellhold_figures", "cellhold_leftovers", "cellhold_exit", "cellhold_backends"]
