"""Runs `!command` on a terminal of its own, and passes on its output at once.

It replaces IPython's own function, which copies the whole kernel for each command. IPython's function looks for output
only twenty times a second, and waits a quarter of a second at the end. Under load it loses the last output of a
command.

Programs write to a terminal, so they show progress and colours, and write line by line. Their input ends at once,
because nobody can answer. Standard input is empty, and the terminal is open for writing only. It is not the
controlling terminal, so /dev/tty cannot be opened.
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

ROWS, COLUMNS = 24, 80  # size of the terminal, as pexpect sets it
PIECE = 64 << 10        # bytes of one read
GRACE = 2.0             # seconds that an interrupted command has to end


def system(cmd):
    """Runs a line in the shell; returns its exit status, negative for the signal that ended it (int)."""
    terminal, theirs = os.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.fchmod(theirs, 0o200)  # a program that opens it by its name can only write too
        output = os.open(os.ptsname(terminal), os.O_WRONLY | os.O_NOCTTY)
        try:
            # A session of its own keeps the command from the terminal of the process that started the kernel. It also
            # has a process group of its own, which gets the interrupts.
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
    return -(code - 128) if code > 128 else code  # the shell adds 128 to the number of a signal


def _follow(process, terminal):
    """Prints output until the command has ended. An interrupt ends both the command and the cell. Otherwise only the end
    of the kernel could end a loop of commands."""
    ended, end = os.pipe()
    try:
        # This is not threading.Thread, because an interrupt during its start can leave a lock taken.
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
            except KeyboardInterrupt:  # a second interrupt
                _kill(process, signal.SIGKILL)
            os.read(ended, 1)
            raise
        os.read(ended, 1)  # returns when the command has ended
    finally:
        os.close(ended)
        print(decoder.decode(b"", True), end="")


def _reap(process, end):
    process.wait()
    os.close(end)


def _copy(terminal, ended, decoder, seconds=None):
    """Prints output until the command has ended or the time is up; reports whether the command has ended (bool)."""
    poll = select.poll()
    poll.register(terminal, select.POLLIN)
    poll.register(ended, select.POLLIN)
    while True:
        ready = dict(poll.poll(None if seconds is None else seconds * 1000))
        if ended in ready:  # its background processes can keep the terminal open
            os.set_blocking(terminal, False)
        if not ready:
            return False
        if terminal in ready or ended in ready:
            try:
                data = os.read(terminal, PIECE)
            except BlockingIOError:
                return True
            except OSError:  # no process has the terminal open any more
                data = b""
            if not data:
                if ended in ready:
                    return True
                poll.unregister(terminal)
                continue
            print(decoder.decode(data), end="")
            sys.stdout.flush()


def _kill(process, number):
    """Sends a signal to the process group of the command, if it still exists."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def install():
    """Makes the shells of this process run commands this way."""
    interactiveshell.system = zmqshell.system = system
