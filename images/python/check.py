"""Checks a new image from inside, as the user and without a network. Any failure refuses it."""

import importlib
import importlib.util
import io
import logging
import os
import pathlib
import pwd
import subprocess
import warnings

PACKAGES = ["IPython", "PIL", "altair", "bash_kernel", "bokeh.plotting", "ipykernel", "matplotlib", "numpy",
            "openpyxl", "pandas", "plotly.express", "polars", "pyarrow", "requests", "scipy", "scipy.stats",
            "seaborn", "sklearn.ensemble", "sympy", "tabulate", "tqdm", "xlrd"]
TOOLS = ["bash", "curl", "git", "pip", "uv"]
TITLE = "Größe Ωλ Привет 中文标题 日本語 한국어 العربية हिन्दी 😀🚀📈✅🥲"

font_log = io.StringIO()
logging.getLogger("matplotlib").addHandler(logging.StreamHandler(font_log))
logging.getLogger("matplotlib.font_manager").setLevel(logging.INFO)
warnings.simplefilter("error")  # a missing glyph is a warning


def own_modules():
    """The modules of the recipe (list of str), each of which the kernels import."""
    lib = pathlib.Path(importlib.util.find_spec("ipykernel").origin).parent.parent
    names = sorted(file.stem for file in lib.glob("cellhold_*.py"))
    assert names, f"{lib} has no module of the recipe"
    return names


def check_packages():
    for name in PACKAGES + own_modules():
        module = importlib.import_module(name)
        compiled = importlib.util.cache_from_source(module.__file__)
        assert os.path.exists(compiled), f"{name} is not compiled"


def check_tools():
    for name in TOOLS:
        subprocess.run([name, "--version"], check=True, stdout=subprocess.DEVNULL)


def check_openblas():
    import numpy
    import threadpoolctl
    numpy.ones((8, 8)) @ numpy.ones((8, 8))
    kinds = {pool["internal_api"] for pool in threadpoolctl.threadpool_info()}
    assert "openblas" in kinds, f"numpy runs on {kinds}, not on OpenBLAS"


def check_files():
    import pandas
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "ü"]})
    for write, read in [("to_parquet", pandas.read_parquet), ("to_excel", pandas.read_excel)]:
        buffer = io.BytesIO()
        getattr(frame, write)(buffer, **({"index": False} if write == "to_excel" else {}))
        assert read(buffer).equals(frame), write


def check_fonts():
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn
    def written_for_windows():
        matplotlib.rcParams["font.sans-serif"] = ["SimHei"]

    for theme in (matplotlib.rcdefaults, seaborn.set_theme, written_for_windows):
        theme()
        figure, axes = plt.subplots()
        axes.set_title(TITLE, weight="bold")
        axes.set_xlabel(TITLE, family="monospace")
        figure.savefig(io.BytesIO(), format="png")
        plt.close(figure)
    assert not font_log.getvalue(), f"matplotlib complains: {font_log.getvalue()}"


def check_kernels():
    from jupyter_client.kernelspec import KernelSpecManager
    for name in ["python3", "bash"]:
        spec = KernelSpecManager().get_kernel_spec(name)
        assert os.access(spec.argv[0], os.X_OK), f"kernelspec {name} names {spec.argv[0]}"


def check_user():
    user = pwd.getpwuid(os.getuid())
    assert (user.pw_name, user.pw_uid, user.pw_dir) == ("user", 1000, "/home/user"), user


def check_folders():
    for name, means in FOLDERS.items():
        assert os.path.realpath(name) == means, f"{name} is {os.path.realpath(name)}"


check_user()
check_folders()
check_packages()
check_tools()
check_openblas()
check_files()
check_fonts()
check_kernels()
