"""exit and quit end the cell, as sys.exit does, and never the kernel.

ipykernel's own let the rest of the cell run and stop the kernel a little later, with all variables and the
cell that runs by then. Here they raise SystemExit wherever they are called. asyncio raises it once more out
of the event loop if a task or a callback did; the kernel's loop goes on.
"""

import ast
import functools
import runpy
import warnings

from IPython.core import interactiveshell
from IPython.core.magics import ExecutionMagics
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQExitAutocall, ZMQInteractiveShell
from tornado import ioloop

NAMES = ("exit", "quit")

_runs = []  # the SystemExit that ended each %run under way, or None
_run = ExecutionMagics.run
_safe_execfile = ZMQInteractiveShell.safe_execfile
_start = IPKernelApp.start
_warn = interactiveshell.warn


def _exit(self, *status, keep_kernel=True):
    """Raises SystemExit; keep_kernel is a parameter of ipykernel's own."""
    raise SystemExit(*status)


def _run_file(self, fname, *where, exit_ignore=False, raise_exceptions=False, **kwargs):
    """Runs a file for %run, which goes on with what the file has defined."""
    try:
        return _safe_execfile(self, fname, *where, raise_exceptions=True, **kwargs)
    except SystemExit as status:
        if not exit_ignore:
            _leave(status)
    except BaseException:
        if raise_exceptions:
            raise
        self.showtraceback(tb_offset=3)


def _run_module(self, mod_name, where):
    """Runs a module for %run -m."""
    try:
        where.update(runpy.run_module(str(mod_name), run_name="__main__", alter_sys=True))
    except SystemExit as status:
        if status.code:
            _leave(status)
    except BaseException:
        self.showtraceback()


def _leave(status):
    if not _runs:
        raise status
    _runs[-1] = status


@functools.wraps(_run)
def _run_and_leave(*args, **kwargs):
    """Is %run; a status other than 0 ends the cell, where IPython only prints it."""
    _runs.append(None)
    try:
        result = _run(*args, **kwargs)
    finally:
        status = _runs.pop()
    if status is not None:
        raise status.with_traceback(None)
    return result


def _advise(message, category=None, stacklevel=1, **kwargs):
    """Gives IPython's warnings, but for its advice how to leave a terminal."""
    if not str(message).startswith("To exit:"):
        _warn(message, category, stacklevel + 1, **kwargs)


def _start_for_long(app):
    shell = getattr(app.kernel, "shell", None)
    if shell is None:  # another language
        return _start(app)
    loop = ioloop.IOLoop.current()
    run = loop.start

    def run_for_long():
        while not shell.exit_now:
            try:
                run()  # code may stop it too
            except (SystemExit, KeyboardInterrupt):  # of a task, which keeps it, or of a callback
                pass

    loop.start = run_for_long
    return _start(app)


def load_ipython_extension(shell):
    # Modules and files that a cell runs find them among the builtins, where IPython hides them.
    shell.builtin_trap.auto_builtins.update(dict.fromkeys(NAMES, shell.exiter))

    def call_bare(lines):
        """Calls names of ours that stand alone; IPython does so in cells of one line."""
        code = "".join(lines)
        if not any(name in code for name in NAMES):
            return lines
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they come when the cell is compiled
                tree = compile(code, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return lines
        lines = [line.encode() for line in lines]
        for node in sorted(_bare(tree), key=lambda node: node.end_col_offset, reverse=True):
            if shell.user_ns.get(node.id) is shell.exiter:
                line, at = lines[node.end_lineno - 1], node.end_col_offset
                lines[node.end_lineno - 1] = line[:at] + b"()" + line[at:]
        return [line.decode() for line in lines]

    shell.input_transformers_post.append(call_bare)


def _bare(node):
    """Yields the names (ast.Name) that are statements of their own, outside of functions and classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr):
            if isinstance(child.value, ast.Name) and child.value.id in NAMES:
                yield child.value
        elif isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)) and not isinstance(
                child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from _bare(child)


def install():
    """Makes kernels of this process exit this way."""
    ZMQExitAutocall.__call__ = _exit
    ExecutionMagics.run = _run_and_leave
    ZMQInteractiveShell.safe_execfile = _run_file
    ZMQInteractiveShell.safe_run_module = _run_module
    IPKernelApp.start = _start_for_long
    interactiveshell.warn = _advise
