import fcntl, pty, termios
def inject(fd): return lambda: fcntl.ioctl(fd, termios.TIOCSTI, b"x") and None
parent, child = pty.openpty()
attempt("push input into a terminal", inject(child))
attempt("push input into the standard input", inject(0))
attempt("TIOCLINUX", lambda: fcntl.ioctl(child, 0x541C, b"\x02" + bytes(15)) and None)
owner = """
import fcntl, os, sys, termios
os.setsid()
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
try: fcntl.ioctl(fd, termios.TIOCSTI, b"x"); print("works")
except OSError: print("EPERM")
"""
import subprocess
results["push input as the owner of the terminal"] = subprocess.run([sys.executable, "-c", owner, os.ttyname(child)], capture_output=True, text=True, timeout=60).stdout.strip()
for fd in (0, 1, 2):
    attempt(f"steal the terminal of descriptor {fd}", lambda: fcntl.ioctl(fd, termios.TIOCSCTTY, 1) and None)
for n in range(8):
    attempt(f"open terminal {n}", lambda: os.open(f"/dev/tty{n}", os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY) and None)
    if n and os.path.exists(f"/dev/pts/{n}") and os.stat(f"/dev/pts/{n}").st_uid != os.getuid():
        attempt(f"open pts {n}", lambda: os.open(f"/dev/pts/{n}", os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY) and None)
attempt("the console", lambda: os.open("/dev/console", os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY) and None)
report()
