"""An object that cannot say what it is ends its cell with that exception, as in Python itself.

IPython shows the exception and goes on: the cell ends well, and its result is missing. Here the exception of a
repr is the cell's, for results and for display. Where only a richer form fails, such as HTML, the repr is shown,
and the traceback is on standard error.
"""

import functools
import sys

from IPython.core import formatters

import cellhold_tracebacks


def _warned(method):
    """Returns the method with its exceptions on standard error; it has no result then."""

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
    """Returns the method without a net."""

    @functools.wraps(method)
    def call(self, obj):
        return self._check_return(method(self, obj), obj)

    return call


def install():
    """Makes the shells of this process show objects this way."""
    for formatter in (formatters.BaseFormatter, formatters.IPythonDisplayFormatter, formatters.MimeBundleFormatter):
        formatter.__call__ = _warned(formatter.__call__.__wrapped__)
    formatters.PlainTextFormatter.__call__ = _raised(formatters.PlainTextFormatter.__call__.__wrapped__)
