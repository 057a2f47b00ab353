"""Undoes changes of a cell that would disturb the next one.

Silent code, such as a renewal or a rehearsal, leaves no result in the shell.

A replaced sys.stdout or sys.stderr is restored, unless the replacement still writes to the stream of the kernel.
Otherwise the session would never print again if, for example, an exception kept the code from restoring the stream.
A replaced sys.stdin hides no output. So it stays, unless its cell failed or it is closed.
"""

import sys

MAX_VISITED = 1000  # objects that the search for a stream visits


def load_ipython_extension(shell):
    own_streams = {"stdout": sys.stdout, "stderr": sys.stderr}
    stdin = sys.stdin
    last = [None, True]
    request, depth = None, 0

    def before():
        nonlocal request, depth
        if shell.parent_header is request:  # a cell inside a cell, as with %%capture, which replaces the streams itself
            depth += 1
            return
        request, depth = shell.parent_header, 1
        last[:] = shell.last_execution_result, shell.last_execution_succeeded
        if sys.stdout is not own_streams["stdout"] or sys.stderr is not own_streams["stderr"]:
            restore()
            for stream in own_streams.values():
                stream.set_parent(shell.parent_header)  # a wrapper may not pass this on

    def after():
        nonlocal depth
        result = shell.last_execution_result
        if result is not None and (not result.info.raw_cell or result.info.raw_cell.isspace()):
            return  # for an empty cell IPython reports the end, but not the start
        depth -= 1
        if depth > 0:
            return
        if result is not None and result.info.silent:
            shell.last_execution_result, shell.last_execution_succeeded = last
        last[0] = None
        if sys.stdout is not own_streams["stdout"] or sys.stderr is not own_streams["stderr"]:
            restore()
        if sys.stdin is not stdin and (not shell.last_execution_succeeded or not readable(sys.stdin)):
            note("stdin", sys.stdin, "The session has restored it.")
            sys.stdin = stdin

    def restore():
        for name, stream in own_streams.items():
            found, original = getattr(sys, name, None), getattr(sys, f"__{name}__")
            if found is stream:
                continue
            if found is original:  # some programs restore their stream this way
                flush(found)
            elif writes_to(found, (*own_streams.values(), sys.__stdout__, sys.__stderr__)):
                flush(found)
                stream.flush()  # a wrapper may not flush it
                continue
            setattr(sys, name, stream)
            if found is not original:
                note(name, found, "The session has restored it. Output that was written to the replacement is not shown.")

    def note(name, found, what):
        kind = type(found)
        print(f"[The code left sys.{name} replaced by {kind.__module__}.{kind.__qualname__}. {what}]", file=own_streams["stderr"])

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
    """Reports whether an open object holds one of the streams, as wrappers do (bool)."""
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
        queue += more[: MAX_VISITED - len(queue)] if len(queue) < MAX_VISITED else []
    return False
