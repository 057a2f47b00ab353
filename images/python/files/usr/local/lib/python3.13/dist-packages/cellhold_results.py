"""An exception in the repr of an object ends the cell, as in Python itself.

IPython shows the exception and continues: the cell succeeds, and its result is missing. Here the exception of a repr
is the exception of the cell, for results and for display. If only a richer form fails, such as HTML, the repr is
shown, and the traceback goes to standard error.
"""

import functools
import sys

from IPython.core import formatters

import cellhold_tracebacks


def _warned(method):
    """Wraps a method: it prints its exceptions on standard error, and then has no result."""

    @functools.wraps(method)
    def call(self, obj, *args, **kwargs):
        try:
            result = method(self, obj, *args, **kwargs)
        except NotImplementedError:
            result = None
        except Exception:
            result = None
            if (shell := formatters.get_ipython()) is not None:
                lines = cellhold_tracebacks.render(shell, *sys.exc_info())
                print(shell.InteractiveTB.stb2text(lines), file=sys.stderr)
        return self._check_return(result, obj)

    return call


def _raised(method):
    """Wraps a method: it raises its exceptions."""

    @functools.wraps(method)
    def call(self, obj):
        return self._check_return(method(self, obj), obj)

    return call


def install():
    """Makes the shells of this process show objects this way."""
    for formatter in (formatters.BaseFormatter, formatters.IPythonDisplayFormatter, formatters.MimeBundleFormatter):
        formatter.__call__ = _warned(formatter.__call__.__wrapped__)
    formatters.PlainTextFormatter.__call__ = _raised(formatters.PlainTextFormatter.__call__.__wrapped__)
