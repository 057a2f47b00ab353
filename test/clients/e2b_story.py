"""Uses a server through the Python SDKs of E2B, with their environment variables. Prints one line for each step."""

import asyncio
import base64
import sys
import time

from e2b import (
    AuthenticationException,
    CommandExitException,
    FileNotFoundException,
    FileType,
    FilesystemEventType,
    InvalidArgumentException,
    NotFoundException,
    PtySize,
    SandboxException,
    SandboxQuery,
    SandboxState,
    TimeoutException,
)
from e2b import Sandbox as Base
from e2b_code_interpreter import AsyncSandbox, Sandbox
import httpx


STORY = f"py ä&= {time.time()}"


def step(name):
    print(name, flush=True)


def want(got, expected):
    assert got == expected, f"got {got!r}, want {expected!r}"


def refused(kind, f):
    try:
        f()
    except kind as e:
        return str(e)
    raise AssertionError(f"want {kind}")


def run_code(s):
    seen = {"out": [], "err": [], "results": [], "errors": []}
    e = s.run_code(
        "import sys\nprint('one')\nprint('two', file=sys.stderr)\nx = 41\nx + 1",
        on_stdout=lambda m: seen["out"].append(m.line),
        on_stderr=lambda m: seen["err"].append(m.line),
        on_result=lambda r: seen["results"].append(r.text),
        on_error=lambda x: seen["errors"].append(x.name),
    )
    want(e.text, "42")
    want(e.logs.stdout, ["one\n"])
    want(e.logs.stderr, ["two\n"])
    want(e.execution_count, 2)
    want(seen, {"out": ["one\n"], "err": ["two\n"], "results": ["42"], "errors": []})
    want(s.run_code("x").text, "41")
    want(s.run_code("'text'").text, "text")
    e = s.run_code("1 / 0", on_error=lambda x: seen["errors"].append(x.name))
    want(e.error.name, "ZeroDivisionError")
    assert "ZeroDivisionError" in e.error.traceback
    want(seen["errors"], ["ZeroDivisionError"])
    step("run_code with callbacks")

    e = s.run_code("from IPython.display import HTML, Markdown, JSON, Latex, SVG, display\nfor d in (HTML('<b>h</b>'), Markdown('*m*'), JSON({'a': 1}), Latex('$x$'), SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')): display(d)\ndisplay({'text/plain': 'p', 'x/y': 'z'}, raw=True)")
    want([sorted(set(r.formats()) - {"text"}) for r in e.results], [["html"], ["markdown"], ["json"], ["latex"], ["svg"], ["x/y"]])
    want(e.results[2].json, {"a": 1})
    assert not any(r.is_main_result for r in e.results)
    e = s.run_code("import matplotlib.pyplot as plt\nplt.plot([1, 2], [3, 4], label='a')\nplt.title('T')\nplt.xlabel('time (s)')\nplt.show()")
    assert base64.b64decode(e.results[0].png).startswith(b"\x89PNG")
    chart = e.results[0].chart
    want((chart.type.value, chart.title, chart.x_label, chart.x_unit, chart.elements[0].label), ("line", "T", "time (s)", "s", "a"))
    want([list(p) for p in chart.elements[0].points], [[1, 3], [2, 4]])
    for code, kind in (("plt.scatter([1, 2], [3, 4])", "scatter"), ("plt.bar(['a', 'b'], [3, 4])", "bar"), ("plt.pie([1, 3], labels=['a', 'b'])", "pie"), ("plt.boxplot([[1, 2, 3, 9]])", "box_and_whisker"), ("plt.subplots(1, 2)", "superchart")):
        e = s.run_code(f"_ = {code}\nplt.show()")
        want(e.results[0].chart.type.value, kind)
        if kind == "bar":
            want([(b.label, b.value) for b in e.results[0].chart.elements], [("a", 3), ("b", 4)])
        if kind == "pie":
            want([b.label for b in e.results[0].chart.elements], ["a", "b"])
    e = s.run_code("import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': ['x', None]})")
    want(e.results[0].data, {"a": [1, 2], "b": ["x", None]})
    assert "<table" in e.results[0].html
    step("results, charts and tables")

    want(s.run_code("import os\nos.environ['CELL'], os.getcwd()", envs={"CELL": "it's \"1\""}).text, "('it\\'s \"1\"', '/home/user')")
    want(s.run_code("os.environ.get('CELL'), os.environ['SESSION']").text, "(None, 'yes')")
    s.run_code("    raise ValueError", envs={"CELL": "2"})
    want(s.run_code("os.environ.get('CELL')").text, None)
    want("".join(s.run_code("echo $CELL $SESSION; pwd", language="bash", envs={"CELL": "3"}).logs.stdout), "3 yes\n/home/user\n")
    step("environment")

    c = s.create_code_context(cwd="/tmp")
    want((c.language, c.cwd), ("python", "/tmp"))
    want(s.run_code("import os; x = 7; os.getcwd()", context=c).text, "/tmp")
    want(s.run_code("x").text, "41")
    assert c.id in [x.id for x in s.list_code_contexts()]
    s.restart_code_context(c)
    want(s.run_code("x", context=c).error.name, "NameError")
    s.remove_code_context(c.id)
    refused(NotFoundException, lambda: s.run_code("1", context=c))
    want(s.create_code_context(cwd="/root").cwd, "/root")
    refused(SandboxException, lambda: s.run_code("1", language="cobol"))
    step("contexts")

    refused(TimeoutException, lambda: s.run_code("import time\ntime.sleep(60)", timeout=2))
    want(s.run_code("'free'", timeout=20).text, "free")
    step("a client that leaves interrupts its code")


