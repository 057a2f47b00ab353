# Values that identify the host. The test compares them with those of the host.
import glob, uuid
def read(path):
    try:
        return open(path, errors="replace").read().strip()
    except OSError as e:
        return ""
for path in ("/proc/sys/kernel/random/boot_id", "/etc/machine-id", "/proc/cmdline", "/proc/version", "/proc/uptime", "/proc/sys/kernel/osrelease",
             "/proc/mounts", "/etc/hostname", "/proc/modules", "/proc/partitions", "/proc/diskstats", "/proc/net/arp", "/proc/net/route", "/proc/keys"):
    results[path] = read(path)
for path in glob.glob("/sys/class/dmi/id/*") + glob.glob("/sys/class/net/*/address"):
    results[path] = read(path)
results["hostname"] = os.uname().nodename
results["mac"] = hex(uuid.getnode())
report()
