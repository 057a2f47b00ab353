# Event loops run in a cell as in a script.
# %%
import asyncio, threading, time
async def main(n=1):
    await asyncio.sleep(0.01)
    print('main', n)
    return n
asyncio.run(main())
# %%
async def nested():
    return asyncio.run(main(2)) + asyncio.get_event_loop().run_until_complete(main(3))
await nested()
# %%
await asyncio.gather(asyncio.create_task(nested()), main(4))
# %%
with asyncio.Runner() as runner:
    print(runner.run(main(5)), runner.run(main(6)), runner.get_loop() is asyncio.get_running_loop())
# %%
loop = asyncio.get_event_loop()
assert loop.run_until_complete(main(7)) == 7
assert loop.run_until_complete(asyncio.gather(main(8), main(9))) == [8, 9]
loop.close()
assert not loop.is_closed() and loop.is_running()
# %%
assert asyncio.get_event_loop() is loop
task = loop.create_task(main(10))
future = loop.create_future()
loop.call_later(0.01, future.set_result, 'set')
assert loop.run_until_complete(future) == 'set'
assert loop.run_until_complete(task) == 10
# %%
loop.call_later(0.02, loop.stop)
loop.run_forever()
print('stopped, and goes on')
await main(11)
# %%
other = asyncio.new_event_loop()
asyncio.set_event_loop(other)
assert other.run_until_complete(main(12)) == 12
other.call_later(0.01, other.stop)
other.run_forever()
other.close()
assert other.is_closed() and asyncio.get_running_loop() is loop
# %%
async def fails():
    raise ValueError('of the coroutine')
asyncio.run(fails())
# %%
loop.run_until_complete(fails())
# %%
async def leaves(): exit(2)
asyncio.run(leaves())
# %%
loop.run_until_complete(leaves())
# %%
async def deep(n):
    await asyncio.sleep(0)
    return n if n == 0 else loop.run_until_complete(deep(n - 1)) + asyncio.run(main(n))
await deep(3)
# %%
ready = [loop.call_soon(print, 'callback', i) for i in range(3)]
assert loop.run_until_complete(main(13)) == 13
# %%
await asyncio.sleep(0.05)
print('nothing is left')
# %%
results = []
thread = threading.Thread(target=lambda: results.append(asyncio.run(main(14))))
thread.start()
thread.join()
print(results)
# %%
async def generator():
    try:
        for i in range(3):
            yield i
    finally:
        print('closed')
async def first():
    async for i in generator():
        return i
asyncio.run(first())
# %%
print(asyncio.run(asyncio.wait_for(asyncio.sleep(0.01, 'in time'), 5)))
asyncio.run(asyncio.wait_for(asyncio.sleep(60), 0.01))
# %%
async def program():
    p = await asyncio.create_subprocess_exec('echo', 'of a program', stdout=asyncio.subprocess.PIPE)
    return (await p.communicate())[0]
print(asyncio.run(program()), loop.run_until_complete(program()), asyncio.run(asyncio.to_thread(lambda: 'of a thread')))
# %%
import nest_asyncio
nest_asyncio.apply()
asyncio.run(main(15)), asyncio.get_event_loop().run_until_complete(main(16))
# %%
await main(17)
