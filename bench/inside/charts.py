"""Runs in a cell of cellhold. It draws the charts of results.json as SVG and PNG files in the same folder."""
import json

import matplotlib

matplotlib.rcParams.update({"figure.dpi": 110, "svg.fonttype": "none", "svg.hashsalt": "cellhold", "axes.spines.top": False,
                            "axes.spines.right": False, "font.family": "sans-serif", "axes.titlesize": 11})
import matplotlib.pyplot as plt
import numpy as np

results = json.load(open("results.json"))
OURS, THEIRS = "#2a78b5", "#b0b0b0"


def series(key):
    """Returns the names and the samples of a figure."""
    for figure in results["figures"]:
        if figure["key"] == key:
            return [(s["contender"], np.array(s["samples"])) for s in figure["series"] if s["samples"]]
    return []


def ranks(samples, *of):
    """Returns quantiles by nearest rank, as in the tables."""
    return np.quantile(samples, of, method="inverted_cdf")


def formatted(ms):
    """Returns a time in ms (float) as text with its unit (str)."""
    return f"{ms:.3g} ms" if ms < 999.5 else f"{ms / 1000:.3g} s"


def colour(name):
    return OURS if name.startswith("cellhold") else THEIRS


def save(figure, name):
    figure.savefig(name + ".svg", bbox_inches="tight", metadata={"Date": None})
    figure.savefig(name + ".png", bbox_inches="tight")
    plt.close(figure)


def bars(key, name, title):
    """Draws medians as bars on a logarithmic scale, with lines to the 99th percentile."""
    rows = series(key)[::-1]
    if not rows:
        return
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(rows) + 1.2))
    for i, (who, samples) in enumerate(rows):
        median, high = ranks(samples, 0.5, 0.99)
        axes.barh(i, median, color=colour(who), height=0.6)
        axes.plot([median, high], [i, i], color="#404040", linewidth=1)
        axes.annotate(f" {formatted(median)}", (max(high, median), i), va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [who for who, _ in rows])
    axes.set_xscale("log")
    axes.set_xlim(right=axes.get_xlim()[1] * 2)
    axes.set_xlabel("ms; bars are medians, lines reach to the 99th percentile")
    axes.set_title(title, loc="left")
    save(figure, name)


def burst():
    """Draws the share of answers in a burst over time."""
    key = max((f["key"] for f in results["figures"] if f["key"] in ("burst-10", "burst-50") and f["series"]), default="")
    rows = series(key)
    if not rows:
        return
    failed = {s["contender"]: s.get("failed", 0) for f in results["figures"] if f["key"] == key for s in f["series"]}
    figure, axes = plt.subplots(figsize=(8, 4))
    for who, samples in rows:
        asked = len(samples) + failed[who]
        axes.plot(np.sort(samples) / 1000, np.arange(1, len(samples) + 1) / asked, label=who, linewidth=2)
    axes.set(xlabel="seconds from the create call to the answer", ylabel="share that has been answered", ylim=(0, 1.02), xlim=0)
    axes.set_title(f"A burst of {key.split('-')[1]} creates", loc="left")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    save(figure, "burst")


def memory():
    """Draws the parts of a session's memory, with a bar for each way to start it."""
    rows = [(f["key"].removeprefix("memory-of-"), f["series"]) for f in results["figures"] if f["key"].startswith("memory-of-")][::-1]
    if not rows:
        return
    figure, axes = plt.subplots(figsize=(8, 0.6 * len(rows) + 1.6))
    for i, (who, parts) in enumerate(rows):
        left = 0
        parts = [p for p in parts if p["samples"] and not p["contender"].startswith("in the guest")]
        for part, shade in zip(parts, ("#2a78b5", "#7fb3d9", "#c9c9c9")):
            size = np.median(part["samples"])
            axes.barh(i, size, left=left, color=shade, height=0.6, label=part["contender"] if i == 0 else None)
            axes.annotate(f"{size:.0f}", (left + size / 2, i), ha="center", va="center", fontsize=9)
            left += size
    axes.set_yticks(range(len(rows)), [who for who, _ in rows])
    axes.set_xlabel("MB")
    axes.set_title("Memory of an idle session that has used pandas", loc="left")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.35))
    save(figure, "memory")


bars("first", "first", "From the create call to the first answer with pandas")
bars("cell", "cell", "Round trip of 1+1")
burst()
memory()
