# The server keeps the history of a session. A database in the sandbox would only cost time.
c.HistoryManager.enabled = False

# IPython copies all printed text for %notebook, and keeps the copy until the kernel ends. This line turns that off.
import contextlib

from IPython.core.interactiveshell import InteractiveShell

InteractiveShell._tee = lambda self, channel: contextlib.nullcontext()

# Each of these modules changes the kernels of this image. Its docstring describes the change and the reason. The
# order matters: a later module can wrap a function that an earlier one has replaced.
import importlib

import cellhold_kernel

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
    "cellhold_pid",
    "cellhold_results",
    "cellhold_shortcuts",
    "cellhold_streams",
    "cellhold_system",
    "cellhold_tracebacks",
):
    # A kernel without ZeroMQ has its own streams and messages.
    if not (cellhold_kernel.running and _module in ("cellhold_encoding", "cellhold_pid", "cellhold_streams")):
        importlib.import_module(_module).install()

# ipykernel waits half a millisecond before each reply, so that output can leave first. The agent does not need this
# pause. It waits for the idle status, which comes after all output.
c.Kernel._execute_sleep = 0

# These modules need the shell. IPython passes it to load_ipython_extension of each, in this order.
c.InteractiveShellApp.extensions = ["cellhold_figures", "cellhold_leftovers", "cellhold_exit", "cellhold_backends"]
