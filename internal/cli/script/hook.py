"""Writes each figure that a script shows to a file, which `cellhold run` saves.

Every Python process of the script loads this module at its start, under the name sitecustomize. The script itself is
unchanged. A library is changed only when the script imports it.
"""


def _begin():
    import os
    import sys

    # Remove our folder from the path, then load the sitecustomize that our module hides.
    here = os.path.dirname(__file__)
    sys.path[:] = [p for p in sys.path if p != here]
    own = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # noqa: F401
    except ImportError:
        sys.modules["sitecustomize"] = own

    # The output goes to a terminal, but Python sees a pipe.
    if os.environ.get("CELLHOLD_WATCHED") and sys.stdout is not None:
        sys.stdout.reconfigure(line_buffering=True)
    folder = os.environ.get("CELLHOLD_FIGURES")
    if folder:
        sys.meta_path.insert(0, _Watch(folder))


class _Watch:
    """Changes some modules after their import."""

    def __init__(self, folder):
        self.folder = folder
        self.changes = {
            "matplotlib.pyplot": self.pyplot,
            "IPython.core.display_functions": self.display,
            "plotly.io._renderers": self.plotly,
        }

    def find_spec(self, name, path=None, target=None):
        change = self.changes.pop(name, None)
        if change is None:
            return None
        import sys

        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            try:
                change(module)
            except Exception as e:  # an unknown version of the library, or a broken one
                print(f"cellhold: figures of {name} are not saved: {e!r}", file=sys.stderr)

        spec.loader.exec_module = exec_module
        return spec

    def write(self, data, ending):
        """Writes a file with the next number. The file gets its name when it is complete."""
        import os

        part = os.path.join(self.folder, f".{os.getpid()}")
        with open(part, "wb") as f:
            f.write(data)
        number = len(os.listdir(self.folder))
        while True:
            try:
                os.link(part, os.path.join(self.folder, f"{number:06}{ending}"))
                break
            except FileExistsError:
                number += 1
        os.unlink(part)

    def pyplot(self, plt):
        """Saves and closes each figure that is shown, as if its window had been closed.

        At the end it also saves each open figure that the script neither showed nor saved."""
        import atexit
        import functools
        import io
        import weakref

        from matplotlib._pylab_helpers import Gcf
        from matplotlib.figure import Figure

        kept = weakref.WeakSet()
        savefig, show = Figure.savefig, plt.show

        def keep(figure):
            out = io.BytesIO()
            savefig(figure, out, format="png", bbox_inches="tight")
            self.write(out.getvalue(), ".png")
            kept.add(figure)

        @functools.wraps(show)
        def show_all(*args, **kwargs):
            for manager in Gcf.get_all_fig_managers():
                keep(manager.canvas.figure)
            Gcf.destroy_all()

        @functools.wraps(Figure.show)
        def show_one(figure, warn=True):
            keep(figure)

        @functools.wraps(savefig)
        def save(figure, *args, **kwargs):
            savefig(figure, *args, **kwargs)
            kept.add(figure)

        def end():
            for manager in Gcf.get_all_fig_managers():
                if manager.canvas.figure not in kept:
                    keep(manager.canvas.figure)

        plt.show, Figure.show, Figure.savefig = show_all, show_one, save
        self.figure, self.keep = Figure, keep
        atexit.register(end)

    def display(self, module):
        """Saves objects that have a picture, and prints all others, as IPython does without a shell."""
        import functools

        plain = module.display

        @functools.wraps(plain)
        def display(*objs, **kwargs):
            for obj in objs:
                if not self.picture(obj):
                    plain(obj, **kwargs)

        module.display = display

    def picture(self, obj):
        """Writes the picture of an object, if it has one."""
        if isinstance(obj, getattr(self, "figure", ())):
            self.keep(obj)
            return True
        bundle = getattr(obj, "_repr_mimebundle_", None)
        found = bundle(include=None, exclude=None) if callable(bundle) else None
        found = found[0] if isinstance(found, tuple) else found
        for mime, ending in (("image/png", ".png"), ("image/jpeg", ".jpg"), ("image/svg+xml", ".svg"), ("application/pdf", ".pdf")):
            data = found.get(mime) if isinstance(found, dict) else None
            method = getattr(obj, f"_repr_{ending[1:].replace('jpg', 'jpeg')}_", None)
            if data is None and callable(method):
                data = method()
            data = data[0] if isinstance(data, tuple) else data
            if data is None:
                continue
            if isinstance(data, str):
                if ending == ".svg":
                    data = data.encode()
                else:
                    import base64

                    data = base64.b64decode(data)
            self.write(data, ending)
            return True
        return False

    def plotly(self, module):
        """Saves a figure that would open in a browser as an HTML page."""
        import os

        from plotly.io._base_renderers import ExternalRenderer

        watch = self

        class Page(ExternalRenderer):
            def render(self, fig_dict):
                from plotly.io import to_html

                watch.write(to_html(fig_dict).encode(), ".html")

        module.renderers["cellhold"] = Page()
        if not os.environ.get("PLOTLY_RENDERER"):
            module.renderers.default = "cellhold"


_begin()
