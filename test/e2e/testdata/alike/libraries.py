# Libraries have the state that they would have if the first cell had imported them.
# %%
import numpy as np
import pandas as pd
import matplotlib.pyplot as plt
import warnings
for f in warnings.filters:
    print(f[0], f[1].pattern if hasattr(f[1], 'pattern') else f[1], f[2].__name__, f[3], f[4])
print(np.geterr(), np.get_printoptions())
print(pd.options.display.max_rows, pd.options.display.precision)
# %%
import matplotlib
settings = lambda: {k: repr(v) for k, v in sorted(dict.items(plt.rcParams))}
first = settings()
print(plt.get_fignums(), plt.isinteractive(), matplotlib.get_backend(), first)
print([k.__name__ for k in matplotlib.units.registry])
# %%
shell = get_ipython()
print({n: [f.__qualname__ for f in shell.events.callbacks[n]] for n in sorted(shell.events.callbacks)})
print({n: sorted(t.__name__ for t in f.type_printers if t.__module__.startswith('matplotlib')) for n, f in shell.display_formatter.formatters.items()})
# %%
import gc
gc.unfreeze()
gc.collect()
kinds = {}
for o in gc.get_objects():
    kinds[type(o).__qualname__] = kinds.get(type(o).__qualname__, 0) + 1
print({k: kinds.get(k, 0) for k in ('DataFrame', 'Series', 'DataFrameGroupBy', 'Figure', 'Axes', 'Line2D', 'FigureCanvasAgg')})
# %%
import os
print([os.readlink(p) for p in (f'/proc/self/fd/{fd}' for fd in os.listdir('/proc/self/fd')) if os.path.islink(p) and 'fonts' in os.readlink(p)])
# %%
lines = plt.plot([1, 2, 3])
# %%
lines = plt.plot([3, 2, 1])
plt.show()
print(plt.get_fignums(), matplotlib.get_backend(), plt.isinteractive())
print({k: (first[k], v) for k, v in settings().items() if first[k] != v})
print({n: [f.__qualname__ for f in shell.events.callbacks[n]] for n in sorted(shell.events.callbacks)})
# %%
pd.DataFrame({'a': [1, 2]})
# %%
_.sum()
# %%
figure = plt.figure()
print(figure.number)
figure
# %%
def shown():
    warnings.warn('once')
shown()
