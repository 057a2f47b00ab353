"""Brings figures to the outputs of their cell, whatever backend code has chosen for a script or a desktop.

matplotlib: where code asks for a window or for Agg, it gets the inline backend, which draws with Agg. A
kernel has no display, so a window could only fail, and Agg alone would throw away what plt.show() shows.
Backends that write files (pdf, svg, ps, pgf) stay, and plt.show() shows their figures too. A figure that
was displayed and has not changed since does not come again at the end of the cell.

plotly: a figure arrives as plotly's own type and as HTML that loads plotly.js from its site; the library
itself would be 4 MB in each notebook.

bokeh: show() shows its plot in the cell, also without output_notebook(). Otherwise it would write a page
and look for a browser.
"""

import functools
import os
import weakref

from IPython.core.error import UsageError

import cellhold_imports

INLINE = "module://matplotlib_inline.backend_inline"
ALSO_INLINE = {"inline", INLINE}
TOOLKITS = {"tk", "qt", "qt4", "qt5", "qt6", "gtk", "gtk3", "gtk4", "wx", "osx"}
STOOD_IN = {"agg", "auto", "cairo", "macosx", "nbagg", "notebook", "webagg"}
STOOD_IN |= {toolkit + canvas for toolkit in TOOLKITS for canvas in ("", "agg", "cairo")}
IPYMPL = {"widget", "ipympl", "module://ipympl.backend_nbagg"}
PLOTLY = "plotly_mimetype+notebook_connected"


def shown_here(name):
    """Says whether the inline backend stands in for this one (bool)."""
    if not isinstance(name, str):
        return name is not None  # matplotlib's sign that it may choose
    name = name.lower().removeprefix("module://matplotlib.backends.backend_")
    if name in IPYMPL:  # the user may have installed it
        from importlib.util import find_spec
        return find_spec("ipympl") is None
    return name in STOOD_IN


def adapt_matplotlib(matplotlib):
    choose = matplotlib.use

    @functools.wraps(choose)
    def use(backend, *, force=True):
        if not shown_here(backend):
            choose(backend, force=force)
        elif matplotlib.rcParams._get_backend_or_none() not in ALSO_INLINE:
            choose(INLINE, force=force)

    matplotlib.use = use
    if shown_here(os.environ.get("MPLBACKEND")):
        matplotlib.rcParams["backend"] = INLINE


def adapt_pyplot(pyplot):
    from IPython import get_ipython
    from IPython.core import pylabtools
    from IPython.display import display
    from matplotlib.backend_bases import FigureManagerBase

    switch, show_all, draw = pyplot.switch_backend, pyplot.show, pylabtools.print_figure

    @functools.wraps(switch)
    def switch_backend(newbackend):
        if shown_here(newbackend):
            newbackend = INLINE
            pyplot.rcParams["backend"] = INLINE  # which the inline backend looks at when it is loaded
        switch(newbackend)

    @functools.wraps(show_all)
    def show(*args, **kwargs):
        displayed.drop()
        return show_all(*args, **kwargs)

    @functools.wraps(draw)
    def print_figure(fig, *args, **kwargs):
        data = draw(fig, *args, **kwargs)
        displayed.add(fig)
        return data

    def show_one(manager):
        if displayed.shows(manager.canvas.figure):
            return
        if pyplot.rcParams._get_backend_or_none() not in ALSO_INLINE:  # nothing has said yet how to draw figures
            from matplotlib_inline.config import InlineBackend  # earlier it would take print_figure as it was
            inline = InlineBackend.instance(parent=get_ipython())
            pylabtools.select_figure_formats(get_ipython(), inline.figure_formats, **inline.print_figure_kwargs)
        display(manager.canvas.figure)

    pyplot.switch_backend, pyplot.show = switch_backend, show
    if not hasattr(draw, "__wrapped__"):  # pyplot is loaded again
        pylabtools.print_figure = print_figure
    FigureManagerBase.show = show_one
    # At once and not with the first figure, which would undo a plt.ioff() that comes before it.
    if pyplot.rcParams._get_backend_or_none() in ALSO_INLINE:
        switch_backend(INLINE)


class Displayed:
    """Remembers figures that are among the outputs as they are now."""

    def __init__(self):
        self.figures = weakref.WeakSet()

    def add(self, figure):
        figure.stale = False  # until code changes it
        self.figures.add(figure)

    def shows(self, figure):
        return figure in self.figures and not figure.stale

    def drop(self):
        """Closes such figures, as the inline backend closes those that it shows."""
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
    # It takes a kernel whose image has /kaggle for one of that service.
    if not os.environ.get("PLOTLY_RENDERER") and module.renderers.default in ("plotly_mimetype", "kaggle"):
        module.renderers["notebook_connected"].global_init = False  # each figure brings what it needs
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
        return enable_matplotlib("inline" if gui is None or shown_here(gui) else gui)

    def gui_here(gui=None):
        if gui in TOOLKITS:
            raise UsageError(f"The event loop of {gui} cannot run: this kernel has no display. Figures arrive without it.")
        return enable_gui(gui)

    shell.enable_matplotlib, shell.enable_gui = matplotlib_here, gui_here
    shell.events.register("post_execute", displayed.drop)  # before the inline backend shows the others
    cellhold_imports.adapt("matplotlib", adapt_matplotlib)
    cellhold_imports.adapt("matplotlib.pyplot", adapt_pyplot)
    cellhold_imports.adapt("plotly.io._renderers", adapt_plotly)
    cellhold_imports.adapt("bokeh.io.showing", adapt_bokeh)
