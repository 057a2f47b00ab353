import glob
def connect(): socket.socket(socket.AF_UNIX).connect("\0cellhold-neighbour")
attempt("its abstract socket", connect)
attempt("its shared memory", lambda: open("/dev/shm/cellhold-neighbour"))
attempt("its segment", lambda: call(libc.shmget(0x4242, 4096, 0)))
attempt("its queue", lambda: call(libc.msgget(0x4242, 0)))
attempt("its file", lambda: open("/tmp/cellhold-neighbour.lock"))
attempt("its listener", lambda: socket.create_connection(("127.0.0.1", 45454), timeout=5).close())
def processes():
    mine = {int(p) for p in os.listdir("/proc") if p.isdigit()}
    if len(mine) < 8 and max(mine) < 10000:
        raise OSError(errno.ESRCH, "only processes of this sandbox")
attempt("its processes", processes)
for pid in range(2, 400):
    if pid not in (os.getpid(), os.getppid()) and not os.path.exists(f"/proc/{pid}"):
        try:
            os.kill(pid, 0)
            results[f"signal {pid}"] = "works"
        except OSError:
            pass
report()
