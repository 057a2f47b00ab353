import time
attempt("set the clock", lambda: time.clock_settime(time.CLOCK_REALTIME, 1))
attempt("set the monotonic clock", lambda: time.clock_settime(time.CLOCK_MONOTONIC, 1))
attempt("settimeofday", lambda: call(libc.settimeofday(struct.pack("qq", 1, 0), None)))
attempt("adjtimex", lambda: call(libc.adjtimex(struct.pack("I", 1) + bytes(400))))
attempt("realtime class", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)))
attempt("a higher priority", lambda: os.nice(-5) and None)
report()