def files(s):
    w = s.files.write("a/b/ä \"q\".txt", "hello")
    want((w.path, w.type), ("/home/user/a/b/ä \"q\".txt", FileType.FILE))
    want(s.files.read("/home/user/a/b/ä \"q\".txt"), "hello")
    want(bytes(s.files.read("a/b/ä \"q\".txt", format="bytes")), b"hello")
    want(b"".join(s.files.read("a/b/ä \"q\".txt", format="stream")), b"hello")
    s.files.write("empty", "")
    want(s.files.read("empty"), "")
    data = bytes(range(256)) * 1000
    s.files.write("zip.bin", data, gzip=True)
    want(bytes(s.files.read("zip.bin", format="bytes")), data)
    many = s.files.write_files([{"path": "m/1.txt", "data": "1"}, {"path": "m/n/2 ü.txt", "data": b"2"}])
    want([x.path for x in many], ["/home/user/m/1.txt", "/home/user/m/n/2 ü.txt"])
    want([(e.name, e.type) for e in s.files.list("m", depth=2)], [("1.txt", FileType.FILE), ("n", FileType.DIR), ("2 ü.txt", FileType.FILE)])
    refused(FileNotFoundException, lambda: s.files.read("missing"))
    refused(NotFoundException, lambda: s.files.list("missing"))
    refused(InvalidArgumentException, lambda: s.files.list("m/1.txt"))
    want(s.files.make_dir("d/e"), True)
    want(s.files.make_dir("d/e"), False)
    info = s.files.rename("m/1.txt", "new/dir/1.txt")
    want((info.path, info.size, info.permissions, info.owner), ("/home/user/new/dir/1.txt", 1, "-rw-r--r--", "user"))
    want((s.files.exists("m/1.txt"), s.files.exists("new/dir/1.txt")), (False, True))
    s.commands.run("ln -s new/dir/1.txt link")
    want(s.files.get_info("link").symlink_target, "/home/user/new/dir/1.txt")
    want(s.files.get_info("d").permissions, "drwxr-xr-x")
    s.files.remove("new")
    s.files.remove("new")
    want(s.files.exists("new"), False)
    refused(AuthenticationException, lambda: s.files.list("m", user="nobody"))
    step("files")

    url = s.download_url("zip.bin", use_signature_expiration=60)
    want(httpx.get(url).content, data)
    want(httpx.get(url.replace("zip.bin", "empty")).status_code, 401)
    want(httpx.get(s.download_url("zip.bin", use_signature_expiration=-10)).status_code, 401)
    want(httpx.post(s.upload_url("up.txt"), files={"file": ("up.txt", b"signed")}).status_code, 200)
    want(s.files.read("up.txt"), "signed")
    step("signed URLs")

    s.files.write("watched/old.txt", "1")
    watch = s.files.watch_dir("watched", recursive=True)
    s.files.write("watched/old.txt", "2")
    s.files.write("watched/sub/new.txt", "3")
    s.files.remove("watched/old.txt")
    seen = []
    expected = {(FilesystemEventType.WRITE, "old.txt"), (FilesystemEventType.REMOVE, "old.txt"), (FilesystemEventType.CREATE, "sub"), (FilesystemEventType.CREATE, "sub/new.txt")}
    for _ in range(100):
        seen += [(e.type, e.name) for e in watch.get_new_events()]
        if expected <= set(seen) or {(FilesystemEventType.REMOVE, "old.txt"), (FilesystemEventType.CREATE, "sub")} <= set(seen):
            break
        time.sleep(0.1)
    assert (FilesystemEventType.CREATE, "sub") in seen and (FilesystemEventType.REMOVE, "old.txt") in seen, seen
    watch.stop()
    step("watch")


