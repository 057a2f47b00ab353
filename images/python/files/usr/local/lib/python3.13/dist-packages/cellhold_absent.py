"""Records failed imports: the name of each missing module, and the modules that tried to import it.

Many libraries look for an optional package once and remember the result: plotly does with nbformat, pandas with
numexpr. If the package is installed later, such a library ignores it until the kernel restarts. Python does not
record failed imports. So this module adds a finder, which Python asks only after all others have found nothing.
"""

import sys

MAX_MISSING = 300   # missing modules that are recorded
MAX_IMPORTERS = 20  # importing modules that are recorded for each missing one

missed = {}  # name of a missing module: names of the modules that tried to import it

# These modules import on behalf of others. The search for the importing module skips them.
_FORWARDING = ("importlib", "_frozen_importlib", "pkgutil", "runpy")
# The search ends at these modules. They try each import again.
_RETRYING = ("__main__", "IPython", "ipykernel", "cellhold_")


class Finder:
    """Finds no module, and records the top-level names that it is asked for."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if path is None and "." not in name:
            _record(name, _importer(sys._getframe(1)))
        return None


def _importer(frame):
    """Returns the name of the importing module, or "" (str). A private module imports for a public one, as _plotly_utils
    does for plotly. So its name is returned only if there is no public one."""
    private = ""
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name.startswith(_RETRYING):
            break
        if not name.startswith(_FORWARDING):
            if not name.startswith("_"):
                return name
            private = private or name
        frame = frame.f_back
    return private


def _record(name, by):
    if not by or name not in missed and len(missed) >= MAX_MISSING:
        return
    modules = missed.setdefault(name, [])
    if by not in modules and len(modules) < MAX_IMPORTERS:
        modules.append(by)


def install():
    """Makes this process record failed imports."""
    sys.meta_path.append(Finder)
