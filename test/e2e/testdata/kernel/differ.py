"""Runs the same cells in two kernels, and compares all messages: python3 differ.py

One kernel is ipykernel over ZeroMQ. The other kernel is cellhold's, which uses one byte stream in place of ZeroMQ;
bridge.py connects it to jupyter_client. The program prints each cell whose messages differ. Its last line has the
number of cells with equal messages.
"""

import os
import queue
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec

from cells import CELLS

HERE = os.path.dirname(os.path.abspath(__file__))
KERNELS = {
    "sockets": ["/usr/bin/python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
    "stream": ["/usr/bin/python3", os.path.join(HERE, "bridge.py"), "-f", "{connection_file}"],
}
ANSWER = 120  # seconds within which a kernel answers a cell
QUIET = 0.4  # seconds without a message after which the output of a cell counts as complete
LATE = 3  # the same for threads and tasks that continue after their cell, on a busy machine too

# Values that differ between any two kernels, and the names that replace them.
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
    """Returns a value without the parts that differ between any two kernels."""
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
        """Runs a cell and returns its messages as tuples that can be compared: a dict with one list for each channel."""
        found = {"iopub": [], "shell": []}
        request = self.client.execute(code, allow_stdin=True, stop_on_error=False)
        idle = False
        deadline = time.monotonic() + ANSWER
        while not (idle and found["shell"]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.manager._kernel_spec.display_name} did not answer {code!r} within {ANSWER} s: {found}")
            if self.client.stdin_channel.msg_ready():
                self.client.stdin_channel.get_msg()
                self.client.input("an answer")
            idle = self._take(request, found, 0.05) or idle
            if self.client.shell_channel.msg_ready():
                reply = self.client.get_shell_msg(timeout=5)
                if reply["parent_header"].get("msg_id") == request:
                    self._add(found["shell"], request, reply)
        quiet = LATE if re.search(r"Thread\(|create_task|call_soon", code) else QUIET
        while self._take(request, found, quiet) is not None:
            pass
        found["iopub"] = _joined(found["iopub"])
        return found

    def _take(self, request, found, seconds):
        """Takes one message of iopub. Returns whether the message is the idle status (bool), or None if no message came."""
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
    """Joins consecutive stream messages, stdout and stderr each on their own, because a kernel cuts its output at
    arbitrary points."""
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
