"""Starts the kernel: python3 -m cellhold_kernel -f CONNECTION_FILE

The environment variable CELLHOLD_STREAM has the descriptor of the kernel's end of the stream. CELLHOLD_UNSENT has the
descriptor of shared memory if the agent gave it; see unsent. If the module was not tested with the installed versions
of ipykernel and IPython, it ends with status 97. Then the agent starts ipykernel itself.
"""

import sys

sys.path[:1] = []  # the working directory, which IPython adds again; its modules must not replace those that follow

import contextlib  # noqa: E402
import mmap  # noqa: E402
import os  # noqa: E402
import socket  # noqa: E402

REFUSED = 97
TESTED = {"ipykernel": "6.31.", "IPython": "9.18."}  # beginnings of the tested versions


def refusal():
    """Returns the reason why this module cannot run here (str), or None."""
    if sys.version_info < (3, 13):
        return f"Python {sys.version_info[0]}.{sys.version_info[1]} has no eager tasks or no timerfd; 3.13 has both"
    import IPython
    import ipykernel
    for module in (ipykernel, IPython):
        if not module.__version__.startswith(TESTED[module.__name__]):
            return f"{module.__name__} has version {module.__version__}; tested is {TESTED[module.__name__]}x"
    return None


def main():
    # The user's code and its processes must not find the stream.
    sock = socket.socket(fileno=int(os.environ.pop("CELLHOLD_STREAM")))
    sock.set_inheritable(False)
    memory = None
    if descriptor := os.environ.pop("CELLHOLD_UNSENT", ""):
        memory = mmap.mmap(int(descriptor), 0, trackfd=False)  # without a copy of the descriptor
        os.close(int(descriptor))
    import cellhold_kernel
    from cellhold_kernel import standins
    cellhold_kernel.running = True
    with contextlib.ExitStack() as stack:
        stack.enter_context(standins.installed())
        if reason := refusal():
            print(f"cellhold_kernel: {reason}", file=sys.stderr)
            sys.exit(REFUSED)
        from cellhold_kernel import app, unsent
        copy = unsent.Unsent(memory) if memory else unsent.Nothing()
        kernel = app.IPKernelApp.instance(sock=sock, unsent=copy, standins=stack)
        kernel.initialize()
    kernel.start()


if __name__ == "__main__":
    main()
