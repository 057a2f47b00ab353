# Runs typical first cells, so that the memory which they need is loaded before the first real cell. After a
# restore, the first access to each page takes time. Callers do not see the output, and the state of the kernel
# is restored afterwards.
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