def commands(s):
    out = []
    r = s.commands.run("echo out; echo err >&2; echo $SESSION $MINE; pwd", envs={"MINE": "m"}, on_stdout=out.append)
    want((r.stdout, r.stderr, r.exit_code), ("out\nyes m\n/home/user\n", "err\n", 0))
    want("".join(out), r.stdout)
    want(s.commands.run("pwd", cwd="/tmp").stdout, "/tmp\n")
    want(s.commands.run("cat").stdout, "")
    try:
        s.commands.run("exit 3")
        raise AssertionError("want an exit")
    except CommandExitException as e:
        want(e.exit_code, 3)
    refused(InvalidArgumentException, lambda: s.commands.run("true", cwd="/missing"))
    refused(TimeoutException, lambda: s.commands.run("sleep 60", timeout=1))
    assert "root" in refused(SandboxException, lambda: s.commands.run("id", user="root"))
    step("commands")

    c = s.commands.run("cat; echo done", background=True, stdin=True)
    s.commands.send_stdin(c.pid, "a\n")
    c.send_stdin("b\n")
    want(s.commands.run(f"kill -0 {c.pid}").exit_code, 0)
    assert c.pid in [p.pid for p in s.commands.list()]
    c.close_stdin()
    want(c.wait().stdout, "a\nb\ndone\n")
    c = s.commands.run("read x; echo got $x; sleep 60", background=True, stdin=True)
    c.disconnect()
    again = s.commands.connect(c.pid)
    again.send_stdin("y\n")
    for out, _, _ in again:
        if out:
            want(out, "got y\n")
            break
    want(s.commands.kill(c.pid), True)
    want(s.commands.kill(c.pid), False)
    step("input, list, connect and kill")

    terminal = s.pty.create(size=PtySize(rows=24, cols=80))
    s.pty.resize(terminal.pid, PtySize(rows=30, cols=100))
    s.pty.send_stdin(terminal.pid, b"stty size; exit\n")
    seen = []
    terminal.wait(on_pty=lambda b: seen.append(bytes(b)))
    assert b"30 100" in b"".join(seen), seen
    step("terminal")


def lifecycle():
    s = Sandbox.create(timeout=300, metadata={"story": STORY}, envs={"SESSION": "yes"})
    assert s.is_running()
    info = s.get_info()
    want((info.sandbox_id, info.metadata, info.state), (s.sandbox_id, {"story": STORY}, SandboxState.RUNNING))
    s.set_timeout(600)
    assert (s.get_info().end_at - info.end_at).total_seconds() > 200
    found = Sandbox.list(query=SandboxQuery(metadata={"story": STORY}, state=[SandboxState.RUNNING])).next_items()
    want([x.sandbox_id for x in found], [s.sandbox_id])
    other = Sandbox.create(timeout=60)
    pages = Sandbox.list(limit=1)
    ids = []
    while pages.has_next:
        ids += [x.sandbox_id for x in pages.next_items()]
    assert {s.sandbox_id, other.sandbox_id} <= set(ids), ids
    assert s.get_metrics()[0].mem_used > 0
    want(other.kill(), True)
    want(other.kill(), False)
    want(other.is_running(), False)
    want(Sandbox.connect(s.sandbox_id).run_code("1").text, "1")
    refused(NotFoundException, lambda: Sandbox.connect("s0123456789abcdef"))
    refused(AuthenticationException, lambda: Sandbox.create(api_key="e2b_" + "0" * 40))
    refused(SandboxException, lambda: Sandbox.create(template="no-such-template"))
    assert "mcp" in refused(Exception, lambda: Sandbox.create(mcp={"x": {}})).lower()
    step("create, connect, list, timeouts, metrics and kill")
    return s


