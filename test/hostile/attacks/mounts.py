import shutil, stat
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE = 1, 32, 4096, 8192
def mount(source, target, kind, flags): return lambda: call(libc.mount(source, target, kind, flags, None))
before = open("/proc/self/mountinfo").read()
attempt("bind over the agent", mount(b"/tmp", b"/opt/cellhold", None, MS_BIND))
attempt("bind over proc", mount(b"/tmp", b"/proc", None, MS_BIND))
attempt("remount the root for writes", mount(None, b"/", None, MS_REMOUNT))
attempt("move a mount", mount(b"/proc", b"/tmp", None, MS_MOVE))
attempt("mount proc", mount(b"proc", b"/tmp", b"proc", 0))
attempt("mount overlay", mount(b"overlay", b"/tmp", b"overlay", 0))
for target in (b"/proc", b"/sys", b"/dev", b"/mnt/data", b"/tmp"):
    attempt("unmount " + target.decode(), lambda: call(libc.umount2(target, 2)))
attempt("pivot_root", lambda: call(libc.syscall(155, b"/tmp", b"/tmp")))
attempt("chroot", lambda: os.chroot("/tmp"))
attempt("a device of the kernel's memory", lambda: os.mknod("/tmp/mem", stat.S_IFCHR | 0o666, os.makedev(1, 1)))
attempt("a device of a disk", lambda: os.mknod("/tmp/disk", stat.S_IFBLK | 0o666, os.makedev(8, 0)))
attempt("capabilities of a file", lambda: os.setxattr(shutil.copy("/usr/bin/env", "/tmp/env"), "security.capability", bytes.fromhex("0100000200000004" + "00" * 12)))
def setuid():
    path = shutil.copy("/usr/bin/env", "/tmp/setuid")
    os.chown(path, 0, 0)
attempt("a program of root", setuid)
def changed():
    if open("/proc/self/mountinfo").read() == before:
        raise OSError(errno.EPERM, "unchanged")
attempt("change the mounts", changed)
report()
