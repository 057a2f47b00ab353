# The history of a session is its notebook; a database in the sandbox would only cost time.
c.HistoryManager.enabled = False

# IPython keeps a copy of all that cells print, for %notebook and for as long as the kernel lives.
import contextlib

from IPython.core.interactiveshell import InteractiveShell

InteractiveShell._tee = lambda self, channel: contextlib.nullcontext()

# Output waits for its reader, and what programs write comes whole, as it is written, and with their cell.
# An interrupt hits the code of the cell alone. The debugger, whom nobody could reach, is left out.
# No value keeps a message from being sent, no exception is too long to be shown, and a repr that fails is an
# error of its cell.
import cellhold_debugger
import cellhold_encoding
import cellhold_interrupts
import cellhold_results
import cellhold_streams
import cellhold_system
import cellhold_tracebacks
from ipykernel import iostream

cellhold_debugger.install()
cellhold_encoding.install()
cellhold_interrupts.install()
cellhold_results.install()
cellhold_streams.install()
cellhold_system.install()
cellhold_tracebacks.install()

# Each message and each flush asks the system several times whether this is still the process that it
# was, or a fork of it, and in gVisor each time costs more than the rest of the look. It is asked once
# here, and again in every fork.
import os
import types

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
c.InteractiveShellApp.extensions = ["cellhold_figures", "cellhold_leftovers"]
