"""A bare ipykernel for each session, used by a raw ZeroMQ client. No isolation."""
import os
import shutil
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "inside"))

import lines
import raw_client


class Session(raw_client.ZeroMQ):
    def __init__(self):
        self.outputs = lines.Outputs()
        super().__init__()

    def heard(self, header, content):
        self.outputs.take({"header": header, "content": content})

    def run(self, code):
        self.outputs = lines.Outputs()
        self.execute(code)
        return self.outputs.result()

    def close(self):
        self.process.kill()
        self.process.wait()
        for socket in self.shell, self.iopub:
            socket.close(linger=0)
        shutil.rmtree(self.folder)


if __name__ == "__main__":
    os.environ["JPY_PARENT_PID"] = str(os.getpid())  # as jupyter_client does: the kernels end with this program
    lines.serve(Session)
