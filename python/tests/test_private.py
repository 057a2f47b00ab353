"""Private servers: they start with the first session, and end with Python."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cellhold

LONG = 180
"""Seconds within which a server ends, also on a busy machine."""

PROGRAM = """
import sys, cellhold
from cellhold import _private
s = cellhold.Session(local=True).open()
print(s.run("6 * 7").result, *[x.process.pid for x in _private._servers.values()], flush=True)
try:
    {then}
except KeyboardInterrupt:
    print(s.run('1 + 1').result, flush=True)
"""


def started(then: str, group: bool = False) -> tuple[subprocess.Popen[str], int]:
    """Starts Python with a private server. Returns Python, and a descriptor that is readable when the server ends."""
    program = PROGRAM.format(then=then)
    source = os.path.dirname(os.path.dirname(cellhold.__file__))
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "start_new_session": group}
    python = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": source}, **pipes)
    assert python.stdout is not None
    line = python.stdout.readline().split()
    assert line[0] == "42"
    return python, os.pidfd_open(int(line[1]))


def ended(python: subprocess.Popen[str], server: int) -> bool:
    """Reports whether Python and the server end within some minutes."""
    python.communicate(timeout=LONG)
    readable, _, _ = select.select([server], [], [], LONG)
    os.close(server)
    return bool(readable)


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "then", ["pass", "raise SystemExit(3)", "import os; os.fork() or sys.stdin.read(); sys.exit()"]
)
def test_a_private_server_ends_when_python_ends(then: str) -> None:
    python, server = started(then)
    assert ended(python, server)


@pytest.mark.sandbox
def test_a_private_server_ends_when_python_is_killed_although_a_child_lives() -> None:
    python, server = started(
        "import os, time\n    if os.fork() == 0: time.sleep(600)\n    print('forked', flush=True)\n    sys.stdin.read()"
    )
    assert python.stdout is not None and python.stdout.readline() == "forked\n"
    children = Path(f"/proc/{python.pid}/task/{python.pid}/children").read_text().split()
    child = [int(pid) for pid in children if "python" in Path(f"/proc/{pid}/comm").read_text()]
    python.kill()
    try:
        readable, _, _ = select.select([server], [], [], LONG)
    finally:
        for pid in child:
            os.kill(pid, signal.SIGKILL)
    assert child and ended(python, server) and readable


@pytest.mark.sandbox
def test_an_interrupt_at_the_terminal_leaves_the_private_server() -> None:
    python, server = started("print('ready', flush=True)\n    sys.stdin.read()", group=True)
    assert python.stdout is not None and python.stdout.readline() == "ready\n"
    os.killpg(python.pid, signal.SIGINT)
    assert python.stdout.readline() == "2\n"
    assert ended(python, server)
