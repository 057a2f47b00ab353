"""Adapts libraries of this image, once, while the image is built.

1. Without ipywidgets, tqdm.notebook fails and tqdm.auto warns. Here both write text bars instead. If a user
   installs ipywidgets, both work as usual.
2. matplotlib has renamed the styles that come from seaborn. Older code can still use the old names here.
3. If xlsxwriter is installed, pandas writes with it, and fails to add a sheet to an existing workbook. Here pandas
   uses openpyxl for that, as it does without xlsxwriter.
"""

import pathlib

import matplotlib.style
import pandas.io.excel._base
import tqdm

NOTEBOOK = '''

# Added when this image was made; see libraries.py of its recipe.
if IProgress is None:
    class tqdm_notebook(std_tqdm):  # noqa: F811
        """A text bar with the parameters of the widget."""

        def __init__(self, *args, display=True, **kwargs):
            if not isinstance(kwargs.get("ncols"), (int, type(None))):  # such as "100%"
                del kwargs["ncols"]
            super().__init__(*args, **kwargs)

    tqdm = tqdm_notebook
'''
WARNING = "        from .std import TqdmWarning\n        warn(WARN_NOIPYW, TqdmWarning, stacklevel=2)\n"
ALIASES = "    style_alias = {'mpl20': 'default', 'mpl15': 'classic'}\n"
OLD_NAMES = ALIASES + '''\
    # Added when this image was made; see libraries.py of its recipe.
    style_alias |= {name.replace("-v0_8", "", 1): name for name in library if name.startswith("seaborn-v0_8")}
'''
ENGINE = "                        engine = get_default_engine(ext, mode=\"writer\")\n"
APPENDING = ENGINE + '''\
                        # Added when this image was made; see libraries.py of its recipe.
                        if engine == "xlsxwriter" and "a" in mode:
                            engine = "openpyxl"
'''


def change(path, old, new):
    """Replaces a text in a file of a library. The text must be there exactly once."""
    code = path.read_text()
    if code.count(old) != 1:
        raise SystemExit(f"{path} has the expected text {code.count(old)} times, not once: adapt libraries.py")
    path.write_text(code.replace(old, new))


folder = pathlib.Path(tqdm.__file__).parent
change(folder / "notebook.py", "tqdm = tqdm_notebook\ntrange = tnrange\n", "tqdm = tqdm_notebook\ntrange = tnrange\n" + NOTEBOOK)
change(folder / "autonotebook.py", WARNING, "")
change(pathlib.Path(matplotlib.style.__file__), ALIASES, OLD_NAMES)
change(pathlib.Path(pandas.io.excel._base.__file__), ENGINE, APPENDING)
