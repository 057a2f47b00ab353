"""Shows figures among the outputs of their cell, whatever backend the code has chosen.

matplotlib: code that asks for a window or for Agg gets the inline backend, which also draws with Agg. A kernel has
no display, so a window would fail. With Agg itself, plt.show() would show nothing. Backends that write files (pdf,
svg, ps, pgf) stay, and plt.show() shows their figures too. A displayed figure is shown again at the end of the cell
only if it has changed.

plotly: a figure is sent as plotly's own MIME type, and as HTML that loads plotly.js from its web site. The library
itself would add 4 MB to each notebook.

bokeh: show() shows its plot in the cell, also without output_notebook(). Otherwise bokeh would write a page and look
for a browser.
"""

import functools
import os
import weakref

from IPython.core.error import UsageError

import cellhold_imports

INLINE = "module://matplotlib_inline.backend_inline"
ALSO_INLINE = {"inline", INLINE}
TOOLKITS = {"tk", "qt", "qt4", "qt5", "qt6", "gtk", "gtk3", "gtk4", "wx", "osx"}
REPLACED = {"agg", "auto", "cairo", "macosx", "nbagg", "notebook", "webagg"}
REPLACED |= {toolkit + canvas for toolkit in TOOLKITS for canvas in ("", "agg", "cairo")}
IPYMPL = {"widget", "ipympl", "module://ipympl.backend_nbagg"}
PLOTLY = "plotly_mimetype+notebook_connected"


def inline_replaces(name):
    """Reports whether the inline backend replaces this one (bool)."""
    if not isinstance(name, str):
        return name is not None  # an object that is no string means that matplotlib chooses
    name = name.lower().removeprefix("module://matplotlib.backends.backend_")
    if name in IPYMPL:  # an ipympl that the user installed is not replaced
        from importlib.util import find_spec
        return find_spec("ipympl") is None
    return name in REPLACED


def adapt_matplotlib(matplotlib):
    choose = matplotlib.use

    @functools.wraps(choose)
    def use(backend, *, force=True):
        if not inline_replaces(backend):
            choose(backend, force=force)
        elif matplotlib.rcParams._get_backend_or_none() not in ALSO_INLINE:
            choose(INLINE, force=force)

    matplotlib.use = use
    if inline_replaces(os.environ.get("MPLBACKEND")):
        matplotlib.rcParams["backend"] = INLINE


def adapt_pyplot(pyplot):
    from IPython import get_ipython
    from IPython.core import pylabtools
    from IPython.display import display
    from matplotlib.backend_bases import FigureManagerBase

    switch, show_all, draw = pyplot.switch_backend, pyplot.show, pylabtools.print_figure

    @functools.wraps(switch)
    def switch_backend(newbackend):
        if inline_replaces(newbackend):
            newbackend = INLINE
            pyplot.rcParams["backend"] = INLINE  # the inline backend reads this setting when it is loaded
        switch(newbackend)

    @functools.wraps(show_all)
    def show(*args, **kwargs):
        displayed.close_all()
        return show_all(*args, **kwargs)

    @functools.wraps(draw)
    def print_figure(fig, *args, **kwargs):
        data = draw(fig, *args, **kwargs)
        displayed.add(fig)
        return data

    def show_one(manager):
        if displayed.shows(manager.canvas.figure):
            return
        if pyplot.rcParams._get_backend_or_none() not in ALSO_INLINE:  # the shell has no format for figures yet
            from matplotlib_inline.config import InlineBackend  # an earlier import would take the unchanged print_figure
            inline = InlineBackend.instance(parent=get_ipython())
            pylabtools.select_figure_formats(get_ipython(), inline.figure_formats, **inline.print_figure_kwargs)
        display(manager.canvas.figure)

    pyplot.switch_backend, pyplot.show = switch_backend, show
    if not hasattr(draw, "__wrapped__"):  # a second load of pyplot must not wrap it again
        pylabtools.print_figure = print_figure
    FigureManagerBase.show = show_one
    # Switch now: a switch at the first figure would undo an earlier plt.ioff().
    if pyplot.rcParams._get_backend_or_none() in ALSO_INLINE:
        switch_backend(INLINE)


class Displayed:
    """Remembers the figures whose current state is among the outputs."""

    def __init__(self):
        self.figures = weakref.WeakSet()

    def add(self, figure):
        figure.stale = False  # matplotlib sets it again when code changes the figure
        self.figures.add(figure)

    def shows(self, figure):
        return figure in self.figures and not figure.stale

    def close_all(self):
        """Closes the displayed figures, as the inline backend closes the figures that it shows."""
        if not self.figures:
            return
        from matplotlib._pylab_helpers import Gcf
        from matplotlib_inline import backend_inline
        from matplotlib_inline.config import InlineBackend
        for manager in Gcf.get_all_fig_managers():
            figure = manager.canvas.figure
            if not self.shows(figure):
                continue
            if InlineBackend.instance().close_figures:
                Gcf.destroy(manager)
            elif figure in backend_inline.show._to_draw:
                backend_inline.show._to_draw.remove(figure)
        self.figures.clear()


displayed = Displayed()


def adapt_plotly(module):
    # plotly believes that it runs on Kaggle if the folder /kaggle exists.
    if not os.environ.get("PLOTLY_RENDERER") and module.renderers.default in ("plotly_mimetype", "kaggle"):
        module.renderers["notebook_connected"].global_init = False  # each figure loads plotly.js itself
        module.renderers.default = PLOTLY


def adapt_bokeh(module):
    shows = module.show

    @functools.wraps(shows)
    def show(*args, **kwargs):
        from bokeh.io import output_notebook
        from bokeh.io.state import curstate
        if not curstate().notebook and not curstate().file:
            output_notebook(hide_banner=True)
        return shows(*args, **kwargs)

    module.show = show


def load_ipython_extension(shell):
    enable_matplotlib, enable_gui = shell.enable_matplotlib, shell.enable_gui

    def matplotlib_here(gui=None):
        return enable_matplotlib("inline" if gui is None or inline_replaces(gui) else gui)

    def gui_here(gui=None):
        if gui in TOOLKITS:
            raise UsageError(f"The event loop of {gui} cannot run: this kernel has no display. Figures are shown without it.")
        return enable_gui(gui)

    shell.enable_matplotlib, shell.enable_gui = matplotlib_here, gui_here
    shell.events.register("post_execute", displayed.close_all)  # runs before the inline backend shows the other figures
    cellhold_imports.adapt("matplotlib", adapt_matplotlib)
    cellhold_imports.adapt("matplotlib.pyplot", adapt_pyplot)
    cellhold_imports.adapt("plotly.io._renderers", adapt_plotly)
    cellhold_imports.adapt("bokeh.io.showing", adapt_bokeh)
