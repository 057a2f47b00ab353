"""Takes back what a cell must not leave to the next one.

Code that nobody sees, such as a renewal or a rehearsal, leaves no result behind in the shell. The streams are
those of the kernel again, unless what stands in their place still writes to them: code that loses track of a
replaced sys.stdout in an exception would leave a session that never prints again. A replaced
sys.stdin hides nothing; it stays unless its cell failed or it is closed.
"""

import sys

LOOKED_AT = 1000  # objects in search of a stream


def load_ipython_extension(shell):
    kernels = {"stdout": sys.stdout, "stderr": sys.stderr}
    stdin = sys.stdin
    last = [None, True]
    request, depth = None, 0

    def before():
        nonlocal request, depth
        if shell.parent_header is request:  # a cell in a cell, as of %%capture, which replaces the streams itself
            depth += 1
            return
        request, depth = shell.parent_header, 1
        last[:] = shell.last_execution_result, shell.last_execution_succeeded
        if sys.stdout is not kernels["stdout"] or sys.stderr is not kernels["stderr"]:
            put_back()
            for stream in kernels.values():
                stream.set_parent(shell.parent_header)  # which a wrapper need not pass on

    def after():
        nonlocal depth
        result = shell.last_execution_result
        if result is not None and (not result.info.raw_cell or result.info.raw_cell.isspace()):
            return  # IPython does not begin an empty cell, and ends it all the same
        depth -= 1
        if depth > 0:
            return
        if result is not None and result.info.silent:
            shell.last_execution_result, shell.last_execution_succeeded = last
        last[0] = None
        if sys.stdout is not kernels["stdout"] or sys.stderr is not kernels["stderr"]:
            put_back()
        if sys.stdin is not stdin and (not shell.last_execution_succeeded or not readable(sys.stdin)):
            note("stdin", sys.stdin, "It is the session's own again.")
            sys.stdin = stdin

    def put_back():
        for name, stream in kernels.items():
            found, original = getattr(sys, name, None), getattr(sys, f"__{name}__")
            if found is stream:
                continue
            if found is original:  # many a program puts it back this way
                flush(found)
            elif writes_to(found, (*kernels.values(), sys.__stdout__, sys.__stderr__)):
                flush(found)
                stream.flush()  # which a wrapper need not do
                continue
            setattr(sys, name, stream)
            if found is not original:
                note(name, found, "It is the session's own again; what was written to the other is not shown.")

    def note(name, found, what):
        kind = type(found)
        print(f"[The code left sys.{name} replaced by {kind.__module__}.{kind.__qualname__}. {what}]", file=kernels["stderr"])

    shell.events.register("pre_execute", before)
    shell.events.register("post_execute", after)


def readable(stream):
    return hasattr(stream, "readline") and not attribute(stream, "closed")


def flush(stream):
    try:
        stream.flush()
    except Exception:  # closed, or not a stream at all
        pass


def attribute(value, name):
    try:
        return getattr(value, name, None)
    except Exception:  # the code is the user's
        return None


def writes_to(found, streams):
    """Whether an open object holds one of the streams, as wrappers do (bool)."""
    queue, seen = [found], set()
    for value in queue:
        if any(value is stream for stream in streams):
            return True
        if id(value) in seen or isinstance(value, (str, bytes, int, float, type, type(sys))) or attribute(value, "closed") is True:
            continue
        seen.add(id(value))
        if isinstance(value, (list, tuple, set)):
            more = list(value)
        else:
            more = list((attribute(value, "__dict__") or {}).values())
            more += [attribute(value, name) for name in ("buffer", "raw", "stream", "__self__", "__wrapped__")]
        queue += more[: LOOKED_AT - len(queue)] if len(queue) < LOOKED_AT else []
    return False
