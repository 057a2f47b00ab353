"""Reads the process id of a kernel once.

To detect a fork, each message and each flush of ipykernel calls os.getpid several times. In gVisor a call costs more
than the rest of the check. So this module reads the process id once, and again in each fork.
"""

import os
import types


def install():
    """Makes ipykernel and jupyter_client in this process read the process id only once."""
    from ipykernel import iostream
    from jupyter_client import session

    with_pid = types.ModuleType("os")
    with_pid.__dict__.update(os.__dict__)

    def store():
        pid = os.getpid()
        with_pid.getpid = lambda: pid

    store()
    os.register_at_fork(after_in_child=store)
    iostream.os = session.os = with_pid
