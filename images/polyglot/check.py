

# From here on what this recipe adds to its base, which ran above.
def check_more_kernels():
    from jupyter_client.kernelspec import KernelSpecManager
    for name, tool in [("ir", "R"), ("javascript", "node")]:
        spec = KernelSpecManager().get_kernel_spec(name)
        assert os.access(spec.argv[0], os.X_OK), f"kernelspec {name} names {spec.argv[0]}"
        subprocess.run([tool, "--version"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["Rscript", "-e", "library(IRkernel); library(ggplot2)"], check=True)
    subprocess.run(["node", "-e", "require('tslab'); require('zeromq')"], check=True,
                   cwd="/usr/local/lib/javascript-kernel")


check_more_kernels()
