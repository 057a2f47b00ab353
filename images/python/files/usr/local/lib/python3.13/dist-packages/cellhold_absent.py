"""Remembers which modules looked for others that were not there.

A library that finds a package absent often keeps that in mind: plotly does with nbformat, pandas with numexpr.
When the package is installed later, the library goes on without it until the kernel restarts. Python itself
keeps no trace of an import that failed. The last of its finders, which is asked only after all others have
found nothing, does here.
"""

import sys

NAMES = 300  # that are remembered
EACH = 20    # modules that are remembered for each of them

missed = {}  # name of a module that was not there: names of the modules that looked for it

# These look for what others name, or try again each time.
_PASSING = ("importlib", "_frozen_importlib", "pkgutil", "runpy")
_OURS = ("__main__", "IPython", "ipykernel", "cellhold_")


class Finder:
    """Finds nothing."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if path is None and "." not in name:
            _remember(name, _looker(sys._getframe(1)))
        return None


def _looker(frame):
    """The name of the module that looks. A private one looks for others: plotly does by _plotly_utils."""
    private = ""
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name.startswith(_OURS):
            break
        if not name.startswith(_PASSING):
            if not name.startswith("_"):
                return name
            private = private or name
        frame = frame.f_back
    return private


def _remember(name, by):
    if not by or name not in missed and len(missed) >= NAMES:
        return
    modules = missed.setdefault(name, [])
    if by not in modules and len(modules) < EACH:
        modules.append(by)


def install():
    """Makes this process remember."""
    sys.meta_path.append(Finder)
