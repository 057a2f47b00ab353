"""Leaves the debugger of ipykernel out: a hundred modules that speak to a front end over sockets which end in
the sandbox. Code that imports debugpy finds it all the same.

One thing is asked for in the debugger's words without one running, which modules are loaded and which were
looked for in vain, and is answered here: Jupyter has no other request for it that works while a cell runs.
"""

import sys

import cellhold_absent
from ipykernel.ipkernel import IPythonKernel


async def _poll_stopped_queue(kernel):
    """What the debugger has to say, which a kernel waits for as long as it lives: nothing."""


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
    """Makes kernels of this process do without."""
    sys.modules["debugpy"] = None
    try:
        import ipykernel.debugger  # looks for it once
    finally:
        del sys.modules["debugpy"]
    IPythonKernel.poll_stopped_queue = _poll_stopped_queue
    IPythonKernel.do_debug_request = _answer
