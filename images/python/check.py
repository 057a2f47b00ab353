"""Checks a new image from inside, as the user and without network access. If a check fails, the image is refused."""

import importlib
import importlib.util
import io
import logging
import os
import pathlib
import pwd
import struct
import subprocess
import warnings

PACKAGES = [
    "IPython", "PIL", "altair", "bokeh.plotting", "bs4", "docx", "h5py", "ipykernel", "lxml.etree", "lxml.html", "matplotlib",
    "nbformat", "networkx", "numpy", "openpyxl", "pandas", "plotly.express", "polars", "pyarrow", "requests", "scipy",
    "scipy.stats", "seaborn", "sklearn.ensemble", "sqlalchemy", "statsmodels.api", "statsmodels.formula.api", "sympy",
    "tabulate", "tqdm", "vl_convert", "xlrd", "xlsxwriter",
]
FOLDERS = {"/content": "/workspace", "/kaggle/working": "/workspace", "/kaggle/input": "/mnt/data",
           "/home/sandbox": "/workspace", "/mnt/user-data/uploads": "/workspace", "/mnt/user-data/outputs": "/mnt/data/output"}
TOOLS = ["bash", "curl", "git", "pip", "uv"]
TITLE = "Größe Ωλ Привет 中文标题 日本語 한국어 العربية हिन्दी 😀🚀📈✅🥲"

font_log = io.StringIO()
logging.getLogger("matplotlib").addHandler(logging.StreamHandler(font_log))
logging.getLogger("matplotlib.font_manager").setLevel(logging.INFO)
warnings.simplefilter("error")  # a missing glyph is a warning


def own_modules():
    """Returns the names of the recipe's modules (list of str). The kernels import each of them."""
    lib = pathlib.Path(importlib.util.find_spec("ipykernel").origin).parent.parent
    names = sorted(file.stem for file in lib.glob("cellhold_*.py"))
    assert names, f"{lib} has no module of the recipe"
    return names


def check_packages():
    for name in PACKAGES + own_modules():
        module = importlib.import_module(name)
        if not module.__file__.endswith(".py"):
            continue
        compiled = importlib.util.cache_from_source(module.__file__)
        assert os.path.exists(compiled), f"{name} is not compiled"


def check_tools():
    for name in TOOLS:
        subprocess.run([name, "--version"], check=True, stdout=subprocess.DEVNULL)


