"""An interrupt ends only the code of a cell, and each interrupted cell gets a reply.

In ipykernel an interrupt raises KeyboardInterrupt anywhere in the handling of a request. After the code has run, this
loses the reply, and its caller waits forever. Before the code, the cell never runs, and the caller gets no report.
Here an interrupt before the code is recorded and ends the cell, and an interrupt after the code does nothing. Only an
interrupt during the code is raised in it.

A cell with `await` shares the event loop with the kernel. There ipykernel only records an interrupt, and the loop
sees the record when something else wakes it. Here the interrupt wakes the loop:

- Running code of the cell gets KeyboardInterrupt.
- A cell that waits is cancelled, as asyncio.run does for Ctrl-C.
- If the cell does not end, the second interrupt raises KeyboardInterrupt where it waits.
- Tasks that earlier cells have started continue.
"""

import asyncio
import contextvars
import functools
import signal

from IPython.core.interactiveshell import InteractiveShell
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from tornado.ioloop import IOLoop

_do_execute = IPythonKernel.do_execute
_start = None  # the application's start method; set by install
_get_exc_info = InteractiveShell._get_exc_info
_cell = contextvars.ContextVar("cellhold_cell", default=None)  # the cell of the current code or task
_noted = False    # an interrupt came since the last request
_owed = False     # the next request must get an interrupt
_awaiting = None  # the running cell, if it has `await`
on_interrupt = None  # a function that is called at an interrupt while no cell runs
_kernels = set()  # code of the coroutines that are the kernel's own tasks


def _note(number, frame):
    """Records an interrupt while no cell runs. A second one ends a task that blocks the start of the next cell."""
    global _noted, _owed
    if on_interrupt is not None:
        on_interrupt()
    running = asyncio._get_running_loop() and asyncio.current_task()
    if _noted and running and getattr(running.get_coro(), "cr_code", None) not in _kernels:
        _owed = True
        raise KeyboardInterrupt
    _noted = True


def _begin_request(kernel):
    """Begins a request: it gets an interrupt only if one is owed to it."""
    global _noted, _owed
    _noted, _owed = _owed, False


class _Awaiting:
    """Handles interrupts while a cell with `await` runs. The kernel waits for its task."""

    def __init__(self, task):
        self.task, self.loop, self.cell = task, task.get_loop(), _cell.get()
        self.kernel_task = asyncio.current_task(self.loop)
        self.interrupts = 0

    def __enter__(self):
        global _awaiting
        _awaiting = self
        signal.signal(signal.SIGINT, self._interrupt)

    def __exit__(self, *exception):
        global _awaiting
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _awaiting = None
        if self.interrupts and self.task.done() and not self.task.cancelled() and not self.task.exception():
            result = self.task.result()
            if isinstance(result.error_in_exec, asyncio.CancelledError):
                result.error_in_exec = KeyboardInterrupt()

    def _interrupt(self, number, frame):
        self.interrupts += 1
        running = asyncio.current_task(self.loop)
        if self.task.done():
            if running is self.kernel_task:
                raise KeyboardInterrupt
            return
        # The loop itself and tasks of other cells run in other contexts. A task of another cell that never waits
        # blocks the loop, so the second interrupt is raised in it.
        ours = _cell.get() is self.cell and running is not self.kernel_task
        if not ours or running is not self.task:
            self.loop.call_soon_threadsafe(self._end)
        if ours or self.interrupts > 1 and running not in (None, self.kernel_task):
            raise KeyboardInterrupt

    def _end(self):
        """Ends the wait of the cell, whatever it waits for."""
        if self.task.done():
            return
        waited = self.task._fut_waiter
        wake = [f for f, _ in getattr(waited, "_callbacks", None) or () if getattr(f, "__self__", None) is self.task]
        if self.interrupts == 1 or not wake:
            self.task.cancel()
            return
        # The cell did not end when it was cancelled. Wake it as if the awaited future had failed.
        waited.remove_done_callback(wake[0])
        waited.cancel()
        failed = self.loop.create_future()
        failed.set_exception(KeyboardInterrupt())
        self.loop.call_soon(wake[0], failed)


def _exc_info(self, exc_tuple=None):
    """Shows an interrupt as KeyboardInterrupt, also if it came as a cancellation. The handler's frame is left out."""
    kind, value, trace = _get_exc_info(self, exc_tuple)
    if not _awaiting or not _awaiting.interrupts or asyncio.current_task() is not _awaiting.task:
        return kind, value, trace
    if isinstance(value, asyncio.CancelledError):
        return _get_exc_info(self, (KeyboardInterrupt, KeyboardInterrupt().with_traceback(trace), trace))
    step = trace
    while step and step.tb_next:
        if step.tb_next.tb_frame.f_code is _Awaiting._interrupt.__code__:
            step.tb_next = None
        step = step.tb_next
    return kind, value, trace


@functools.wraps(_do_execute)  # ipykernel inspects its parameters
async def _execute(self, *args, **kwargs):
    count = self.shell.execution_count
    cell = object()
    _cell.set(cell)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            if _noted:
                raise KeyboardInterrupt
            return await _do_execute(self, *args, **kwargs)
        finally:
            signal.signal(signal.SIGINT, _note)
    # IPython handles exceptions in the code itself. This one came outside it, or the code has cancelled all tasks,
    # including the kernel's.
    except (KeyboardInterrupt, asyncio.CancelledError) as e:
        signal.signal(signal.SIGINT, _note)
        _cancel_code(cell)
        name = type(e).__name__
        self.shell._showtraceback(type(e), e, [name])
        return {"status": "error", "ename": name, "evalue": str(e), "traceback": [name],
                "execution_count": count, "user_expressions": {}, "payload": []}


def _cancel_code(cell):
    """Cancels the code of a cell if it still runs after the kernel has stopped waiting for it."""
    code = InteractiveShell.run_cell_async.__qualname__
    for task in asyncio.all_tasks():
        if task.get_context().get(_cell) is cell and getattr(task.get_coro(), "__qualname__", "") == code:
            task.cancel()


async def _dispatch(self):
    """Handles requests forever, also if code cancels all tasks of the loop."""
    while True:
        try:
            await self.process_one()
        except asyncio.CancelledError:
            pass
        except Exception:
            self.log.exception("Error in message handler")


def _start_and_restart(app):
    """Starts the loop again if an interrupt, or sys.exit(), in a task or callback of the code ends it."""
    loop = IOLoop.current()
    run = loop.start

    def start():
        while True:
            try:
                return run()
            except (KeyboardInterrupt, SystemExit):
                pass

    loop.start = start
    _start(app)


def recognise(function):
    """Takes tasks of a coroutine function for the kernel's own."""
    _kernels.add(function.__code__)


def install():
    """Makes kernels of this process handle interrupts this way."""
    global _start
    recognise(_dispatch)
    _start = IPKernelApp.start
    InteractiveShell._get_exc_info = _exc_info
    IPythonKernel._cancel_on_sigint = lambda kernel, task: _Awaiting(task)
    IPythonKernel.dispatch_queue = _dispatch
    IPythonKernel.do_execute = _execute
    IPythonKernel.pre_handler_hook = _begin_request
    IPythonKernel.post_handler_hook = lambda kernel: None
    IPKernelApp.init_signal = lambda app: signal.signal(signal.SIGINT, _note)
    IPKernelApp.start = _start_and_restart
