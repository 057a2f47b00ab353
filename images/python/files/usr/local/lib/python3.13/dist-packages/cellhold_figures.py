"""Draws a cell's figures in the formats and at the resolution that its request sets.

The request's metadata can hold {"cellhold": {"figures": {"formats": ["png", "svg"], "dpi": 200}}}.
These values hold for this cell only. For values that are missing, the %config settings of the code hold.
"""

FORMATS = {"png", "svg", "jpeg", "pdf", "retina"}


def load_ipython_extension(shell):
    kept = []

    def before(info):
        while kept:
            after(None)  # post_run_cell did not come for the last cell
        kernel = getattr(shell, "kernel", None)
        request = kernel.get_parent("shell") if kernel else {}
        try:
            wanted = request["metadata"]["cellhold"]["figures"]
        except (KeyError, TypeError):
            return
        apply(wanted)

    def apply(wanted):
        from matplotlib_inline.config import InlineBackend
        inline = InlineBackend.instance(parent=shell)
        inline.shell = shell
        kept.append((inline, inline.figure_formats, inline.print_figure_kwargs))
        if formats := FORMATS.intersection(wanted.get("formats") or ()):
            inline.figure_formats = formats
        if dpi := wanted.get("dpi"):
            inline.print_figure_kwargs = {**inline.print_figure_kwargs, "dpi": dpi}

    def after(result):
        if kept:
            inline, inline.figure_formats, inline.print_figure_kwargs = kept.pop()

    shell.events.register("pre_run_cell", before)
    shell.events.register("post_run_cell", after)
