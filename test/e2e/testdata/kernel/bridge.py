"""Lets clients of ZeroMQ use a kernel on the stream: python3 bridge.py -f CONNECTION_FILE

It is started as a kernel is. It starts the real kernel, and passes messages on between the sockets of the connection
file and the stream.
"""

import hashlib
import hmac
import json
import os
import signal
import socket
import struct
import subprocess
import sys

import zmq

DELIMITER = b"<IDS|MSG>"
CHANNELS = {"shell": 1, "control": 2, "stdin": 3, "iopub": 4}
HEAD = struct.Struct("<IBBH")


class Bridge:
    def __init__(self, connection):
        self.key = connection["key"].encode()
        context = zmq.Context()
        self.sockets = {}
        for name, number in CHANNELS.items():
            sock = context.socket(zmq.PUB if name == "iopub" else zmq.ROUTER)
            sock.sndhwm = 0
            self._bind(sock, connection, name)
            self.sockets[number] = sock
        self.heartbeat = context.socket(zmq.REP)
        self._bind(self.heartbeat, connection, "hb")
        self.clients = {}  # identities by the id of a request
        self.data = b""
        self.stream, theirs = socket.socketpair()
        self.kernel = subprocess.Popen(
            ["/usr/bin/python3", "-m", "cellhold_kernel", "-f", "unused"], pass_fds=[theirs.fileno()],
            start_new_session=True, env={**os.environ, "CELLHOLD_STREAM": str(theirs.fileno())})
        theirs.close()
        signal.signal(signal.SIGINT, lambda *_: os.killpg(self.kernel.pid, signal.SIGINT))

    def _bind(self, sock, connection, name):
        joint = ":" if connection["transport"] == "tcp" else "-"
        sock.linger = 1000
        sock.bind(f"{connection['transport']}://{connection['ip']}{joint}{connection[name + '_port']}")

    def run(self):
        poller = zmq.Poller()
        for sock in (*self.sockets.values(), self.heartbeat, self.stream):
            poller.register(sock, zmq.POLLIN)
        while True:
            for found, _ in poller.poll():
                if found is self.heartbeat:
                    self.heartbeat.send(self.heartbeat.recv())
                elif found == self.stream.fileno():
                    if not self.from_kernel():
                        return self.kernel.wait()
                else:
                    self.to_kernel(next(n for n, sock in self.sockets.items() if sock is found), found.recv_multipart())

    def to_kernel(self, channel, frames):
        at = frames.index(DELIMITER)
        parts = frames[at + 2 :]
        self.clients[json.loads(parts[0])["msg_id"]] = frames[:at]
        sizes = [len(part) for part in parts]
        head = HEAD.pack(4 + 4 * len(parts) + sum(sizes), channel, 0, len(parts))
        self.stream.sendall(head + struct.pack(f"<{len(parts)}I", *sizes) + b"".join(parts))

    def from_kernel(self):
        received = self.stream.recv(1 << 16)
        self.data += received
        while len(self.data) >= HEAD.size:
            size, channel, _, count = HEAD.unpack_from(self.data)
            if len(self.data) < 4 + size:
                break
            sizes = struct.unpack_from(f"<{count}I", self.data, HEAD.size)
            parts, at = [], HEAD.size + 4 * count
            for length in sizes:
                parts.append(self.data[at : at + length])
                at += length
            self.data = self.data[at:]
            self.send(channel, parts)
        return bool(received)

    def send(self, channel, parts):
        if channel == CHANNELS["iopub"]:
            to = [json.loads(parts[0])["msg_type"].encode()]
        else:
            to = self.clients.get(json.loads(parts[1]).get("msg_id"), [])
        signature = hmac.new(self.key, b"".join(parts[:4]), hashlib.sha256).hexdigest().encode() if self.key else b""
        self.sockets[channel].send_multipart([*to, DELIMITER, signature, *parts])


if __name__ == "__main__":
    with open(sys.argv[sys.argv.index("-f") + 1]) as file:
        bridge = Bridge(json.load(file))
    sys.exit(bridge.run())
