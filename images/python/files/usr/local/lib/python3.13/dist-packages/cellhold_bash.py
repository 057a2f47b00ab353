"""The Bash kernel, which can be renewed (see cellhold_renew), and whose interrupts do not miss.

Bash has no hold on the Python process that runs it. So the first line of what its kernelspec has for
renewal is an order to that process; the rest is Bash. No cell of a user is silent.

An interrupt is typed at the terminal of Bash as Ctrl-C, and the terminal passes it to the process in the
foreground. Between two commands of a loop that can be one that has just ended, and nobody hears of it. So
it is typed again until Bash asks for the next command. No exception comes of it: in the middle of reading
what Bash prints it would lose some of that, and the place where Bash asks with it.
"""

import signal
import uuid

from bash_kernel.kernel import BashKernel
from ipykernel.kernelapp import IPKernelApp
from pexpect import TIMEOUT

ORDER = "# cellhold renew "
AGAIN = 2  # seconds until Ctrl-C is typed again; a command that wants to clean up has this long for it


class Interrupted(Exception):
    pass


class RenewableKernel(BashKernel):
    def _start_bash(self):
        super()._start_bash()
        bash, run = self.bashwrapper.child, self.bashwrapper.run_command

        def run_command(command, timeout=-1):
            if timeout is not None:  # no cell, but a question of the kernel's own
                return run(command, timeout)
            typed = False

            def type_interrupt(*_):
                nonlocal typed
                typed = True
                bash.sendintr()
                signal.setitimer(signal.ITIMER_REAL, AGAIN)

            before = {s: signal.signal(s, type_interrupt) for s in (signal.SIGINT, signal.SIGALRM)}
            try:
                output = run(command, timeout)
                signal.setitimer(signal.ITIMER_REAL, 0)
                if typed:
                    self.meet()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                for s, handler in before.items():
                    signal.signal(s, handler)
            if typed:
                raise Interrupted
            return output

        self.bashwrapper.run_command = run_command

    def meet(self):
        """Reads to where Bash asks for the next command. After Ctrl-C it may have asked more than once,
        and forgets what was typed meanwhile."""
        bash = self.bashwrapper.child
        while True:
            here = uuid.uuid4().hex
            bash.sendline("echo " + here)
            try:
                bash.expect_exact(here, timeout=AGAIN)
                self.bashwrapper._expect_prompt(AGAIN)
                return
            except TIMEOUT:
                bash.sendintr()

    # The parameters by their names: the caller looks at what it may pass.
    def do_execute(self, code, silent, store_history=True, user_expressions=None, allow_stdin=False):
        if silent and code.startswith(ORDER):
            import cellhold_renew
            order, _, code = code.removeprefix(ORDER).partition("\n")
            cellhold_renew.renew(*order.split(), kernel=self)
        try:
            return super().do_execute(code, silent, store_history, user_expressions, allow_stdin)
        except Interrupted:
            return {"status": "abort", "execution_count": self.execution_count}


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=RenewableKernel)
