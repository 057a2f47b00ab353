"""Raw clients of a kernel, without a library for Jupyter. Each starts a kernel of its own. This file runs in a cell inside
a sandbox, and drivers/raw.py imports it on the host.
"""
import hashlib, hmac, json, os, socket, struct, subprocess, sys, tempfile, time, uuid

import zmq


class Client:
    """The common part. A subclass connects to a kernel and has two methods: send(parts) sends a message on the shell
    channel, and finish(message) waits for the reply to this message and for its idle status."""

    def heard(self, header, content):
        """Gets each message of the iopub channel; a subclass can use it."""

    def ask(self, kind, content):
        """Sends one request on the shell channel and returns its id."""
        header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": "raw", "username": "raw",
                  "date": "2026-01-01T00:00:00Z", "version": "5.3"}
        self.send([json.dumps(x).encode() for x in (header, {}, {}, content)])
        return header["msg_id"]

    def execute(self, code):
        self.finish(self.ask("execute_request", {"code": code, "silent": False, "store_history": True,
                                                 "user_expressions": {}, "allow_stdin": False, "stop_on_error": False}))

    def measure(self, rounds):
        """Runs 1+1 in so many rounds and returns a JSON list of durations in seconds."""
        took = []
        for _ in range(rounds):
            begun = time.perf_counter()
            self.execute("1+1")
            took.append(time.perf_counter() - begun)
        return json.dumps(took)


class ZeroMQ(Client):
    """A client of ipykernel over ZeroMQ, with sockets of the file system."""

    def __init__(self):
        self.folder, self.key = tempfile.mkdtemp(), uuid.uuid4().hex
        path = self.folder + "/c.json"
        connection = {"transport": "ipc", "ip": self.folder + "/k", "key": self.key, "signature_scheme": "hmac-sha256",
                      "shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}
        with open(path, "w") as f:
            json.dump(connection, f)
        self.process = subprocess.Popen([sys.executable, "-m", "ipykernel_launcher", "-f", path], cwd=self.folder,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        context = zmq.Context.instance()
        self.shell, self.iopub = context.socket(zmq.DEALER), context.socket(zmq.SUB)
        self.iopub.setsockopt(zmq.SUBSCRIBE, b"")
        self.shell.connect(f"ipc://{self.folder}/k-1")
        self.iopub.connect(f"ipc://{self.folder}/k-2")
        while not self.finish(self.ask("kernel_info_request", {}), 1000):
            pass  # iopub was not connected yet

    def send(self, parts):
        sign = hmac.new(self.key.encode(), digestmod=hashlib.sha256)
        for part in parts:
            sign.update(part)
        self.shell.send_multipart([b"<IDS|MSG>", sign.hexdigest().encode(), *parts])

    def finish(self, message, idle_timeout=-1):
        """Waits at most idle_timeout ms for the idle status, and returns whether it has arrived; -1 is no limit."""
        while self.receive(self.shell)[1].get("msg_id") != message:
            pass
        while idle_timeout < 0 or self.iopub.poll(idle_timeout):
            header, parent, content = self.receive(self.iopub)
            self.heard(header, content)
            if parent.get("msg_id") == message and content.get("execution_state") == "idle":
                return True
        return False

    def receive(self, socket):
        """Returns the header, the parent header and the content of the next message."""
        parts = socket.recv_multipart()
        i = parts.index(b"<IDS|MSG>")
        return json.loads(parts[i + 2]), json.loads(parts[i + 3]), json.loads(parts[i + 5])


class Stream(Client):
    """A client of the image's kernel over a stream; docs/decisions/0035-one-stream-per-kernel.md has its frames."""

    HEAD = struct.Struct("<IBBH")  # length of the rest, channel, zero, number of parts
    SHELL, IOPUB = 1, 4

    def __init__(self):
        self.sock, theirs = socket.socketpair()
        unsent = os.memfd_create("unsent")  # the agent gives this memory to each kernel
        os.truncate(unsent, 1 << 20)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cellhold_kernel", "-f", "unused"], pass_fds=[theirs.fileno(), unsent],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "CELLHOLD_STREAM": str(theirs.fileno()), "CELLHOLD_UNSENT": str(unsent)})
        theirs.close()
        os.close(unsent)
        self.data = b""
        self.finish(self.ask("kernel_info_request", {}))

    def send(self, parts):
        sizes = [len(part) for part in parts]
        head = self.HEAD.pack(4 + 4 * len(parts) + sum(sizes), self.SHELL, 0, len(parts))
        self.sock.sendall(head + struct.pack(f"<{len(parts)}I", *sizes) + b"".join(parts))

    def finish(self, message):
        replied = idle = False
        while not (replied and idle):
            channel, header, parent, content = self.receive()
            if channel == self.IOPUB:
                self.heard(header, content)
            if parent.get("msg_id") == message:
                replied = replied or channel == self.SHELL
                idle = idle or content.get("execution_state") == "idle"

    def receive(self):
        """Returns the channel, the header, the parent header and the content of the next message."""
        while len(self.data) < 4 or len(self.data) < 4 + int.from_bytes(self.data[:4], "little"):
            received = self.sock.recv(1 << 16)
            if not received:
                raise EOFError(f"the kernel has ended with status {self.process.wait()}")
            self.data += received
        size, channel, _, count = self.HEAD.unpack_from(self.data)
        parts, at = [], self.HEAD.size + 4 * count
        for length in struct.unpack_from(f"<{count}I", self.data, self.HEAD.size):
            parts.append(self.data[at : at + length])
            at += length
        self.data = self.data[4 + size :]
        return channel, json.loads(parts[0]), json.loads(parts[1]), json.loads(parts[3])
