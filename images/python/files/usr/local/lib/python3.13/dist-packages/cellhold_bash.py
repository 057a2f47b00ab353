"""The Bash kernel, which can be renewed: see cellhold_renew.

Bash has no hold on the Python process that runs it. So the first line of what its kernelspec has for
renewal is an order to that process; the rest is Bash. No cell of a user is silent.
"""

from bash_kernel.kernel import BashKernel
from ipykernel.kernelapp import IPKernelApp

ORDER = "# cellhold renew "


class RenewableKernel(BashKernel):
    def do_execute(self, code, silent, *args, **kwargs):
        if silent and code.startswith(ORDER):
            import cellhold_renew
            order, _, code = code.removeprefix(ORDER).partition("\n")
            cellhold_renew.renew(*order.split(), kernel=self)
        return super().do_execute(code, silent, *args, **kwargs)


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=RenewableKernel)
