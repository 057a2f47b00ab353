# The output streams have the methods of Python's own streams.
# %%
import codecs, io, os, subprocess, sys
print('a', end='')
n = sys.stdout.buffer.write(b'b')
print('c', end='')
sys.stdout.buffer.write(memoryview('dé€😀'.encode()))
sys.stdout.flush()
print(n)
# %%
for b in '€😀'.encode():
    nothing = sys.stdout.buffer.write(bytes([b]))
# %%
nothing = sys.stdout.buffer.write(b'\xff\xfe\n')
sys.stderr.buffer.write(bytearray(b'err\n'))
sys.stdout.writelines(line for line in ['x\n', 'y\n'])
# %%
sys.stdout.buffer.write('text')
# %%
sys.stdout.write(b'bytes')
# %%
assert (sys.stdout.encoding, sys.stdout.errors, sys.stdout.isatty(), sys.stdout.writable(), sys.stdout.readable()) == ('utf-8', 'strict', False, True, False)
assert (sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.buffer.fileno()) == (1, 2, 1)
assert sys.stdout.buffer is sys.stdout.buffer and sys.stdout.buffer.raw.writable() and not sys.stdout.closed
# %%
sys.stdout.reconfigure(encoding='utf-8', errors='replace', line_buffering=True)
sys.stdout.reconfigure(encoding='latin-1')
nothing = sys.stdout.buffer.write(b'\xe9')
print('é€', sys.stdout.encoding, sys.stdout.errors, sys.stdout.line_buffering)
sys.stdout.reconfigure(encoding='utf-8', errors='strict', line_buffering=False)
# %%
sys.stdout.reconfigure(encoding='nonesuch')
# %%
sys.stdout.reconfigure(errors='nonesuch')
# %%
kernel = sys.stdout
sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')
print('through a wrapper é')
# %%
print('it stays')
# %%
sys.stdout = codecs.getwriter('utf-8')(kernel.detach())
print('through a codec é')
# %%
sys.stdout = kernel
import gc
nothing = gc.collect()
print('the wrappers are gone', sys.stdout.closed)
# %%
sys.stdout.close()
print('after a close')
# %%
print('before', flush=True)
nothing = os.write(sys.stdout.fileno(), b'by its number\n')
sys.stdout.flush()
subprocess.run(['echo', 'of a program'], stdout=sys.stdout)
sys.stdout.flush()
print('after')
# %%
nothing = subprocess.run(['sh', '-c', 'echo of another >&2'], stderr=sys.stderr)
