# %%
import socket
print(socket.gethostbyname(socket.gethostname()), socket.gethostbyname('localhost'), socket.gethostbyname(socket.getfqdn()))
# %%
import platform
platform.node() == socket.gethostname()
# %%
import os, subprocess
print(os.cpu_count(), os.process_cpu_count(), sorted(os.sched_getaffinity(0)), subprocess.getoutput('nproc'))
# %%
[os.environ[name] for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME')]
