# Files of the kernel that a normal host would show to root. A read counts only if it returns data.
def read(path):
    def step():
        with open(path, "rb") as f:
            if f.read(4096).strip(b"\0 \n") == b"":
                return "empty"
    return step
for path in ("/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug", "/proc/kallsyms", "/proc/kmsg", "/dev/kmsg", "/dev/mem",
             "/dev/port", "/proc/sysrq-trigger", "/proc/1/environ", "/proc/1/maps", "/proc/1/stack", "/proc/iomem", "/proc/ioports", "/proc/vmallocinfo",
             "/sys/firmware/dmi/tables/DMI", "/sys/kernel/notes", "/sys/kernel/debug/x", "/sys/kernel/security/lockdown", "/proc/scsi/scsi", "/proc/acpi/wakeup"):
    attempt("read " + path, read(path))
for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname", "/proc/sys/vm/overcommit_memory",
             "/proc/sys/net/ipv4/ip_forward", "/sys/kernel/uevent_helper", "/sys/power/state", "/proc/self/oom_score_adj", "/proc/1/oom_score_adj"):
    value = "-1000" if path.endswith("oom_score_adj") else "1"
    def write():
        fd = os.open(path, os.O_WRONLY)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    attempt("write " + path, write)
report()
