"""Runs in a cell of a sandbox, and starts two kernels of its own there: one with the image's settings and one without.
Later cells can then measure `1+1` in each of them with a raw ZeroMQ client: print(tuned.measure(ROUNDS)).
"""
import hashlib, hmac, json, os, subprocess, sys, tempfile, time, uuid
import zmq

BARE = """
from IPython.core import application
application.SYSTEM_CONFIG_DIRS[:] = []
from ipykernel import kernelapp
kernelapp.launch_new_instance()
"""


class Kernel:
    def __init__(self, *command):
        folder, self.key = tempfile.mkdtemp(), uuid.uuid4().hex
        path = folder + "/c.json"
        connection = {"transport": "ipc", "ip": folder + "/k", "key": self.key, "signature_scheme": "hmac-sha256",
                      "shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}
        with open(path, "w") as f:
            json.dump(connection, f)
        self.process = subprocess.Popen([sys.executable, *command, "-f", path], cwd=folder,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        context = zmq.Context.instance()
        self.shell, self.iopub = context.socket(zmq.DEALER), context.socket(zmq.SUB)
        self.iopub.setsockopt(zmq.SUBSCRIBE, b"")
        self.shell.connect(f"ipc://{folder}/k-1")
        self.iopub.connect(f"ipc://{folder}/k-2")
        while not self.finish(self.send("kernel_info_request", {}), 1000):
            pass  # iopub was not connected yet

    def send(self, kind, content):
        """Sends one request on the shell channel and returns its id."""
        header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": "raw", "username": "raw",
                  "date": "2026-01-01T00:00:00Z", "version": "5.3"}
        frames = [json.dumps(x).encode() for x in (header, {}, {}, content)]
        sign = hmac.new(self.key.encode(), digestmod=hashlib.sha256)
        for f in frames:
            sign.update(f)
        self.shell.send_multipart([b"<IDS|MSG>", sign.hexdigest().encode(), *frames])
        return header["msg_id"]

    def finish(self, message, patience=-1):
        """Waits for the reply to a request, and then for its idle status; reports whether that came (bool). patience is
        the longest wait for a message on iopub, in ms; a negative one has no end."""
        while receive(self.shell)[1].get("msg_id") != message:
            pass
        while patience < 0 or self.iopub.poll(patience):
            header, parent, content = receive(self.iopub)
            if header["msg_type"] == "status" and parent.get("msg_id") == message and content["execution_state"] == "idle":
                return True
        return False

    def ask(self, code):
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False,
                   "stop_on_error": False}
        return self.finish(self.send("execute_request", content))

    def measure(self, rounds):
        """Runs that many cells; returns a JSON list of their seconds, from the request to both the reply and the idle
        status."""
        took = []
        for _ in range(rounds):
            begun = time.perf_counter()
            self.ask("1+1")
            took.append(time.perf_counter() - begun)
        return json.dumps(took)


def receive(socket):
    """Returns header, parent header and content of the next message."""
    frames = socket.recv_multipart()
    i = frames.index(b"<IDS|MSG>")
    return json.loads(frames[i + 2]), json.loads(frames[i + 3]), json.loads(frames[i + 5])


tuned = Kernel("-m", "ipykernel_launcher")
untuned = Kernel("-c", BARE)
