# Runs typical first cells, to load the memory that they need: after a restore, the first access to each page is
# slow. No output is shown, and the state of the kernel does not change.
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
