# exit and quit end their cell, and keep the kernel and its variables.
# %%
import asyncio, sys
x = 1
exit(2)
x = 'never'
# %%
assert x == 1
quit()
# %%
exit
# %%
if x:
    exit
x = 'never'
# %%
assert x == 1
def nested():
    def inner():
        exit('a message')
    inner()
nested()
# %%
async def f(): exit(3)
await f()
# %%
await asyncio.gather(f(), asyncio.sleep(0.01))
# %%
task = asyncio.create_task(f())
await asyncio.sleep(0.01)
print('the task ended with', repr(task.exception()))
# %%
asyncio.get_running_loop().call_soon(exit, 4)
await asyncio.sleep(0.01)
print('the loop goes on')
# %%
asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)
await asyncio.sleep(0.01)
print('the loop goes on')
# %%
%%time
exit(5)
# %%
%%writefile leaves.py
y = 2
exit(6)
# %%
%run leaves.py
print('never')
# %%
assert y == 2
%run -e leaves.py
print('ignored, as it was asked')
# %%
%run -m leaves
print("never")
# %%
import leaves
# %%
sys.exit(7)
# %%
sys.exit()
# %%
text = """
exit
"""
try:
    exit()
except SystemExit as e:
    print(repr(e.code), repr(text))
# %%
class Cleaned:
    def __enter__(self): return self
    def __exit__(self, *args): print('cleaned')
with Cleaned():
    exit(8)
# %%
assert (x, y) == (1, 2)
exit = 5
# %%
exit
