"""Runs the code of all cells in one Bash, and separates their output and exit status from everything else.

Bash reads short orders from a pipe. The code of a cell is in a file, so that Bash cannot mistake it for an order. The
length of the code is not limited. The code reads an empty input. It writes to two terminals, for stdout and stderr, which are
open for writing only. After each cell Bash writes a mark to both terminals, and the exit status to a pipe of its own.

Bash is interactive, because only then an interrupt ends the code and not Bash. Its own prompts and messages are
dropped.
"""

import _thread
import codecs
import fcntl
import os
import select
import shlex
import signal
import struct
import subprocess
import termios
import uuid

ROWS, COLUMNS = 24, 80  # of the terminals
PIECE = 64 << 10        # bytes of one read
FIRST = 240             # the lowest of our descriptors in Bash; code uses small numbers for its own
AGAIN = 2.0             # seconds until an interrupt is repeated; a command has this long to clean up
LATE = 0.02             # seconds to wait for more output of a Bash that has ended
NUMBER = 12             # maximum digits of the number in a mark
INTERRUPTED = 128 + signal.SIGINT


def _move_up(descriptor):
    """Moves a descriptor above the numbers that code uses; returns its new number."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST)
    os.close(descriptor)
    return moved


class Stream:
    """A terminal that code writes to, and the text that was read from it."""

    def __init__(self, name, mark):
        self.name, self.mark, self.reached = name, mark, 0
        self.terminal, theirs = os.openpty()
        modes = termios.tcgetattr(theirs)
        modes[1] &= ~termios.OPOST  # the terminal must not change the bytes
        termios.tcsetattr(theirs, termios.TCSANOW, modes)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.fchmod(theirs, 0o200)  # a program that opens it by its name can only write too
        self.writes = _move_up(os.open(os.ptsname(self.terminal), os.O_WRONLY | os.O_NOCTTY))
        os.close(theirs)
        self._held = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self):
        """Returns the new text without marks (str). Call it only when there is something to read."""
        data, text = self._held + os.read(self.terminal, PIECE), b""
        while (at := data.find(self.mark)) >= 0:
            start = at + len(self.mark)
            end = data.find(b"\x1e", start, start + NUMBER)
            if end < 0 and len(data) < start + NUMBER:
                break  # the mark is incomplete
            if end >= 0 and data[start:end].isdigit():
                self.reached = int(data[start:end])
                text, data = text + data[:at], data[end + 1 :]
            else:
                text, data = text + data[:start], data[start:]
        if at < 0:  # the beginning of a mark is held back until the rest comes
            at = data.rfind(b"\x1e", -len(self.mark))
            at = at if at >= 0 and self.mark.startswith(data[at:]) else len(data)
        self._held = data[at:]
        return self._decoder.decode(text + data[:at])

    def finish(self):
        """Returns the text that was held back (str). Call it when no more comes."""
        held, self._held = self._held, b""
        return self._decoder.decode(held, True)


class Shell:
    """A Bash process. show is called with the name of a stream and its new text. files is the first part of the paths
    of the files that Bash reads."""

    def __init__(self, files, show):
        self.show = show
        self.status = 0           # of the last cell
        self.running = False
        self.interrupted = False  # since the start of the current request
        mark = b"\x1e" + uuid.uuid4().hex.encode() + b":"
        self.streams = {s.terminal: s for s in (Stream("stdout", mark), Stream("stderr", mark))}
        self._statuses, theirs = os.pipe()
        self._status = _move_up(theirs)
        self._last_mark = 0  # the number of the last mark that was ordered
        self._code, self._end = files + ".code", files + ".end"
        out, err = (s.writes for s in self.streams.values())
        text = "\\036" + mark[1:].decode() + "%s\\036"
        # An interrupt during the order of a cell drops the first part of the order, and Bash runs the rest. So the
        # status says nothing if the code was not passed to Bash.
        self._write(self._end, f"""\\builtin printf '%s %s %s %s\\n' "$1" "$?" "${{__cellhold+1}}" "${{!-}}" >&{self._status}
