"""The design of the article that this project started with (docs/how-to/use-the-articles-client.md), for comparison: a
small FastAPI server that starts a kernel for each user with jupyter_client. It has no isolation: the article puts the
server and all kernels into one container.

    python server.py FOLDER     # prints its address; notebooks go to the folder
"""
import asyncio
import contextlib
import os
import queue
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import nbformat
import uvicorn
from fastapi import FastAPI, Form, HTTPException
from jupyter_client import KernelManager
from pydantic import BaseModel

IMPORTS = "import numpy as np\nimport pandas as pd\nimport matplotlib.pyplot as plt"
TIMEOUT = 120  # seconds that code can take


class Controller:
    """One user's kernel and notebook."""

    def __init__(self, path):
        self.path, self.notebook = path, nbformat.v4.new_notebook()

    def start(self):
        self.save()
        self.manager = KernelManager()
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT)
        self.run(IMPORTS)

    def save(self):
        with open(self.path, "w") as f:
            nbformat.write(self.notebook, f)

    def run(self, code):
        """Runs code and returns its text, its plots as base64, and its traceback."""
        text, plots, traceback = [], [], []
        message = self.client.execute(code)
        while True:
            heard = self.client.get_iopub_msg(timeout=TIMEOUT)
            if heard["parent_header"].get("msg_id") != message:
                continue
            kind, content = heard["msg_type"], heard["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return "".join(text), plots, traceback
            if kind == "stream":
                text.append(content["text"])
            elif kind in ("execute_result", "display_data"):
                plots += [content["data"]["image/png"]] if "image/png" in content["data"] else []
                text.append(content["data"].get("text/plain", ""))
            elif kind == "error":
                traceback = content["traceback"]

    def execute(self, code):
        result = self.run(code)
        self.notebook.cells.append(nbformat.v4.new_code_cell(code))
        self.save()
        return result

    def end(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        os.remove(self.path)


class Code(BaseModel):
    user_id: str
    code: str


@contextlib.asynccontextmanager
async def lifespan(_):
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(64))  # so that users do not wait for each other
    yield
    for user in list(users.values()):
        await asyncio.to_thread(user.end)


app, users = FastAPI(lifespan=lifespan), {}


@app.post("/start_session")
async def start_session(user_id: str = Form()):
    controller = Controller(os.path.join(folder, user_id + ".ipynb"))
    await asyncio.to_thread(controller.start)
    users[user_id] = controller
    return {"message": "Session started successfully", "notebook_path": controller.path}


@app.post("/execute")
async def execute(code: Code):
    if code.user_id not in users:
        raise HTTPException(404, "Session not found. Please start a new session.")
    try:
        text, plots, traceback = await asyncio.to_thread(users[code.user_id].execute, code.code)
    except queue.Empty:
        raise HTTPException(408, "Code execution timed out") from None
    if traceback:
        raise HTTPException(400, {"error": "Execution error", "traceback": traceback})
    return {"output": text, "plots": plots}


@app.post("/end_session")
async def end_session(user_id: str = Form()):
    if user_id not in users:
        raise HTTPException(404, "Session not found.")
    await asyncio.to_thread(users.pop(user_id).end)
    return {"message": "Session ended"}


if __name__ == "__main__":
    folder = sys.argv[1]
    # With IPPROTO_TCP, asyncio disables Nagle's algorithm, as on uvicorn's own sockets: small answers are sent at once.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
