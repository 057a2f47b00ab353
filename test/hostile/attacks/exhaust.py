# Takes one limited thing until an error, whose name is the result. The argument names the thing.
import select, threading, time
def until_error(step, most):
    kept = []
    def run():
        for _ in range(most):
            kept.append(step())
        return f"no end after {most}"
    def ended():
        try:
            return run()
        finally:
            for x in kept:
                try: os.close(x) if isinstance(x, int) else x.close()
                except Exception: pass
    return ended
steps = {}
steps["descriptors"] = until_error(lambda: os.open("/dev/null", os.O_RDONLY), 2000000)
steps["sockets"] = until_error(lambda: socket.socket(socket.AF_UNIX), 2000000)
steps["epoll"] = until_error(lambda: select.epoll(), 2000000)
steps["terminals"] = until_error(lambda: os.open("/dev/ptmx", os.O_RDWR), 100000)
steps["inotify"] = until_error(lambda: (lambda fd: call(fd) or fd)(libc.inotify_init1(0)), 2000000)
def threads():
    stop, all = threading.Event(), []
    try:
        for _ in range(20000):
            t = threading.Thread(target=stop.wait); t.start(); all.append(t)
        return "no end"
    finally:
        stop.set()
        for t in all: t.join()
steps["threads"] = threads
def processes():
    pids = []
    try:
        for _ in range(20000):
            pid = os.fork()
            if pid == 0:
                signal.pause(); os._exit(0)
            pids.append(pid)
        return "no end"
    finally:
        for pid in pids: os.kill(pid, signal.SIGKILL)
        for pid in pids: os.waitpid(pid, 0)
steps["processes"] = processes
attempt(sys.argv[1], steps[sys.argv[1]])
report()
