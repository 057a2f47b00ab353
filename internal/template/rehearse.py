# Runs what first cells do, so that what they need is in memory again when the first one comes: after a
# restore, every page that is touched for the first time costs. Nobody sees what it shows, and the kernel is
# afterwards as it was.
import sys

shell = get_ipython()
cells = ["1 + 1"]
if "pandas" in sys.modules:
    cells.append("import pandas as pd\npd.DataFrame({'a': [1, 2, 1], 'b': [0.5, 1.5, 2.5]}).groupby('a').sum()")
if "matplotlib.pyplot" in sys.modules:
    cells.append("import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()")
with unchanged():
    for cell in cells:
        shell.run_cell(cell, store_history=False)