def pauses(s):
    s.run_code("kept = 'memory'")
    s.files.write("kept.txt", "disk")
    s.pause()
    want(s.is_running(), False)
    want(s.get_info().state, SandboxState.PAUSED)
    refused(Exception, lambda: s.run_code("1"))
    s.connect(timeout=300)
    want((s.run_code("kept").text, s.files.read("kept.txt")), ("memory", "disk"))
    step("pause and resume")

    fork = s.fork()[0]
    want(fork.run_code("kept").text, "memory")
    fork.kill()
    snapshot = s.create_snapshot()
    s.run_code("kept = 'later'")
    copy = Sandbox.create(snapshot.snapshot_id)
    want(copy.run_code("kept").text, "memory")
    copy.kill()
    want(Sandbox.delete_snapshot(snapshot.snapshot_id), True)
    step("fork and snapshots")

    auto = Sandbox.create(timeout=3, lifecycle={"on_timeout": "pause", "auto_resume": True})
    auto.run_code("kept = 1")
    for _ in range(200):
        if auto.get_info().state == SandboxState.PAUSED:
            break
        time.sleep(0.1)
    want(auto.get_info().state, SandboxState.PAUSED)
    want(auto.run_code("kept").text, "1")
    auto.kill()
    step("auto-pause and auto-resume")


def base():
    s = Base.create(template="base", timeout=60, allow_internet_access=False)
    want(s.commands.run("whoami; echo $HOME").stdout, "user\n/home/user\n")
    s.kill()
    refused(Exception, lambda: s.commands.run("true"))
    s = Base.create(timeout=60, network={"allow_out": ["example.org"], "deny_out": ["0.0.0.0/0"]})
    want(list(s.get_info().network["allow_out"] if isinstance(s.get_info().network, dict) else s.get_info().network.allow_out), ["example.org"])
    s.kill()
    want(Base.create(timeout=60, allow_internet_access=True).kill(), True)
    refused(SandboxException, lambda: Base.create(network={"allow_out": ["10.0.0.0/8"]}))
    step("base, and the network")


async def asynchronous():
    s = await AsyncSandbox.create(timeout=120)
    want((await s.run_code("6 * 7")).text, "42")
    events = asyncio.Queue()
    await s.files.make_dir("w")
    watch = await s.files.watch_dir("w", on_event=events.put)
    await s.files.write("w/f.txt", "1")
    e = await asyncio.wait_for(events.get(), 10)
    want((e.type, e.name), (FilesystemEventType.CREATE, "f.txt"))
    await watch.stop()
    r = await s.commands.run("echo async")
    want(r.stdout, "async\n")
    c = await s.commands.run("cat", background=True, stdin=True)
    pipe = s.commands.stream_input(c.pid)
    for text in ("a", "b\n"):
        await pipe.send(text)
    await pipe.close()
    await s.commands.close_stdin(c.pid)
    want((await c.wait()).stdout, "ab\n")
    seen = []
    terminal = await s.pty.create(size=PtySize(rows=24, cols=80), on_data=lambda b: None)
    await terminal.disconnect()
    await s.pty.connect(terminal.pid, on_data=seen.append)
    await s.pty.send_stdin(terminal.pid, b"echo b$((1+1))\n")
    while b"b2" not in b"".join(seen):
        await asyncio.sleep(0.1)
    want([await s.pty.kill(terminal.pid), await s.pty.kill(terminal.pid)], [True, False])
    step("streamed input, and a terminal that is joined again")

    task = asyncio.create_task(s.run_code("import time\nprint('begun', flush=True)\ntime.sleep(60)"))
    await asyncio.sleep(2)
    await s.kill()
    try:
        await task
        raise AssertionError("want an error")
    except Exception as e:
        assert "kill" in str(e).lower() or "timeout" in str(e).lower() or "closed" in str(e).lower(), repr(e)
    want(await s.is_running(), False)
    step("async, and a kill during a run")


def main():
    s = lifecycle()
    run_code(s)
    files(s)
    commands(s)
    pauses(s)
    s.kill()
    base()
    asyncio.run(asynchronous())


main()
