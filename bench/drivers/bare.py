"""A bare ipykernel for each session, started and used by jupyter_client. No isolation."""
import queue
import time

from jupyter_client import KernelManager

import lines

TIMEOUT = 120  # seconds


class Session:
    def __init__(self):
        self.manager = KernelManager()
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.ready()

    def ready(self):
        """Returns when the kernel answers and its iopub channel is connected. wait_for_ready of
        jupyter_client also waits for 0.2 s without a message, which would be unfair here."""
        while True:
            message = self.client.kernel_info()
            self.client.get_shell_msg(timeout=TIMEOUT)
            until = time.monotonic() + 0.05
            while (left := until - time.monotonic()) > 0:
                try:
                    heard = self.client.get_iopub_msg(timeout=left)
                except queue.Empty:
                    break
                if heard["parent_header"].get("msg_id") == message:
                    return

    def run(self, code):
        outputs = lines.Outputs()
        self.client.execute_interactive(code, output_hook=outputs.take, allow_stdin=False, timeout=TIMEOUT)
        return outputs.result()

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


if __name__ == "__main__":
    lines.serve(Session)
