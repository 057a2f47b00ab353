"""The Bash kernel. One Bash runs all cells (see cellhold_shell). A cell reports its exit status, or the end of Bash.

Code in Bash cannot renew the Python process that runs Bash (see cellhold_renew). So the first line of the
kernelspec's renewal code is an order to that process, and the rest is Bash. Users cannot give the order, because only
silent code can give it, and their cells are never silent.
"""

import signal

import cellhold_rich
from cellhold_shell import Shell
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel

ORDER = "# cellhold renew "
LOST = "A new shell was started: variables, functions and the working directory are lost.\n"
# Endless recursion would end Bash only after minutes. A thousand levels take 0.1 s.
SETUP = "export PAGER=cat; FUNCNEST=1000\n" + cellhold_rich.FUNCTIONS


class BashKernel(Kernel):
    implementation = "cellhold_bash"
    implementation_version = "1.0"
    language_info = {"name": "bash", "codemirror_mode": "shell", "mimetype": "text/x-sh", "file_extension": ".sh"}

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._silent = True
        self._cell = {}                # the last request that was not silent; output belongs to it
        self._captured = None          # output of the kernel's own code; None while none runs
        self._known = set()            # display ids of earlier outputs
        self._lines = {"stdout": cellhold_rich.Lines(), "stderr": cellhold_rich.Lines()}
        self.shell_process = Shell(self.parent.abs_connection_file, self._show)
        self.shell_process.start(SETUP)
        self.language_info = {**self.language_info, "version": self._ask("echo ${BASH_VERSION%%[!0-9.]*}").strip()}

    @property
    def banner(self):
        return "GNU bash, version " + self.language_info["version"]

    def start(self):
        super().start()
        for descriptor in self.shell_process.streams:  # programs in the background also write between cells
            self.io_loop.add_handler(descriptor, lambda d, events: self.shell_process.read(d), self.io_loop.READ)
        signal.signal(signal.SIGINT, self._interrupt)

    def pre_handler_hook(self):
        self.shell_process.interrupted = False

    def post_handler_hook(self):
        pass

    def _interrupt(self, number, frame):
        self.shell_process.interrupt()

    def _show(self, name, text, last=False):
        if self._captured is not None:
            self._captured += text if name == "stdout" else ""
            return
        if self._silent:
            return
        text, lines = self._lines[name].split(text, last)
        if text:
            self._send("stream", {"name": name, "text": text})
        for line in lines:
            try:
                content = cellhold_rich.content(line)
            except (OSError, ValueError) as e:
                self._send("stream", {"name": "stderr", "text": f"display: {e}\n"})
                continue
            known = content.get("transient", {}).get("display_id")
            self._send("update_display_data" if known in self._known else "display_data", content)
            if known:
                self._known.add(known)

    def _send(self, kind, content):
        self.session.send(self.iopub_socket, kind, content, self._cell, ident=self._topic(kind))

    def _ask(self, code):
        """Runs code of the kernel's own; returns its output (str). The exit status of the last cell is kept."""
        status, self._captured = self.shell_process.status, ""
        try:
            self.shell_process.run(code)
            return self._captured
        finally:
            self.shell_process.status, self._captured = status, None

    # The names of the parameters matter: ipykernel inspects them before it calls.
    def do_execute(self, code, silent, store_history=True, user_expressions=None, allow_stdin=False):
        if silent and code.startswith(ORDER):
            import cellhold_renew
            order, _, code = code.removeprefix(ORDER).partition("\n")
            cellhold_renew.renew(*order.split(), kernel=self)
        self._silent = silent
        if not silent:
            self._cell = self.get_parent("shell")
        try:
            return self._execute(code)
        except OSError as e:
            return self._fail("OSError", f"The code could not be passed to Bash: {e}")
        finally:
            for name in self._lines:
                self._show(name, "", last=True)
            self._silent = False

    def _execute(self, code):
        if self.shell_process.interrupted:
            return self._fail("KeyboardInterrupt", "")
        if "\0" in code:
            return self._fail("ValueError", f"The code has a NUL character at position {code.index(chr(0))}, which Bash cannot read. The cell did not run.")
        if self.shell_process.ended():
            return self._fail("ShellEnded", self._restart_shell() + "The cell did not run.")
        status, note = self.shell_process.run(code), ""
        interrupted = self.shell_process.interrupted
        if status is None:
            note = self._restart_shell()
            status = max(self.shell_process.status, 0)
            self._show("stderr", note)
        if interrupted and status:
            return self._fail("KeyboardInterrupt", "")
        if status:
            return self._fail("ExitStatus", str(status), f"exit status {status}{_signal(status)}")
        return {"status": "ok", "execution_count": self.execution_count, "payload": [], "user_expressions": {}}

    def _restart_shell(self):
        """Starts another Bash after the end of the last one; returns a message that reports the end (str)."""
        code = self.shell_process.close()
        captured, self._captured = self._captured, ""
        try:
            self.shell_process.start(SETUP)
        finally:
            self._captured = captured
        if code < 0:
            self.shell_process.status = 128 - code
            return f"The shell was ended by signal {-code}{_signal(128 - code)}. {LOST}"
        self.shell_process.status = code
        return f"The shell ended with exit status {code}. {LOST}"

    def _fail(self, name, value, shown=""):
        shown = shown or (f"{name}: {value}" if value else name)
        content = {"ename": name, "evalue": value, "traceback": [shown]}
        if not self._silent:
            self._send("error", content)
        return {"status": "error", "execution_count": self.execution_count, **content}

    def do_complete(self, code, cursor_pos):
        words = code[:cursor_pos].replace(";", " ").split()
        answer = {"matches": [], "cursor_start": cursor_pos, "cursor_end": cursor_pos, "metadata": {}, "status": "ok"}
        if not words or code[:cursor_pos][-1:].isspace() or "\0" in code or self.shell_process.ended():
            return answer
        word = words[-1]
        variable = word.startswith("$")
        kinds = "-A arrayvar -A export -A variable" if variable else "-cdfa"
        quoted = word.removeprefix("$").replace("'", "'\\''")
        found = self._ask(f"\\builtin compgen {kinds} -- '{quoted}'").splitlines()
        answer["matches"] = sorted({"$" * variable + m for m in found if m.startswith(word.removeprefix("$"))})
        answer["cursor_start"] = cursor_pos - len(word)
        return answer


def _signal(status):
    """Returns the name of the signal of an exit status, in brackets, or "" (str)."""
    try:
        return f" ({signal.Signals(status - 128).name})" if status > 128 else ""
    except ValueError:
        return ""


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=BashKernel)
