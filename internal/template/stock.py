# The stock warm-up imports the packages with which most sessions begin, and runs some of their code. So the code
# is compiled and in memory when a session starts. If the image has no copy of a package, the others are imported.
import io

show = get_ipython().display_formatter.format
try:
    import numpy as np

    np.random.default_rng(0).normal(size=(8, 8)).dot(np.ones((8, 8))).sum()
    show(np.arange(3))
except ImportError:
    pass
try:
    import pandas as pd

    frame = pd.DataFrame({"name": ["a", "b", "a"], "x": [1, 2, 3], "y": [0.5, 1.5, 2.5]})
    frame.groupby("name").agg({"x": "sum", "y": "mean"})
    frame.describe()
    pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    show(frame)
except ImportError:
    pass
try:
    import matplotlib.pyplot as plt

    with unchanged():
        figure, axes = plt.subplots()
        axes.plot([1, 2, 3], [1, 4, 9], label="x")
        axes.set_title("x")
        axes.legend()
        show(figure)
except ImportError:
    pass
