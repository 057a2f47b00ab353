# Streams that code replaced are restored, unless the replacement still writes to the session's stream.
# %%
import io, sys, contextlib
kernel = sys.stdout, sys.stderr, sys.stdin
sys.stdout = io.StringIO()
print('into nothing')
1 / 0
# %%
print('seen', sys.stdout is kernel[0])
# %%
sys.stdout = kept = io.StringIO()
sys.stderr = open('/tmp/log.txt', 'w')
print('lost')
# %%
assert (sys.stdout, sys.stderr) == kernel[:2]
kept.getvalue()
# %%
sys.stdout = None
# %%
print('seen again')
# %%
class Tee:
    def __init__(self, *streams):
        self.streams = streams
    def write(self, text):
        for s in self.streams:
            s.write(text)
    def flush(self):
        pass
log = io.StringIO()
sys.stdout = tee = Tee(kernel[0], log)
print('both')
# %%
print('both still')
assert sys.stdout is tee
# %%
sys.stdout = kernel[0]
print(repr(log.getvalue()))
# %%
sys.stdout = sys.__stdout__
print('through the descriptor')
# %%
print('and back', sys.stdout is kernel[0])
# %%
redirect = contextlib.redirect_stdout(io.StringIO())
nothing = redirect.__enter__()
# %%
print('not in the redirection of another cell')
redirect.__exit__(None, None, None)
# %%
sys.stdin = io.StringIO('one\ntwo\n')
# %%
sys.stdin.readline()
# %%
sys.stdin = io.StringIO('three\n')
raise ValueError('lost')
# %%
assert sys.stdin is kernel[2]
# %%
async def mute():
    sys.stdout = io.StringIO()
    raise KeyError('in async code')
await mute()
# %%
print('seen after async code')
# %%
from IPython.utils.capture import capture_output
with capture_output() as captured:
    print('in the captured output')
captured.stdout
# %%
%%capture captured
print('out')
print('err', file=sys.stderr)
1 + 1
# %%
captured.stdout, captured.stderr, len(captured.outputs)
# %%
shell = get_ipython()
sys.stdout = inner = io.StringIO()
nothing = shell.run_cell('print("of an inner cell")')
nothing = shell.run_cell('')
print('of the outer one')
sys.stdout = kernel[0]
assert inner.getvalue() == "of an inner cell\nof the outer one\n", inner.getvalue()
