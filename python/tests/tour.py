"""A tour through everything that the package can do. test_tour.py runs it, and its synchronous form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

import cellhold
from cellhold import AsyncCell, AsyncClient, AsyncSession


async def tour(server: dict[str, str], folder: Path) -> None:
    """Uses every operation of the API."""
    async with AsyncClient(**server) as client:
        await about(client)
        await once(client)
        async with client.session(user="ann", metadata={"for": "tour"}, env={"A": "1"}, raise_on_error=True) as s:
            await cells(s)
            await questions(s)
            await files(s, folder)
            await commands(s)
            await ports(s)
            await penguins(s)
            await kernels(s)
            await introspection(s)
            await notebook(s, client, folder)
            await snapshots(s)
            await ends(s, client)


async def about(client: AsyncClient) -> None:
    assert await client.is_alive() and await client.is_ready()
    assert (await client.version()).api
    assert (await client.status()).uptime >= 0
    assert await client.templates() == []


async def once(client: AsyncClient) -> None:
    run = await client.run("x = 6; x * 7", files={"a.txt": "text", "b.bin": b"\xff"})
    assert run.ok and run.result == "42" and run.error is None
    run = await client.run("print(input(), end='')", tests=[cellhold.RunTest(stdin="5", stdout="5")])
    assert run.passed == 1 and run.tests[0].status == "passed"
    try:
        await client.run("1/0", raise_on_error=True)
    except cellhold.RunError as error:
        assert error.run.error and "ZeroDivisionError" in str(error)
    requests = [cellhold.RunRequest(code=f"print({i})", mode="program") for i in range(2)]
    assert sorted([run.stdout async for run in client.run_batch(requests)]) == ["0\n", "1\n"]


async def cells(s: AsyncSession) -> None:
    cell = await s.run("import os; print(os.environ['A']); 6 * 7")
    assert cell.ok and cell.text == "1\n42\n" and cell.stdout == "1\n" and cell.result == "42"
    assert cell.usage is not None and cell.usage.wall_seconds > 0
    cell = await s.run("import matplotlib.pyplot as plt; plt.plot([1, 3, 2]); open('made.txt', 'w').close()")
    assert cell.figures[0].png.startswith(b"\x89PNG") and cell.files[0].path == "/workspace/made.txt"
    try:
        await s.run("def f():\n    return 1/0\nf()")
    except cellhold.CellError as error:
        assert "ZeroDivisionError: division by zero" in str(error) and "\x1b" not in str(error)
    cell = await s.run("while True: pass", timeout=1, raise_on_error=False)
    assert cell.status == "timeout" and cell.error is not None and cell.error.name == "timeout"
    cell = await s.submit("import time; print('begun', flush=True); time.sleep(600)")
    await begun(cell)
    await s.interrupt()
    await cell.interrupt()
    await cell.wait()
    assert (await s.cells.get(cell.id)).status == "interrupted"
    first, second = await s.submit("print('begun', flush=True); time.sleep(600)"), await s.submit("1")
    await begun(first)
    assert (await second.cancel()).status == "cancelled"
    await first.cancel()
    assert len(await s.cells.list()) == 7 and (await first.wait()).status == "interrupted"


async def begun(cell: AsyncCell) -> None:
    """Returns when a cell has printed something. An interrupt has an effect then."""
    async with cell.stream() as events:
        async for event in events:
            if event.text:
                break


async def questions(s: AsyncSession) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return "Ann"

    printed: list[str] = []
    code = "name = input('name? '); print('hello', name); name"
    cell = await s.run(code, on_input=answer, on_stdout=printed.append)
    assert asked == ["name? "] and "hello Ann\n" in "".join(printed) and cell.result == "'Ann'"
    async with s.stream("for i in range(3): print(i, flush=True)") as events:
        assert "".join([event.text async for event in events]) == "0\n1\n2\n"
    assert events.cell.ok and await events.cell.read_text(offset=2) == "1\n2\n"
    assert (await s.read_events(limit=1))[0].seq == 1
    async for event in s.events(after=1):
        assert event.seq == 2
        break


async def files(s: AsyncSession, folder: Path) -> None:
    sizes: list[int] = []
    big = folder / "big.bin"
    big.write_bytes(b"0123456789" * 300_000)
    assert (await s.files.upload(big, on_progress=lambda sent, total: sizes.append(sent))).size == 3_000_000
    assert sizes[0] == 1 << 20 and sizes[-1] == 3_000_000
    assert await s.files.read_range("big.bin", 12, 15) == b"234"
    assert await s.files.read("big.bin", max_bytes=3_000_000) == big.read_bytes()
    try:
        await s.files.read("big.bin", max_bytes=2_999_999)
    except cellhold.ExhaustedError as error:
        assert "more than 2999999 bytes" in str(error)
    got = await s.files.download("big.bin", folder / "got.bin", on_progress=lambda sent, total: sizes.append(sent))
    assert got.read_bytes() == big.read_bytes() and sizes[-1] == 3_000_000
    await s.files.write("data/a.txt", "text", mode=0o600)
    await s.run("open(b'data/\\xff', 'w').write('odd'); open('/mnt/data/output/o.txt', 'w').write('out')")
    entries = await s.files.list("data")
    assert [entry.size for entry in entries] == [4, 3] and await s.files.read(entries[1]) == b"odd"
    assert (await s.files.stat("data/a.txt")).mode == "0600" and not await s.files.exists("data/none")
    await s.files.remove(entries[1])
    await s.files.move("data/a.txt", "data/b.txt")
    assert await s.files.read_text("data/b.txt") == "text"
    await s.files.mkdir("more")
    assert len(await s.files.write_many({"one.txt": "1", "two.txt": b"2"}, "more")) == 2
    await s.files.download_folder("more", folder / "more")
    assert (folder / "more" / "two.txt").read_text() == "2"
    await s.files.upload_folder(folder / "more", "again")
    packed = await s.files.download_archive("again", folder / "again.zip", format="zip")
    assert (await s.files.upload_archive(packed.read_bytes(), "third")).entries == 2
    [output] = [file for file in await s.files.outputs() if file.path == "o.txt"]  # a user has one folder of outputs
    assert output.size == 3 and await s.files.read_output(output) == b"out"
    async for change in s.files.watch("more"):
        if change is None:
            await s.files.write("more/three.txt", "3")
        else:
            assert change.path == "/workspace/more/three.txt"
            break


async def commands(s: AsyncSession) -> None:
    command = await s.commands.run(["sh", "-c", "cat; echo error >&2"], input="in", env={"B": "2"})
    assert command.ok and command.stdout == "in" and command.stderr == "error\n"
    try:
        await s.commands.run("echo why >&2; exit 3")
    except cellhold.CommandError as error:
        assert error.command.exit_code == 3 and "exit status 3" in str(error) and "why" in str(error)
    lines: list[str] = []
    await s.commands.run("echo a; sleep 0.1; echo b", on_stdout=lines.append)
    assert "".join(lines) == "a\nb\n"
    shell = await s.commands.start("cat", terminal=(24, 80), tag="shell")
    await shell.resize(30, 100)
    await shell.write("typed\n")
    text = ""
    async for event in shell.events():
        text += event.text
        if text.count("typed") == 2:  # the echo of the terminal, and the output of cat
            await shell.close_input()
    assert (await shell.wait()).ok, shell.data
    sleeper = await s.commands.start(["sleep", "600"])
    await sleeper.signal("INT")
    assert (await sleeper.wait()).status == "signal"
    other = await s.commands.start(["sleep", "600"])
    try:
        await other.wait(0.01)
    except cellhold.WaitTimeout as error:
        assert error.waited is other
    await other.kill()
    assert (await s.commands.get(other.id)).done and len(await s.commands.list()) == 6


async def ports(s: AsyncSession) -> None:
    try:
        await s.ports.request("GET", 8000)
    except cellhold.NotFoundError as error:
        assert "No program listens on port 8000" in str(error)
    await s.files.write("site/page.html", "<p>hello</p>")
    program = await s.commands.start("exec python3 -m http.server 8000 --bind 127.0.0.1 --directory site")
    page = await s.ports.request("GET", 8000, "/page.html", wait=120)
    assert page.status_code == 200 and page.text == "<p>hello</p>" and page.headers["Content-Type"] == "text/html"
    assert (await s.ports.request("GET", 8000, "/none")).status_code == 404
    assert (await s.ports.request("PUT", 8000, "/page.html", content="x")).status_code == 501
    async with s.ports.stream("GET", 8000, "page.html", headers={"Range": "bytes=0-"}) as answer:
        assert b"".join([piece async for piece in answer.aiter_bytes()]) == page.content
    try:
        await s.ports.request("GET", 8000, "/page.html", max_bytes=11)
    except cellhold.ExhaustedError as error:
        assert "more than 11 bytes" in str(error)
    async with httpx.AsyncClient(trust_env=False) as http:  # as other programs do
        url = await s.ports.url(8000, "/page.html")
        assert (await http.get(url, headers=await s.ports.headers())).text == "<p>hello</p>"
        assert (await http.get(url)).status_code == 401
    assert not (await s.ports.access()).public
    try:
        await s.ports.host(8000)
    except cellhold.UnsupportedError as error:
        assert "--host" in str(error)
    await program.kill()


async def penguins(s: AsyncSession) -> None:
    demo = Path(__file__).parents[2] / "demo"
    await s.files.upload(demo / "data" / "penguins.csv")
    for file in sorted((demo / "cells").glob("*.py")):
        code = file.read_text().replace("/mnt/data/penguins.csv", "penguins.csv")
        cell = await s.run(code, raise_on_error="mistake" not in file.name)
        assert cell.ok or "KeyError: 'specie'" in str(cell.error)
    assert len(cell.figures) == 1 and len(cell.figures[0].png) > 50_000


async def kernels(s: AsyncSession) -> None:
    assert "bash" in [spec.name for spec in await s.kernels.specs()]
    bash = await s.kernels.start("bash")
    assert (await bash.run("x=1; echo $x")).text == "1\n"
    assert [entry.code for entry in await bash.history()] == ["x=1; echo $x"]
    await bash.restart()
    assert (await bash.run("echo [$x]")).text == "[]\n"
    assert [kernel.id for kernel in await s.kernels.list()] == ["python3", "bash"]
    await bash.delete()


async def introspection(s: AsyncSession) -> None:
    await s.run("import math")
    found = await s.complete("x = math.fact", 13)
    assert [(match.text, found.start, found.end) for match in found.matches] == [("factorial", 9, 13)]
    described = await s.inspect("math.factorial")
    assert described.found and "Find n!" in described.data["text/plain"]
    assert (await s.is_complete("for i in [1]:")).status == "incomplete"
    assert (await s.kernels.list())[0].id == "python3"
    assert (await s.history(limit=1))[0].code == "import math"


async def notebook(s: AsyncSession, client: AsyncClient, folder: Path) -> None:
    saved = await s.notebook.save(folder / "a.ipynb")
    assert b"ZeroDivisionError" in await s.notebook.read("py") or b"1/0" in await s.notebook.read("py")
    async with client.session() as other:
        ids = await other.notebook.load(saved)
        assert len(ids) == len(await other.cells.list()) > 5


async def snapshots(s: AsyncSession) -> None:
    await s.run("x = 1")
    await s.checkpoint("one")
    await s.run("x = 2")
    await s.rollback("one")
    assert (await s.run("x")).result == "1"
    fork, other = await s.fork(2)
    await s.run("x = 3")
    async with fork, other:
        assert (await fork.run("x")).result == "1" and (await other.info()).parent == s.id
    assert [checkpoint.name for checkpoint in await s.checkpoints.list()] == ["one"]
    await s.checkpoints.delete("one")
    await s.hibernate()
    assert (await s.info()).state == "hibernated"
    await s.resume()
    assert (await s.run("x")).result == "3"
    await s.restart()
    assert not (await s.run("x", raise_on_error=False)).ok


async def ends(s: AsyncSession, client: AsyncClient) -> None:
    assert (await s.set_deadline(600)) is not None
    assert [session.id for session in await client.sessions()] == [s.id]
    async with AsyncSession.attach(s.id, client=client) as same:
        assert (await same.info()).metadata == {"for": "tour"}
    assert (await s.run("1")).result == "1"


async def network(server: dict[str, str], host: str) -> None:
    """Installs a package and uses the network, with a secret."""
    seconds: list[float] = []
    secrets: dict[str, Any] = {"KEY": ("www.example.org", "hidden")}
    async with AsyncSession(**server, egress=["*.example.org"], secrets=secrets, packages=["humanize"]) as s:
        made = await s.packages.install("example>=1", on_progress=seconds.append)
        assert [change.name for change in made.changes] == ["example"]
        assert [package.name for package in await s.packages.list()] == ["example", "humanize"]
        assert "example==" in await s.packages.lock()
        assert (await s.packages.remove("example")).changes[0].after is None
        code = (
            f"import os, urllib.request; print(os.environ['KEY'] == 'hidden'); urllib.request.urlopen({host!r}).status"
        )
        cell = await s.run(code)
        assert cell.stdout == "False\n" and cell.result == "200"
        assert (await s.egress.attempts())[0].decision == "allowed"
        assert (await s.egress.policy()).hosts == ["*.example.org"]
