"""A client of the kernel on the stream, for interactions.py."""

import json
import os
import socket
import struct
import subprocess
import time

CHANNELS = {1: "shell", 2: "control", 3: "stdin", 4: "iopub"}
SHELL, CONTROL, STDIN = 1, 2, 3
HEAD = struct.Struct("<IBBH")


class Kernel:
    """A kernel of its own."""

    def __init__(self):
        self.sock, theirs = socket.socketpair()
        memory = os.memfd_create("unsent")
        os.truncate(memory, 1 << 20)
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-m", "cellhold_kernel", "-f", "unused"], pass_fds=[theirs.fileno(), memory],
            start_new_session=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "CELLHOLD_STREAM": str(theirs.fileno()), "CELLHOLD_UNSENT": str(memory)})
        theirs.close()
        os.close(memory)
        self.data = b""
        self.sent = 0
        self.ready = self.request("kernel_info_request", {})

    def send(self, channel, kind, content, **header):
        """Sends a message; returns its id (str)."""
        self.sent += 1
        header = {"msg_id": f"own_{self.sent}", "msg_type": kind, "session": "own", "username": "me",
                  "date": "2026-01-02T03:04:05.678900Z", "version": "5.3", **header}
        self.header = json.dumps(header).encode()
        parts = [self.header, b"{}", b"{}", json.dumps(content).encode()]
        sizes = [len(part) for part in parts]
        self.sock.sendall(HEAD.pack(20 + sum(sizes), channel, 0, 4) + struct.pack("<4I", *sizes) + b"".join(parts))
        return header["msg_id"]

    def receive(self, seconds=60):
        """Returns the next message (dict)."""
        self.sock.settimeout(seconds)
        while True:
            if len(self.data) >= HEAD.size:
                size, channel, zero, count = HEAD.unpack_from(self.data)
                if len(self.data) >= 4 + size:
                    break
            received = self.sock.recv(1 << 16)
            if not received:
                raise EOFError
            self.data += received
        assert zero == 0
        sizes = struct.unpack_from(f"<{count}I", self.data, HEAD.size)
        parts, at = [], HEAD.size + 4 * count
        for length in sizes:
            parts.append(self.data[at : at + length])
            at += length
        assert at == 4 + size
        self.data = self.data[at:]
        header, parent, metadata, content = map(json.loads, parts[:4])
        return {"channel": CHANNELS[channel], "type": header["msg_type"], "of": parent.get("msg_id"), "parent": parts[1],
                "content": content, "buffers": parts[4:], "at": time.monotonic()}

    def request(self, kind, content, channel=SHELL, on=None):
        """Sends a request; returns all messages until its reply and its idle status (list of dict)."""
        request = self.send(channel, kind, content)
        return self.until_done(request, on)

    def until_done(self, request, on=None):
        messages, replied, idle = [], False, False
        while not (replied and idle):
            message = self.receive()
            messages.append(message)
            if message["of"] == request:
                replied = replied or message["channel"] in ("shell", "control")
                idle = idle or message["content"].get("execution_state") == "idle"
            if on:
                on(message)
        return messages

    def run(self, code, on=None, **more):
        """Runs a cell; returns its messages."""
        return self.request("execute_request", {"code": code, "silent": False, "store_history": True, "allow_stdin": True,
                                                "user_expressions": {}, "stop_on_error": False, **more}, on=on)

    def close(self):
        self.sock.close()
        return self.process.wait(60)


def text(messages, name="stdout"):
    """Returns the text of a stream."""
    return "".join(m["content"]["text"] for m in messages if m["type"] == "stream" and m["content"]["name"] == name)


def reply(messages):
    return next(m["content"] for m in messages if m["type"] == "execute_reply")
