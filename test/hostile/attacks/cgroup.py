for top, dirs, names in os.walk("/sys/fs/cgroup"):
    for name in ("cgroup.procs", "tasks", "release_agent", "notify_on_release", "memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max", "pids.max"):
        path = os.path.join(top, name)
        attempt("write " + path, lambda: open(path, "w").write("1"))
attempt("make a group", lambda: os.mkdir("/sys/fs/cgroup/mine"))
attempt("make a group of processes", lambda: os.mkdir("/sys/fs/cgroup/pids/mine"))
os.makedirs("/tmp/cg", exist_ok=True)
attempt("mount cgroup", lambda: call(libc.mount(b"cgroup", b"/tmp/cg", b"cgroup", 0, b"memory")))
attempt("mount cgroup2", lambda: call(libc.mount(b"cgroup2", b"/tmp/cg", b"cgroup2", 0, None)))
report()
