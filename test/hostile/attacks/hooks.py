# Leaves code at each place that Python, IPython or the dynamic loader runs at the start of a process.
import site
probe = '''
import json, os
def note(place):
    status = dict(l.split(":", 1) for l in open("/proc/self/status"))
    caps = "".join(v.strip() for k, v in status.items() if k.startswith("Cap")).strip("0")
    line = dict(place=place, uids=sorted(set(os.getresuid() + os.getresgid())), caps=caps, groups=os.getgroups(), nnp=status.get("NoNewPrivs", "").strip())
    fd = os.open("/workspace/hooks.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (json.dumps(line) + "\\n").encode()); os.close(fd)
'''
def leave(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w").write(text)
home, own = os.path.expanduser("~"), site.getusersitepackages()
def hook(place): return probe + f"note({place!r})\n"
attempt("user site", lambda: leave(own + "/usercustomize.py", hook("usercustomize")))
attempt("user sitecustomize", lambda: leave(own + "/sitecustomize.py", hook("sitecustomize")))
attempt("pth", lambda: leave(own + "/first.pth", "import first_hook\n"))
attempt("pth module", lambda: leave(own + "/first_hook.py", hook("pth")))
attempt("ipython", lambda: leave(home + "/.ipython/profile_default/startup/00.py", hook("ipython")))
attempt("config", lambda: leave(home + "/.ipython/profile_default/ipython_kernel_config.py", hook("config")))
attempt("stdlib", lambda: leave("/workspace/colorsys.py", hook("shadow")))
attempt("preload", lambda: leave("/etc/ld.so.preload", "/workspace/x.so\n"))
for folder in [p for p in sys.path if p.startswith("/usr")] + ["/usr/lib/python3/dist-packages", "/etc/python3.11"]:
    attempt("write " + folder, lambda: leave(folder + "/sitecustomize.py", hook(folder)))
report()
