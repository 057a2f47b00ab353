# Runs code in a namespace of its own, and takes away what it puts into the user's all the same.
names = get_ipython().user_ns
before = set(names)
try:
    exec(compile(CODE, "<warm-up>", "exec"), {"__name__": "__main__"})
finally:
    for name in set(names) - before:
        del names[name]
