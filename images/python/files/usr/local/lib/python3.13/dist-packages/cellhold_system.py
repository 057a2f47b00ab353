"""Runs `!command` with output to a terminal of its own, and passes on what it writes as it comes.

It stands in for IPython's own way, which asks twenty times a second whether there is something, copies
the whole kernel for each command, waits a quarter of a second at the end, and under load loses the last
words of a command that has ended.

Programs see a terminal where they write, so that they show progress and colours and write line by line. They
find the end of their input at once, since nobody could answer: standard input is empty, the terminal is open for
writing only, and it is not the controlling terminal, so that /dev/tty cannot be opened.
"""

import _thread
import codecs
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios

from IPython.core import interactiveshell
from ipykernel import zmqshell

ROWS, COLUMNS = 24, 80  # of the terminal; what pexpect gives its children
PIECE = 64 << 10        # bytes read at once
GRACE = 2.0             # seconds that an interrupted command has for its last words


def system(cmd):
    """Runs a line in the shell; returns its exit status, negative for the signal that ended it (int)."""
    terminal, theirs = os.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.fchmod(theirs, 0o200)  # a program may open it by its name, too
        output = os.open(os.ptsname(terminal), os.O_WRONLY | os.O_NOCTTY)
        try:
            # A session of its own keeps it from the terminal of whoever started the kernel, and a group of its
            # own is what an interrupt is sent to.
            process = subprocess.Popen([os.environ.get("SHELL", "/bin/sh"), "-c", cmd], stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=output, start_new_session=True)
        finally:
            os.close(output)
    except BaseException:
        os.close(terminal)
        raise
    finally:
        os.close(theirs)
    try:
        _follow(process, terminal)
    finally:
        os.close(terminal)
    code = process.returncode
    return -(code - 128) if code > 128 else code  # the shell's way to tell a signal


def _follow(process, terminal):
    """Prints what comes until the command has ended. An interrupt is for both, the command and the cell:
    else nothing could end a loop of commands but the end of the kernel."""
    ended, end = os.pipe()
    try:
        # Not a Thread, which an interrupt of its start could leave behind with a lock taken.
        _thread.start_new_thread(_reap, (process, end))
    except BaseException:
        os.close(ended)
        os.close(end)
        _kill(process, signal.SIGKILL)
        process.wait()
        raise
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        try:
            _copy(terminal, ended, decoder)
        except KeyboardInterrupt:
            _kill(process, signal.SIGINT)
            try:
                if not _copy(terminal, ended, decoder, GRACE):
                    _kill(process, signal.SIGKILL)
            except KeyboardInterrupt:  # the impatient ask twice
                _kill(process, signal.SIGKILL)
            os.read(ended, 1)
            raise
        os.read(ended, 1)  # the end of the file is the command's
    finally:
        os.close(ended)
        print(decoder.decode(b"", True), end="")


def _reap(process, end):
    process.wait()
    os.close(end)


def _copy(terminal, ended, decoder, seconds=None):
    """Prints what comes until the command has ended, which it reports (bool), or time is up."""
    poll = select.poll()
    poll.register(terminal, select.POLLIN)
    poll.register(ended, select.POLLIN)
    while True:
        ready = dict(poll.poll(None if seconds is None else seconds * 1000))
        if ended in ready:  # what it started may go on and keep the terminal open, as in any shell
            os.set_blocking(terminal, False)
        if not ready:
            return False
        if terminal in ready or ended in ready:
            try:
                data = os.read(terminal, PIECE)
            except BlockingIOError:
                return True
            except OSError:  # nobody has the terminal open any more
                data = b""
            if not data:
                if ended in ready:
                    return True
                poll.unregister(terminal)
                continue
            print(decoder.decode(data), end="")
            sys.stdout.flush()


def _kill(process, number):
    """Signals the command and what it started in its group, if it is still there."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def install():
    """Makes the shells of this process run commands this way."""
    interactiveshell.system = zmqshell.system = system
