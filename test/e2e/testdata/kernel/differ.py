"""Runs the same cells in two kernels, and compares all messages: python3 differ.py

One kernel is ipykernel over ZeroMQ, the other one is the kernel on the stream behind bridge.py. The last line says how
many cells have equal messages. Each cell that differs is shown.
"""

import os
import queue
import re
import sys
from concurrent.futures import ThreadPoolExecutor

from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec

from cells import CELLS

HERE = os.path.dirname(os.path.abspath(__file__))
KERNELS = {
    "sockets": ["/usr/bin/python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "stream": ["/usr/bin/python3", os.path.join(HERE, "bridge.py"), "-f", "{connection_file}"],
}
LATE = 0.4  # seconds in which output of threads and tasks comes

# What differs between any two kernels.
CHANGING = [
    (r"0x[0-9a-f]{6,}", "ADDRESS"),
    (r"ipykernel_\d+/\d+|\(\d+\.py", "FILE"),
    (r"\d+\.?\d* (ns|µs|μs|us|ms|s)( ±[^\n]*)?", "TIME"),
    (r"(TIME, (sys|total): )+TIME", "TIMES"),
    (r"Thread-\d+", "THREAD"),
    (r"\(pid=\d+\)", "PID"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|[0-9a-f]{32}", "ID"),
]


def plain(value):
    """Returns a value without what differs between any two kernels."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in ("started", "engine", "engine_info", "date")}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, str):
        for pattern, name in CHANGING:
            value = re.sub(pattern, name, value)
    return value


class Kernel:
    def __init__(self, name, argv):
        self.manager = KernelManager()
        self.manager._kernel_spec = KernelSpec(argv=argv, display_name=name, language="python", interrupt_mode="message")
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def run(self, code):
        """Returns what the messages of a cell have (dict of lists by channel)."""
        found = {"iopub": [], "shell": []}
        request = self.client.execute(code, allow_stdin=True, stop_on_error=False)
        idle = False
        while not (idle and found["shell"]):
            if self.client.stdin_channel.msg_ready():
                self.client.stdin_channel.get_msg()
                self.client.input("an answer")
            idle = self._take(request, found, 0.05) or idle
            if self.client.shell_channel.msg_ready():
                reply = self.client.get_shell_msg(timeout=5)
                if reply["parent_header"].get("msg_id") == request:
                    self._add(found["shell"], request, reply)
        while self.client.iopub_channel.msg_ready() or self._take(request, found, LATE) is not None:
            pass
        found["iopub"] = _joined(found["iopub"])
        return found

    def _take(self, request, found, seconds):
        """Takes one message of iopub; returns whether it is the idle status (bool), or None if none came."""
        try:
            message = self.client.get_iopub_msg(timeout=seconds)
        except queue.Empty:
            return None
        self._add(found["iopub"], request, message)
        return message["content"].get("execution_state") == "idle" and message["parent_header"].get("msg_id") == request

    def _add(self, to, request, message):
        of_cell = message["parent_header"].get("msg_id") == request
        to.append((message["msg_type"], of_cell, plain(message["content"]), sorted(message["metadata"]),
                   [bytes(b) for b in message["buffers"]]))

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def _joined(messages):
    """Joins the text of each stream between other messages: where a kernel cuts it is chance."""
    joined, streams = [], {}
    for message in [*messages, None]:
        if message is not None and message[0] == "stream":
            key = message[2]["name"], message[1]
            streams[key] = streams.get(key, "") + message[2]["text"]
            continue
        joined += [("stream", key, text) for key, text in sorted(streams.items())]
        streams = {}
        if message is not None:
            joined.append(message)
    return joined


def main():
    kernels = {name: Kernel(name, argv) for name, argv in KERNELS.items()}
    equal, different = 0, []
    pool = ThreadPoolExecutor(len(kernels))
    for code in CELLS:
        sockets, stream = pool.map(lambda kernel: kernel.run(code), kernels.values())
        if sockets == stream:
            equal += 1
            continue
        different.append(code)
        print("=== different:", code)
        for channel in sockets:
            for one, other in _pairs(sockets[channel], stream[channel]):
                if one != other:
                    print("  sockets:", str(one)[:600])
                    print("  stream: ", str(other)[:600])
    for kernel in kernels.values():
        kernel.close()
    print(f"{equal} of {len(CELLS)} cells have equal messages")
    return 1 if different else 0


def _pairs(one, other):
    length = max(len(one), len(other))
    return zip(one + [None] * (length - len(one)), other + [None] * (length - len(other)))


if __name__ == "__main__":
    sys.exit(main())
