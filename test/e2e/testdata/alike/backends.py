# %%
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
print(matplotlib.get_backend(), plt.isinteractive())
plt.figure(figsize=(1, 1))
plt.plot([1, 2])
plt.show()
# %%
plt.figure(figsize=(1, 1)).savefig("/tmp/x.png")
print(plt.get_fignums())
# %%
print(plt.get_fignums())
plt.figure(figsize=(1, 1)).savefig("/tmp/x.png")
plt.close()
# %%
plt.switch_backend("agg")
f, a = plt.subplots(figsize=(1, 1))
f.show()
plt.show()
# %%
%matplotlib tk
f, a = plt.subplots(figsize=(1, 1))
f
# %%
import pandas as pd
pd.Series([1, 2]).plot(figsize=(1, 1));
# %%
%gui tk
# %%
print(plt.get_fignums(), matplotlib.get_backend())
# %%
from tqdm.auto import tqdm
import tqdm.notebook as notebook
print(tqdm.__name__, notebook.tqdm.__mro__[1].__name__)
# %%
import plotly.io
print(plotly.io.renderers.default)
# %%
import locale
print(locale.setlocale(locale.LC_ALL, ""))
# %%
plt.ioff()
plt.figure(figsize=(1, 1))
print(plt.get_fignums(), plt.isinteractive())
# %%
plt.show()
print(plt.get_fignums())
