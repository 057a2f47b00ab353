# The server keeps the history of a session. A database in the sandbox would only cost time.
c.HistoryManager.enabled = False

# IPython copies all printed text for %notebook, and keeps the copy until the kernel ends. This line turns that off.
import contextlib

from IPython.core.interactiveshell import InteractiveShell

InteractiveShell._tee = lambda self, channel: contextlib.nullcontext()

# Each of these modules changes the kernels of this image. Its docstring describes the change and the reason. The
# order matters: a later module can wrap a function that an earlier one has replaced.
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

# To detect a fork, each message and each flush calls os.getpid several times. In gVisor a call costs more than the
# rest of the check. So the process id is read once here, and again in every fork.
import os
import types

from ipykernel import iostream
from jupyter_client import session

_os_with_pid = types.ModuleType("os")
_os_with_pid.__dict__.update(os.__dict__)


def _store_pid():
    pid = os.getpid()
    _os_with_pid.getpid = lambda: pid


_store_pid()
os.register_at_fork(after_in_child=_store_pid)
iostream.os = session.os = _os_with_pid

# ipykernel waits half a millisecond before each reply, so that output can leave first. The agent does not need this
# pause. It waits for the idle status, which comes after all output.
c.Kernel._execute_sleep = 0

# These modules need the shell. IPython passes it to load_ipython_extension of each, in this order.
c.InteractiveShellApp.extensions = ["cellhold_figures", "cellhold_leftovers", "cellhold_exit", "cellhold_backends"]