def check_pip():
    # There is no server here. The commands must report that at once, in a message.
    for command in (["pip", "install", "x"], ["python3", "-m", "pip", "install", "x"], ["uv", "pip", "install", "x"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "cannot ask the server for packages" in done.stderr, done


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


def check_font_names():
    import vl_convert
    from PIL import Image, ImageFont
    for font in ["Arial", "Helvetica", "Times New Roman", "Courier New", "SimHei", "Microsoft YaHei", "serif", "sans-serif", "monospace"]:
        for word in ["Text", "中文"]:
            svg = ('<svg xmlns="http://www.w3.org/2000/svg" width="90" height="40"><rect width="90" height="40" fill="white"/>'
                   f'<text x="5" y="30" font-size="30" font-family="{font}">{word}</text></svg>')
            image = Image.open(io.BytesIO(vl_convert.svg_to_png(svg))).convert("L")
            assert image.getextrema()[0] < 100, f"vl-convert leaves out {word} in {font}"
    for name in ["arial.ttf", "times.ttf", "cour.ttf", "simhei.ttf", "msyh.ttc", "DejaVuSans.ttf"]:
        ImageFont.truetype(name, 20)


def check_styles():
    import matplotlib.pyplot as plt
    for name in plt.style.available:
        plt.style.use(name)
        plt.style.use(name.replace("seaborn-v0_8", "seaborn"))
    plt.rcdefaults()
    with plt.xkcd():
        plt.figure().savefig(io.BytesIO())
    plt.close("all")


def check_locales():
    import locale
    assert locale.setlocale(locale.LC_ALL, "") == "C.UTF-8"
    for name in ["en_US.UTF-8", "en_GB", "de_DE", "de_DE.utf8", "fr_FR", "es_ES", "it_IT", "pt_BR", "ja_JP", "zh_CN", "ru_RU"]:
        locale.setlocale(locale.LC_ALL, name)
        assert locale.nl_langinfo(locale.CODESET) == "UTF-8", name
    locale.setlocale(locale.LC_ALL, "de_DE")
    assert locale.format_string("%.2f", 1234.5, grouping=True) == "1.234,50"
    assert sorted(["z", "ä", "a"], key=locale.strxfrm) == ["a", "ä", "z"]
    locale.setlocale(locale.LC_ALL, "C.UTF-8")


def check_charts():
    import altair
    import pandas
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": [3, 1, 2]})
    chart = altair.Chart(frame, title=TITLE).mark_bar().encode(x="a:O", y="b:Q")
    for kind, start in [("png", b"\x89PNG"), ("svg", b"<svg"), ("html", b"<!DOCTYPE html>"), ("pdf", b"%PDF")]:
        chart.save(f"/tmp/chart.{kind}")
        with open(f"/tmp/chart.{kind}", "rb") as file:
            assert file.read().startswith(start), kind
    from bokeh.embed import file_html
    from bokeh.plotting import figure
    from bokeh.resources import CDN, INLINE
    plot = figure(title="x")
    plot.line([1, 2], [3, 4])
    small, whole = file_html(plot, CDN), file_html(plot, INLINE)
    assert len(small) < 100_000 < len(whole), (len(small), len(whole))
    import plotly.express
    scatter = plotly.express.scatter(frame, x="a", y="b", trendline="ols")
    assert len(scatter.to_html(include_plotlyjs="cdn")) < 100_000 < len(scatter.to_html())
    assert scatter.to_json()


def check_plots():
    import matplotlib.pyplot as plt
    import networkx
    import pandas
    import seaborn
    import sympy
    x = sympy.Symbol("x")
    sympy.plot(sympy.sin(x), show=False).save("/tmp/sympy.png")
    frame = pandas.DataFrame({"a": [1, 2, 3, 4], "b": [3, 1, 2, 5], "c": list("ppqq")})
    seaborn.lmplot(frame, x="a", y="b", hue="c")
    seaborn.heatmap(frame[["a", "b"]].corr(), annot=True)
    frame.plot(x="a", y="b")
    networkx.draw(networkx.karate_club_graph(), with_labels=True)
    plt.savefig("/tmp/plots.png")
    plt.close("all")


def check_models():
    import numpy
    import pandas
    import statsmodels.api as models
    import statsmodels.formula.api as formulas
    from sklearn.linear_model import LinearRegression
    x = numpy.arange(20.0)
    y = 2 * x + 1 + numpy.sin(x)
    fit = models.OLS(y, models.add_constant(x)).fit()
    assert "R-squared" in fit.summary().as_text() and abs(fit.params[1] - 2) < 0.1
    assert abs(formulas.ols("y ~ x", pandas.DataFrame({"x": x, "y": y})).fit().params["x"] - fit.params[1]) < 1e-9
    assert abs(LinearRegression().fit(x[:, None], y).coef_[0] - fit.params[1]) < 1e-9
    assert len(models.tsa.ARIMA(y, order=(1, 0, 0)).fit().forecast(3)) == 3


def check_tables():
    import numpy
    import pandas
    import polars
    import pyarrow
    import sqlalchemy
    from tabulate import tabulate
    frame = polars.DataFrame({"a": [1, 2, 1], "b": [1.0, 2.0, 3.0]})
    assert frame.lazy().group_by("a").agg(polars.col("b").sum()).sort("a").collect()["b"].to_list() == [4.0, 2.0]
    assert pyarrow.table({"a": [1, 2]}).to_pandas().equals(pandas.DataFrame({"a": [1, 2]}))
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        frame.to_pandas().to_sql("t", connection)
        assert pandas.read_sql("select sum(b) as b from t", connection)["b"][0] == 6
    engine.dispose()
    import h5py
    with h5py.File("/tmp/x.h5", "w") as file:
        file.create_dataset("a", data=numpy.arange(6).reshape(2, 3), compression="gzip")
    with h5py.File("/tmp/x.h5") as file:
        assert file["a"][1, 2] == 5
    assert "a" in tabulate({"a": [1]}, headers="keys")


def check_documents():
    import docx
    import openpyxl
    import openpyxl.chart
    import pandas
    import xlrd
    import xlsxwriter
    document = docx.Document()
    document.add_heading("Größe", 1)
    document.add_table(2, 2).style = "Table Grid"
    document.save("/tmp/x.docx")
    assert docx.Document("/tmp/x.docx").paragraphs[0].text == "Größe"
    book = openpyxl.Workbook()
    for row in [("a", "b"), (1, 2), (3, 4)]:
        book.active.append(row)
    chart = openpyxl.chart.BarChart()
    chart.add_data(openpyxl.chart.Reference(book.active, min_col=2, min_row=1, max_row=3), titles_from_data=True)
    book.active.add_chart(chart, "D1")
    book.save("/tmp/x.xlsx")
    assert len(openpyxl.load_workbook("/tmp/x.xlsx").active._charts) == 1
    frame = pandas.DataFrame({"a": [1]})
    with pandas.ExcelWriter("/tmp/x.xlsx", mode="a") as writer:
        frame.to_excel(writer, sheet_name="more")
    assert list(pandas.read_excel("/tmp/x.xlsx", sheet_name=None)) == ["Sheet", "more"]
    with xlsxwriter.Workbook("/tmp/y.xlsx") as book:
        sheet = book.add_worksheet()
        sheet.write_column("A1", [1, 2])
        lines = book.add_chart({"type": "line"})
        lines.add_series({"values": "=Sheet1!$A$1:$A$2"})
        sheet.insert_chart("C1", lines)
    assert len(openpyxl.load_workbook("/tmp/y.xlsx").active._charts) == 1
    number = struct.pack("<HHHH3xd", 3, 15, 0, 0, 6.5)  # a sheet of Excel 2 with one cell
    old = struct.pack("<HHHH", 9, 4, 2, 16) + number + struct.pack("<HH", 10, 0)
    assert xlrd.open_workbook(file_contents=old).sheet_by_index(0).cell_value(0, 0) == 6.5


def check_web():
    import http.server
    import threading
    import bs4
    import lxml.html
    import requests
    page = b"<table><tr><th>a</th></tr><tr><td>1</td></tr></table>"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        text = requests.get(f"http://127.0.0.1:{server.server_port}/", timeout=10).text
    for parser in ["lxml", "html.parser"]:
        assert bs4.BeautifulSoup(text, parser).td.text == "1", parser
    assert lxml.html.fromstring(text).xpath("//td/text()") == ["1"]
    import pandas
    assert pandas.read_html(io.StringIO(text))[0]["a"][0] == 1


def check_progress():
    import contextlib
    import tqdm
    import tqdm.auto
    import tqdm.notebook
    for module in (tqdm, tqdm.auto, tqdm.notebook):
        with contextlib.redirect_stderr(io.StringIO()) as text:
            assert sum(module.tqdm([1, 2, 3], desc="bar")) == 6
            list(module.trange(2))
            with module.tqdm(total=2, ncols=60) as bar:
                bar.update(2)
        assert "100%" in text.getvalue() and "bar" in text.getvalue(), module


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
check_pip()
check_openblas()
check_files()
check_fonts()
check_font_names()
check_styles()
check_locales()
check_charts()
check_plots()
check_models()
check_tables()
check_documents()
check_web()
check_progress()
check_kernels()
