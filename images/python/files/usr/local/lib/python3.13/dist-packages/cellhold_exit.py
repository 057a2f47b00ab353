"""exit and quit end the cell, as sys.exit does. They never end the kernel.

ipykernel's own exit lets the rest of the cell run. A little later it stops the kernel, and all variables and the
running cell are lost. Here both raise SystemExit wherever they are called. If a task or a callback raises it, asyncio
raises it again out of the event loop. Then the kernel starts its loop again.
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

_runs = []  # for each active %run, the SystemExit that ended its code, or None
_run = ExecutionMagics.run
_safe_execfile = ZMQInteractiveShell.safe_execfile
_start = IPKernelApp.start
_warn = interactiveshell.warn


def _exit(self, *status, keep_kernel=True):
    """Raises SystemExit; keep_kernel is a parameter of ipykernel's own."""
    raise SystemExit(*status)


def _run_file(self, fname, *where, exit_ignore=False, raise_exceptions=False, **kwargs):
    """Runs a file for %run. It only records a SystemExit, so that %run can still keep the names of the file."""
    try:
        return _safe_execfile(self, fname, *where, raise_exceptions=True, **kwargs)
    except SystemExit as status:
        if not exit_ignore:
            _record_exit(status)
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
            _record_exit(status)
    except BaseException:
        self.showtraceback()


def _record_exit(status):
    """Records the exit of the code for the active %run, or raises it again if there is none."""
    if not _runs:
        raise status
    _runs[-1] = status


@functools.wraps(_run)
def _run_and_exit(*args, **kwargs):
    """Replaces %run. A status other than 0 ends the cell; IPython would only print it."""
    _runs.append(None)
    try:
        result = _run(*args, **kwargs)
    finally:
        status = _runs.pop()
    if status is not None:
        raise status.with_traceback(None)
    return result


def _warn_filtered(message, category=None, stacklevel=1, **kwargs):
    """Gives IPython's warnings, except its advice on how to leave a terminal."""
    if not str(message).startswith("To exit:"):
        _warn(message, category, stacklevel + 1, **kwargs)


def _start_and_restart(app):
    shell = getattr(app.kernel, "shell", None)
    if shell is None:  # a kernel of another language
        return _start(app)
    loop = ioloop.IOLoop.current()
    run = loop.start

    def run_again():
        while not shell.exit_now:
            try:
                run()  # returns early if code stops the loop
            except (SystemExit, KeyboardInterrupt):  # from a task, which also keeps it, or from a callback
                pass

    loop.start = run_again
    return _start(app)


def load_ipython_extension(shell):
    # IPython hides both builtins, but modules and files that a cell runs need them.
    shell.builtin_trap.auto_builtins.update(dict.fromkeys(NAMES, shell.exiter))

    def call_bare(lines):
        """Adds a call to each exit and quit that is a statement. IPython does so only in cells of one line."""
        code = "".join(lines)
        if not any(name in code for name in NAMES):
            return lines
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are shown later, when the cell is compiled
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
    """Yields each exit and quit (ast.Name) that is a statement outside functions and classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr):
            if isinstance(child.value, ast.Name) and child.value.id in NAMES:
                yield child.value
        elif isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)) and not isinstance(
                child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from _bare(child)


def install():
    """Changes exit, quit and %run in kernels of this process."""
    ZMQExitAutocall.__call__ = _exit
    ExecutionMagics.run = _run_and_exit
    ZMQInteractiveShell.safe_execfile = _run_file
    ZMQInteractiveShell.safe_run_module = _run_module
    IPKernelApp.start = _start_and_restart
    interactiveshell.warn = _warn_filtered
