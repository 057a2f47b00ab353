# unchanged runs code and then restores the state of the kernel: its results, its history, and the settings that
# the first figure makes. Modules that the code imported and compiled stay in memory.
import contextlib
import sys

INLINE = "matplotlib_inline.backend_inline"


@contextlib.contextmanager
def unchanged():
    shell = get_ipython()
    hook, history = shell.displayhook, shell.history_manager
    results = {name: getattr(hook, name) for name in ("_", "__", "___")}
    # The values must stay the same objects, because IPython checks whether "_" is still its own object.
    tables = [shell.user_ns, shell.user_ns_hidden, shell.user_ns["_oh"]]
    tables += [getattr(history, name, {}) for name in ("outputs", "output_hist_reprs", "exceptions")]
    tables = [(table, dict(table)) for table in tables]
    callbacks = [(functions, list(functions)) for functions in shell.events.callbacks.values()]
    undo = figures(shell)
    try:
        yield
    finally:
        undo()
        for functions, before in callbacks:
            functions[:] = before
        for table, before in tables:
            table.clear()
            table.update(before)
        vars(hook).update(results)


def figures(shell):
    """Returns a function that undoes the settings of figures that are drawn in between. If the first figure loaded the
    backend, the next figure loads it again, as in a kernel that has drawn no figure."""
    if "matplotlib.pyplot" not in sys.modules:
        return lambda: None
    import matplotlib
    from matplotlib import font_manager, pyplot

    tables = [(table, dict(dict.items(table))) for table in (matplotlib.rcParams, matplotlib.rcParamsDefault)]
    backend = {name: vars(pyplot)[name] for name in ("_backend_mod", "_REPL_DISPLAYHOOK", "draw_if_interactive") if name in vars(pyplot)}
    loaded = INLINE in sys.modules  # kernels of the stock image load it with pyplot

    def undo():
        pyplot.close("all")
        for table, before in tables:
            dict.clear(table)
            dict.update(table, before)
        vars(pyplot).update(backend)
        if hasattr(font_manager, "_get_font"):
            font_manager._get_font.cache_clear()  # closes the files of the fonts
        if loaded:
            return
        if sys.modules.pop(INLINE, None):
            vars(sys.modules["matplotlib_inline"]).pop("backend_inline", None)
        from matplotlib.figure import Figure

        for formatter in shell.display_formatter.formatters.values():
            formatter.pop(Figure, None)

    return undo
