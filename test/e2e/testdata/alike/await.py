# %%
import asyncio, os, signal, sys, threading
kept = 42
def interrupt(after):
    threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)).start()
async def tick():
    global ticks
    ticks = 0
    while True:
        ticks += 1
        await asyncio.sleep(0.01)
ticking = asyncio.create_task(tick())
# %%
interrupt(0.2)
await asyncio.sleep(60)
# %%
assert sys.last_type is KeyboardInterrupt and kept == 42
# %%
interrupt(0.2)
await asyncio.gather(asyncio.sleep(60), asyncio.sleep(50))
# %%
interrupt(0.2)
await asyncio.sleep(0)
while True: pass
# %%
before = ticks
await asyncio.sleep(0.5)
assert ticks > before and ticking.cancel()
# %%
asyncio.current_task().cancel()
await asyncio.sleep(0)
# %%
assert sys.last_type is asyncio.CancelledError and kept == 42
