"""The Jupyter Kernel Gateway, and a client of its REST and WebSocket API. Its kernels are not isolated."""
import atexit
import json
import signal
import socket
import subprocess
import sys
import time
import uuid

import requests
import websocket

import lines

TIMEOUT = 120  # seconds
http = requests.Session()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Session:
    def __init__(self):
        answer = http.post(f"{url}/api/kernels", json={"name": "python3"}, timeout=TIMEOUT)
        answer.raise_for_status()
        self.kernel, self.session = answer.json()["id"], uuid.uuid4().hex
        address = url.replace("http", "ws") + f"/api/kernels/{self.kernel}/channels?session_id={self.session}"
        self.socket = websocket.create_connection(address, timeout=TIMEOUT)
        self.ask("kernel_info_request", {})

    def ask(self, kind, content):
        """Sends a request, reads messages until its reply and its idle status have come, and returns its outputs."""
        message, outputs = uuid.uuid4().hex, lines.Outputs()
        header = {"msg_id": message, "msg_type": kind, "session": self.session, "username": "bench",
                  "date": "2026-01-01T00:00:00Z", "version": "5.3"}
        self.socket.send(json.dumps({"channel": "shell", "header": header, "parent_header": {}, "metadata": {},
                                     "content": content, "buffers": []}))
        replied = idle = False
        while not (replied and idle):
            heard = json.loads(self.socket.recv())
            if heard["parent_header"].get("msg_id") != message:
                continue
            replied = replied or heard["channel"] == "shell"
            idle = idle or heard["content"].get("execution_state") == "idle"
            outputs.take(heard)
        return outputs.result()

    def run(self, code):
        return self.ask("execute_request", {"code": code, "silent": False, "store_history": True, "user_expressions": {},
                                            "allow_stdin": False, "stop_on_error": True})

    def close(self):
        self.socket.close()
        http.delete(f"{url}/api/kernels/{self.kernel}", timeout=TIMEOUT).raise_for_status()


def wait_until_ready(server):
    """Returns when the gateway answers."""
    until = time.monotonic() + TIMEOUT
    while time.monotonic() < until and server.poll() is None:
        try:
            return http.get(f"{url}/api", timeout=TIMEOUT).raise_for_status()
        except requests.ConnectionError:
            time.sleep(0.05)
    sys.exit("the gateway did not start")


if __name__ == "__main__":
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([sys.executable, "-m", "kernel_gateway", "--KernelGatewayApp.ip=127.0.0.1",
                               f"--KernelGatewayApp.port={port}", "--KernelGatewayApp.log_level=WARN"],
                              stdin=subprocess.DEVNULL, stdout=sys.stderr)

    def end():
        server.terminate()  # it shuts its kernels down
        server.wait(20)

    atexit.register(end)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    wait_until_ready(server)
    lines.serve(Session, end)
