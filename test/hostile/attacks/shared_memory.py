# Fills shared memory, which counts as memory of the session.
def fill():
    data = b"x" * (1 << 20)
    with open("/dev/shm/fill", "wb", buffering=0) as f:
        for _ in range(1 << 20):
            f.write(data)
attempt("a terabyte of shared memory", fill)
report()
