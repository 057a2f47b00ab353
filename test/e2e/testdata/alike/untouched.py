# These cells read state of the kernel that the warm-up must not change.
# %%
print([(n, repr(globals()[n])) for n in ('_', '__', '___', 'Out', '_oh', '_i', '_ii', '_iii', '_dh')])
print([n for n in globals() if n != '__builtins__'])
shell = get_ipython()
print(sorted(shell.user_ns_hidden))
print(repr(shell.displayhook._), repr(shell.displayhook.__), repr(shell.displayhook.___))
h = shell.history_manager
print(h.input_hist_parsed[:-1], h.input_hist_raw[:-1], dict(h.outputs), dict(h.output_hist), dict(h.output_hist_reprs), dict(h.exceptions))
print(shell.execution_count, shell.last_execution_succeeded, shell.last_execution_result)
# %%
import builtins, sys
print([n for n in ('last_type', 'last_value', 'last_traceback', 'last_exc') if hasattr(sys, n)], hasattr(builtins, '_'))
print(sys.path, sys.argv[:-1], type(sys.displayhook), sys.excepthook.__qualname__, sys.getrecursionlimit())
print(type(sys.stdout), type(sys.stderr), sys.stdin)
# %%
import os
print(os.getcwd(), sorted(item for item in os.environ.items() if item[0] != 'CELLHOLD_KERNEL'))
print(os.listdir('/tmp'), os.listdir('.'))
# %%
import random, threading, signal, atexit, logging, locale, decimal
print(threading.Thread().name, sorted(t.name for t in threading.enumerate()))
print({s.name: repr(signal.getsignal(s)).split(' at ')[0] for s in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)})
print(logging.root.level, logging.root.handlers, logging.raiseExceptions, locale.setlocale(locale.LC_ALL), decimal.getcontext())
# %%
links = []
for fd in os.listdir('/proc/self/fd'):
    try:
        links.append(os.readlink('/proc/self/fd/' + fd).split(':')[0])
    except OSError:
        pass
print(sorted(links))
# %%
# This ignores pyplot's callbacks: pyplot adds them at its import, and the warm-up imported it.
print({n: [f.__qualname__ for f in shell.events.callbacks[n] if not f.__module__.startswith('matplotlib')]
       for n in sorted(shell.events.callbacks)}, shell.ast_transformers)
print(shell.payload_manager.read_payload(), shell.pylab_gui_select, shell.active_eventloop)
# %%
import warnings
print([m.__name__ for m in list(sys.modules.values()) if getattr(m, '__warningregistry__', None)])
# %%
import linecache
print([n for n in linecache.cache if 'ipykernel_' in n and len(linecache.getlines(n)) == 0])
