"""Calls a function when code has imported a module, so that the function can adapt it to this kernel.

To import the libraries for that beforehand would cost each session their memory and time.
"""

import importlib.machinery
import logging
import sys

_adapters = {}  # by the name of the module


class _Finder:
    """Finds nothing itself. It looks which loader the others find, and follows its work."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in _adapters:
            return None
        for finder in sys.meta_path:
            if finder is not _Finder and (spec := finder.find_spec(name, path, target)):
                break
        else:
            return None
        loader = spec.loader
        if isinstance(loader, importlib.machinery.SourceFileLoader):
            def execute(module):
                del loader.exec_module  # the loader's own again
                loader.exec_module(module)
                _adapt(name, module)

            loader.exec_module = execute
        return spec


def _adapt(name, module):
    try:
        _adapters[name](module)
    except Exception as error:  # another version of the library: it works as it does elsewhere
        logging.getLogger(__name__).warning("%s is not adapted to this kernel: %s: %s", name, type(error).__name__, error)


def adapt(name, function):
    """Has function(module) called after each load of the module of that name, at once if it is loaded."""
    _adapters[name] = function
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    if module := sys.modules.get(name):
        _adapt(name, module)
