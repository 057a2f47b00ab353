"""The Bash kernel, which can be renewed: see cellhold_renew.

Bash has no hold on the Python process that runs it. So the first line of what its kernelspec has for
renewal is an order to that process; the rest is Bash. No cell of a user is silent.
"""

from bash_kernel.kernel import BashKernel
from ipykernel.kernelapp import IPKernelApp

ORDER = "# cellhold renew "


class RenewableKernel(BashKernel):
    # The parameters by their names: the caller looks at what it may pass.
    def do_execute(self, code, silent, store_history=True, user_expressions=None, allow_stdin=False):
        if silent and code.startswith(ORDER):
            import cellhold_renew
            order, _, code = code.removeprefix(ORDER).partition("\n")
            cellhold_renew.renew(*order.split(), kernel=self)
        return super().do_execute(code, silent, store_history, user_expressions, allow_stdin)


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=RenewableKernel)
