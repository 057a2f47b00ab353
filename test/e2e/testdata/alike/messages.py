# %%
print('Total revenue: 42')
print('\ud83d\ude80 done, x\ud800y')
# %%
raise ValueError('bad \ud800 text')
# %%
display({'application/json': {1: float('nan'), (1, 2): b'x', 'o': 1j}, 'text/plain': 'shown'}, raw=True)
# %%
def f(n): return f(n + 1)
import sys; sys.setrecursionlimit(5000)
try: f(0)
except RecursionError: print('deep')
# %%
raise ExceptionGroup('two', [KeyError('k'), OSError('o')])
# %%
2 ** 20000
# %%
class B:
    def __repr__(self): return str(1 / 0)
B()
