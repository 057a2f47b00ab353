"""Uses a server as a gateway: from nbclient, papermill and a Jupyter server. Prints one line for each step.

The arguments are the URL without a token, the token, and the URL with the token in its path.
"""

import asyncio
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import urllib.request
import uuid

plain, token, tokened = sys.argv[1:]
os.environ["JUPYTER_GATEWAY_URL"] = tokened
os.environ["JUPYTER_GATEWAY_REQUEST_TIMEOUT"] = "60"

import nbformat
import papermill
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tornado.websocket import websocket_connect

MANAGER = "jupyter_server.gateway.managers.GatewayKernelManager"


# The clients here cannot read a message with such a buffer.
BINARY = "from comm import create_comm\ncomm = create_comm(target_name='t', data={}, buffers=[bytes([0, 200])])\nprint('on')"


def step(name):
    print(name, flush=True)


def want(got, expected):
    assert got == expected, f"got {got!r}, want {expected!r}"


def notebook(*codes):
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in codes], metadata={"kernelspec": spec})


def kernels():
    request = urllib.request.Request(plain + "/api/kernels", headers={"Authorization": "token " + token})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def execute(nb):
    return NotebookClient(nb, timeout=120, kernel_manager_class=MANAGER).execute()


def nbclient_story():
    nb = execute(notebook("x = 41", "print('out')\nx + 1"))
    want([(o.output_type, o.get("text") or o.data["text/plain"]) for o in nb.cells[1].outputs], [("stream", "out\n"), ("execute_result", "42")])
    large = "é" * 300000  # several frames of the WebSocket
    nb = execute(notebook(f"from IPython.display import display, HTML\ndisplay(HTML('{large}'))"))
    want(nb.cells[0].outputs[0].data["text/html"] == large, True)
    nb = execute(notebook(BINARY))
    want([o.name for o in nb.cells[0].outputs], ["stderr", "stdout"])
    try:
        execute(notebook("1 / 0"))
        raise AssertionError("the cell failed, and nbclient did not notice")
    except CellExecutionError as error:
        want(error.ename, "ZeroDivisionError")
    want(kernels(), [])
    step("nbclient")


def papermill_story(folder):
    nb = notebook("n = 1", "print('n is', n)")
    nb.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nb, folder / "in.ipynb")
    papermill.execute_notebook(str(folder / "in.ipynb"), str(folder / "out.ipynb"), parameters={"n": 42}, kernel_manager_class=MANAGER, progress_bar=False)
    out = nbformat.read(folder / "out.ipynb", 4)
    want(out.cells[-1].outputs[0].text, "n is 42\n")
    step("papermill")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Lab:
    """A Jupyter server whose kernels are those of the gateway, and its client."""

    def __init__(self, folder):
        self.port = free_port()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER_GATEWAY")} | {"HOME": str(folder), "JUPYTER_PREFER_ENV_PATH": "0"}
        self.log = open(folder / "log", "w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", f"--gateway-url={plain}", f"--GatewayClient.auth_token={token}", f"--port={self.port}",
             "--IdentityProvider.token=local", "--no-browser", "--allow-root", f"--ServerApp.root_dir={folder}"],
            env=environment, stdout=self.log, stderr=subprocess.STDOUT)

    def call(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": "token local", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    async def ready(self):
        for _ in range(600):
            try:
                return self.call("GET", "/api/status")
            except OSError:
                assert self.process.poll() is None, "the Jupyter server ended"
                await asyncio.sleep(0.1)
        raise AssertionError("the Jupyter server did not start")

    async def run(self, ws, code):
        """Run code, and return its reply and the text of its streams."""
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "s", "username": "", "version": "5.3", "date": "2026-01-01T00:00:00Z"}
        await ws.write_message(json.dumps({"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": {"code": code, "silent": False, "allow_stdin": False}}))
        text, reply, idle = "", None, False
        while reply is None or not idle:
            m = json.loads(await asyncio.wait_for(ws.read_message(), 120))
            if m["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            if m["msg_type"] == "stream":
                text += m["content"]["text"]
                if "interrupt me" in m["content"]["text"]:
                    await asyncio.to_thread(self.call, "POST", f"/api/kernels/{self.kernel}/interrupt", {})
            reply = m["content"] if m["msg_type"] == "execute_reply" else reply
            idle = idle or m["content"].get("execution_state") == "idle"
        return reply, text

    async def story(self):
        await self.ready()
        specs = self.call("GET", "/api/kernelspecs")
        want([specs["default"], "bash" in specs["kernelspecs"]], ["python3", True])
        s = self.call("POST", "/api/sessions", {"path": "a.ipynb", "name": "a.ipynb", "type": "notebook", "kernel": {"name": "python3"}})
        self.kernel = s["kernel"]["id"]
        want([k["id"] for k in kernels()], [self.kernel])
        ws = await websocket_connect(f"ws://127.0.0.1:{self.port}/api/kernels/{self.kernel}/channels?session_id=s&token=local")
        want((await self.run(ws, "x = 1\nprint('hello')"))[1], "hello\n")
        text = (await self.run(ws, BINARY))[1]
        want(["dropped binary data" in text, text.endswith("on\n")], [True, True])
        want((await self.run(ws, "import time\nprint('interrupt me', flush=True)\ntime.sleep(60)"))[0]["ename"], "KeyboardInterrupt")
        want(await asyncio.to_thread(self.call, "POST", f"/api/kernels/{self.kernel}/restart", {}) is not None, True)
        ws.close()
        ws = await websocket_connect(f"ws://127.0.0.1:{self.port}/api/kernels/{self.kernel}/channels?session_id=s2&token=local")
        want((await self.run(ws, "x"))[0]["ename"], "NameError")
        ws.close()
        self.call("DELETE", f"/api/sessions/{s['id']}")
        want(kernels(), [])
        step("a Jupyter server with a gateway")

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    nbclient_story()
    papermill_story(folder)
    lab = Lab(folder)
    try:
        asyncio.run(lab.story())
    except BaseException:
        print((folder / "log").read_text(), file=sys.stderr)
        raise
    finally:
        lab.close()
step("done")
