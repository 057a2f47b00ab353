"""llm-sandbox on Docker: each session is a container with an interactive IPython. The first argument names the image,
which must exist."""
import os
import sys
import tempfile

import docker
from llm_sandbox.interactive import InteractiveSandboxSession

import lines

PICTURE = "/tmp/first.png"  # cells with a plot save it here too, because llm-sandbox returns only text


class Session:
    def __init__(self):
        self.sandbox = InteractiveSandboxSession(lang="python", image=sys.argv[1], keep_template=True,
                                                 skip_environment_setup=True, verbose=False)
        self.sandbox.open()

    def run(self, code):
        plots = "plt." in code
        if plots:
            code += f"\nplt.savefig({PICTURE!r})"
        done = self.sandbox.run(code)
        if done.exit_code:
            raise RuntimeError(done.stderr or done.stdout)
        return done.stdout, self.picture() if plots else None

    def picture(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "first.png")
            self.sandbox.copy_from_runtime(PICTURE, path)
            with open(path, "rb") as f:
                return f.read()

    def close(self):
        self.sandbox.close()


if __name__ == "__main__":
    docker.from_env().images.get(sys.argv[1])  # fails now if the image is missing, not in each session
    lines.serve(Session)
