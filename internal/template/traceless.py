# Runs code in a namespace of its own, and removes the names that the code still adds to the user's namespace.
names = get_ipython().user_ns
before = set(names)
try:
    exec(compile(CODE, "<warm-up>", "exec"), {"__name__": "__main__"})
finally:
    for name in set(names) - before:
        del names[name]
