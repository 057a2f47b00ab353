"""An interrupt ends the code of a cell, and nothing that comes before or after it.

ipykernel lets one raise KeyboardInterrupt wherever it is in the handling of a request. Where it has run the
code and is about to answer, the answer is lost then, and who waits for it waits for ever; where it has not
begun yet, the code never runs and nobody is told. Here an interrupt is noted before the code, raised in it,
and too late after it; and whatever it hits, there is an answer.
"""

import functools
import signal

from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp

_do_execute = IPythonKernel.do_execute
_noted = False  # an interrupt has come since the last request did


def _note(number, frame):
    global _noted
    _noted = True


def _forget(kernel):
    global _noted
    _noted = False


@functools.wraps(_do_execute)  # ipykernel looks at its parameters
async def _execute(self, *args, **kwargs):
    count = self.shell.execution_count
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            if _noted:
                raise KeyboardInterrupt
            return await _do_execute(self, *args, **kwargs)
        finally:
            signal.signal(signal.SIGINT, _note)
    except KeyboardInterrupt as e:  # not in the code itself, which IPython looks after
        signal.signal(signal.SIGINT, _note)
        self.shell._showtraceback(KeyboardInterrupt, e, ["KeyboardInterrupt"])
        return {"status": "error", "ename": "KeyboardInterrupt", "evalue": "", "traceback": ["KeyboardInterrupt"],
                "execution_count": count, "user_expressions": {}, "payload": []}


def install():
    """Makes kernels of this process take interrupts this way."""
    IPythonKernel.do_execute = _execute
    IPythonKernel.pre_handler_hook = _forget
    IPythonKernel.post_handler_hook = lambda kernel: None
    IPKernelApp.init_signal = lambda app: signal.signal(signal.SIGINT, _note)
