# The last results and the history are empty at the first cell, also after a warm-up.
# %%
2+10
# %%
_
# %%
_+10
# %%
print(repr(_), repr(__), repr(___), Out)
# %%
print(repr(In), repr(_i), repr(_ii), repr(_iii))
# %%
'three'
# %%
print(_, __, ___, _1, _3)
# %%
h = get_ipython()
print(h.execution_count, [repr(x) for x in h.history_manager.input_hist_raw[-2:]], sorted(h.history_manager.outputs))
%history
# %%
_ = 'mine'
# %%
5
# %%
_
