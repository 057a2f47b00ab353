"""Calls a function after the import of a module, so that the function can adapt the module to this kernel.

If the kernel imported these libraries at its start, each session would need more memory and time.
"""

import importlib.machinery
import logging
import sys

_adapters = {}  # functions by the names of their modules


class _Finder:
    """Asks the other finders, and changes the loader that they find."""

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
    except Exception as error:  # an unknown version of the library stays unchanged
        logging.getLogger(__name__).warning("%s is not adapted to this kernel: %s: %s", name, type(error).__name__, error)


def adapt(name, function):
    """Makes each load of the named module call function(module) afterwards. If it is loaded, the call comes at once."""
    _adapters[name] = function
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    if module := sys.modules.get(name):
        _adapt(name, module)
