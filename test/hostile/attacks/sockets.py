# Looks for control sockets of the host: in the file system, in the table of the kernel and under usual names.
import stat
agent = []
for top, dirs, names in os.walk("/"):
    if top == "/":
        dirs[:] = [d for d in dirs if d not in ("proc", "sys")]
    for name in names:
        path = os.path.join(top, name)
        try:
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                continue
        except OSError:
            continue
        attempt("connect to " + path, lambda: socket.socket(socket.AF_UNIX).connect(path))
for path in ("/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/systemd/private", "/run/dbus/system_bus_socket",
             "/run/systemd/notify", "/run/crio/crio.sock", "/var/run/cri-dockerd.sock", "/run/user/0/bus", "/run/snapd.socket", "/run/udev/control"):
    attempt("connect to " + path, lambda: socket.socket(socket.AF_UNIX).connect(path))
for name in ("CANARY", "/containerd-shim/x.sock", "/tmp/.X11-unix/X0", "/com/ubuntu/upstart", "ISCSIADM_ABSTRACT_NAMESPACE"):
    attempt("connect to the abstract name " + name, lambda: socket.socket(socket.AF_UNIX).connect("\0" + name))
for port in (22, 2375, 2376, 6443, 8080, 10250, PORT):
    attempt(f"connect to port {port}", lambda: socket.create_connection(("127.0.0.1", port), timeout=5).close())
results["abstract names"] = " ".join(sorted({l.split()[-1] for l in open("/proc/net/unix") if "@" in l})) if os.path.exists("/proc/net/unix") else ""
report()
