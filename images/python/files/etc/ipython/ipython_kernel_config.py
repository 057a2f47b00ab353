# The history of a session is its notebook; a database in the sandbox would only cost time.
c.HistoryManager.enabled = False

# ZeroMQ silently drops what a subscriber has not read yet beyond 1,000 messages: output, and even the
# status that ends a cell, would be lost in a burst. The kernel's memory bounds the queue instead.
from ipykernel.kernelapp import IPKernelApp

_init_iopub = IPKernelApp.init_iopub


def _init_iopub_with_room(self, context):
    context.sndhwm = 0  # of sockets made from here on; 0 means no bound
    try:
        _init_iopub(self, context)
    finally:
        del context.sndhwm


IPKernelApp.init_iopub = _init_iopub_with_room