\\builtin printf '{text}' "$1" >&{out}
\\builtin printf '{text}' "$1" >&{err}
\\builtin unset __cellhold
""".encode())
        self._order = f""". {shlex.quote(self._code)};\\eval "$__cellhold" </dev/null >&{out} 2>&{err}\n"""
        # Python writes to a pipe at each signal. A signal just before a wait would otherwise not end the wait.
        self._signals, self._signal = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        for descriptor in (*self.streams, self._statuses, self._signals):
            self._poll.register(descriptor, select.POLLIN)

    def _write(self, path, data):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)

    def start(self, setup):
        """Starts Bash and runs the setup code first. Messages of Bash about its start are shown."""
        self.status, self.interrupted = 0, False
        self._last, self._background = b"", set()
        theirs, self._orders = os.pipe()
        ours = [s.writes for s in self.streams.values()] + [self._status]
        for descriptor in ours:
            os.set_inheritable(descriptor, True)
        try:
            # In a process group of its own Bash gets no interrupts of the kernel. It starts with a terminal, because
            # without one it complains when a signal has ended a command.
            self.process = subprocess.Popen(["bash", "--noediting", "-i"], stdin=theirs, stdout=subprocess.DEVNULL,
                                            stderr=ours[1], pass_fds=ours, process_group=0)
        finally:
            os.close(theirs)
            for descriptor in ours:
                os.set_inheritable(descriptor, False)
        self._ended, end = os.pipe()
        self._poll.register(self._ended, select.POLLIN)
        _thread.start_new_thread(_reap, (self.process, end))
        os.write(self._orders, b"exec 2>/dev/null; PS1= PS2=; unset HISTFILE; set +o history +H\n")
        self.run(setup)

    def ended(self):
        """Reports whether Bash has ended (bool)."""
        return bool(select.select([self._ended], [], [], 0)[0])

    def close(self):
        """Frees the resources of a Bash that has ended; returns its exit status, or minus the signal that ended it (int)."""
        self._poll.unregister(self._ended)
        os.close(self._ended)
        os.close(self._orders)
        return self.process.returncode

    def run(self, code):
        """Runs code; returns its exit status (int), or None if Bash has ended."""
        quoted = code.encode("utf-8", "replace").replace(b"'", b"'\\''")
        self._write(self._code, b"__cellhold='%s'\n\\return %d\n" % (quoted, self.status))
        first = self._last_mark + 1
        self._send_order(self._order)
        self.running, wakeup = True, signal.set_wakeup_fd(self._signal, warn_on_full_buffer=False)
        try:
            if self.interrupted:  # it came before the order
                self.interrupt()
            self.status = self._follow(first)
        finally:
            self.running = False
            signal.set_wakeup_fd(wakeup)
            for stream in self.streams.values():
                if text := stream.finish():
                    self.show(stream.name, text)
        return self.status

    def _send_order(self, order=""):
        """Sends an order and then the order for the next mark."""
        self._last_mark += 1
        try:
            os.write(self._orders, f"{order}\n. {shlex.quote(self._end)} {self._last_mark}\n".encode())
        except BrokenPipeError:
            pass  # Bash has ended, or exec has replaced it

    def interrupt(self):
        """Interrupts the running code, or the next code of the request. A signal handler calls it."""
        self.interrupted = True
        if not self.running:
            return
        for pid in [*self._started(), self.process.pid]:
            try:
                os.kill(pid, signal.SIGINT)
            except (ProcessLookupError, PermissionError):
                pass
        self._send_order()  # the interrupt may have removed the last order

    def _started(self):
        """Returns the ids of all processes under Bash, except those that earlier cells left in the background (set).
        Bash makes only some of the latter ignore interrupts."""
        parents = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                pass  # the process has ended
        found, new = set(), {self.process.pid}
        while new:
            new = {pid for pid, parent in parents.items() if parent in new and pid not in self._background}
            found |= new
        return found

    def _follow(self, first):
        """Shows output until the code has ended; returns its exit status (int), or None if Bash has ended."""
        status = None
        while status is None or any(s.reached != self._last_mark for s in self.streams.values()):
            ready = dict(self._poll.poll(AGAIN * 1000 if self.interrupted else None))
            self._pass_on(ready)
            if self._signals in ready:
                os.read(self._signals, PIECE)
            if self._statuses in ready:
                for line in os.read(self._statuses, PIECE).split(b"\n"):
                    number, value, passed, last = (*line.split(b" "), b"", b"", b"", b"")[:4]
                    if (status is None and number.isdigit() and value.isdigit() and len(line) < 3 * NUMBER
                            and int(number) >= first):
                        status = int(value)
                        if self.interrupted and not passed:
                            status = INTERRUPTED
                        if last != self._last:  # the code has started a process in the background
                            self._last = last
                            self._background.update(self._started())
            if self._ended in ready:
                while ready := dict(self._poll.poll(LATE * 1000)):
                    if not self._pass_on(ready):
                        break
                return None
            if not ready and self.interrupted:
                self.interrupt()
        return status

    def _pass_on(self, ready):
        """Shows the new output; reports whether there was any (bool)."""
        come = [descriptor for descriptor in self.streams if descriptor in ready]
        for descriptor in come:
            self.read(descriptor)
        return bool(come)

    def read(self, descriptor):
        """Shows the new output of a stream."""
        stream = self.streams[descriptor]
        if text := stream.read():
            self.show(stream.name, text)


def _reap(process, end):
    process.wait()
    os.close(end)
