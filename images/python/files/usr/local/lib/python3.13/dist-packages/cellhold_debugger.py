"""Leaves out the debugger of ipykernel. It has a hundred modules, and talks to a front end over sockets that end in the
sandbox. Code that imports debugpy still finds it.

Kernels still answer the debugger's request for modules. The reply lists the loaded modules, and the missing ones
(see cellhold_absent). Jupyter has no other request for this that works while a cell runs.
"""

import sys

import cellhold_absent
from ipykernel.ipkernel import IPythonKernel


async def _poll_stopped_queue(kernel):
    """Returns at once. ipykernel's own method waits for messages of the debugger until the kernel ends."""


async def _answer(kernel, request):
    """The reply (dict) to a debug_request; one without "body" refuses."""
    if request.get("command") != "modules":
        return {"type": "response", "command": request.get("command", ""), "request_seq": request.get("seq", 0),
                "success": False, "message": "This kernel has no debugger."}
    found = []
    for number, module in enumerate(list(sys.modules.values())):
        path = getattr(getattr(module, "__spec__", None), "origin", None)
        if isinstance(path, str) and path.endswith(".py"):
            found.append({"id": number, "name": module.__name__, "path": path})
    missed = {name: list(by) for name, by in list(cellhold_absent.missed.items())}
    return {"body": {"modules": found, "totalModules": len(found), "missed": missed}}


def install():
    """Makes kernels of this process run without the debugger."""
    sys.modules["debugpy"] = None
    try:
        import ipykernel.debugger  # looks for debugpy only during this import
    finally:
        del sys.modules["debugpy"]
    IPythonKernel.poll_stopped_queue = _poll_stopped_queue
    IPythonKernel.do_debug_request = _answer
