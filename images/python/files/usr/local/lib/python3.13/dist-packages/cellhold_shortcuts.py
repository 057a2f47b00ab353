"""Makes IPython skip work whose result is already known.

- A cell without ";" does not end with ";". IPython splits each cell with a result into tokens to find that out: 4.5 ms
  for 10 kB of code.
- A cell that contains neither "await" nor "async" awaits nothing. IPython compiles each cell to find that out.
- ipykernel transforms the magics of each cell, and IPython transforms the same text again.
- A number or a text has only one representation, text/plain. IPython asks twelve formatters for theirs, and reads a
  hundred traits. Code can register a representation of any type, so each formatter's lists of types are read.
"""

from IPython.core import formatters
from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import InteractiveShell

_semicolon = DisplayHook.semicolon_at_end_of_expression
_should_run_async = InteractiveShell.should_run_async
_transform = InteractiveShell.transform_cell
_format = formatters.DisplayFormatter.format

# Types whose objects have no method that returns a representation, and their base types. Code cannot add such a method.
_PLAIN = {kind: kind.__mro__ for kind in (int, float, complex, bool, str, bytes, list, tuple, dict, set, frozenset, type(None))}
_STOCK = {kind for kind in vars(formatters).values() if isinstance(kind, type) and issubclass(kind, formatters.BaseFormatter)}

_kept = None  # the request, the text of its cell and the transformed text, between two calls


def _ends_with_semicolon(expression):
    return ";" in expression and _semicolon(expression)


def _runs_async(self, raw_cell, *, transformed_cell=None, preprocessing_exc_tuple=None):
    if transformed_cell is not None and "await" not in transformed_cell and "async" not in transformed_cell:
        return False
    return _should_run_async(self, raw_cell, transformed_cell=transformed_cell,
                             preprocessing_exc_tuple=preprocessing_exc_tuple)


def _transform_once(self, raw_cell):
    """Returns the transformed cell. A second call with the same text in one request returns the first result. A third call
    transforms the text again, because its text is a cell of its own."""
    global _kept
    kept, _kept = _kept, None
    request = getattr(self, "parent_header", None)
    if kept is not None and kept[0] is request and kept[1] == raw_cell:
        return kept[2]
    transformed = _transform(self, raw_cell)
    _kept = request, raw_cell, transformed
    return transformed


def _format_plain(self, obj, include=None, exclude=None):
    text = self.formatters.get("text/plain")
    if include or exclude or type(text) is not formatters.PlainTextFormatter or not _only_plain(self, obj):
        return _format(self, obj, include=include, exclude=exclude)
    data = text(obj)
    data, metadata = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    return ({} if data is None else {"text/plain": data}), ({} if metadata is None else {"text/plain": metadata})


def _only_plain(display, obj):
    """Returns whether text/plain is the only representation of an object (bool)."""
    kinds = _PLAIN.get(type(obj))
    if kinds is None:
        return False
    for formatter in (display.ipython_display_formatter, display.mimebundle_formatter, *display.formatters.values()):
        if type(formatter) not in _STOCK:
            return False
        if type(formatter) is not formatters.PlainTextFormatter and _has_printer(formatter, obj, kinds):
            return False
    return True


def _has_printer(formatter, obj, kinds):
    """Returns whether code has registered a function for an object or its types (bool)."""
    # A trait without a value has its default, and the default is empty. This access is much faster than the trait.
    lists = formatter._trait_values
    if (deferred := lists.get("deferred_printers")) and any((kind.__module__, kind.__name__) in deferred for kind in kinds):
        return True
    if (single := lists.get("singleton_printers")) and id(obj) in single:
        return True
    return bool(types := lists.get("type_printers")) and any(kind in types for kind in kinds)


def install():
    """Makes shells of this process take these shortcuts."""
    DisplayHook.semicolon_at_end_of_expression = staticmethod(_ends_with_semicolon)
    InteractiveShell.should_run_async = _runs_async
    InteractiveShell.transform_cell = _transform_once
    formatters.DisplayFormatter.format = _format_plain
