def _prepare(argv, path):
    import ast, asyncio, atexit, sys, threading, warnings

    shell = get_ipython()
    # IPython's advice on how to leave a prompt is none for a script.
    warnings.filterwarnings("ignore", message="To exit: use")

    # A script that calls exit or quit means to end, where IPython's own only ask the front end to.
    def leave(status=None):
        raise SystemExit(status)

    shell.push({"exit": leave, "quit": leave})

    # The kernel's own arguments would reach argparse.
    sys.argv = argv
    if path:
        shell.user_ns["__file__"] = path

    # The kernel's event loop waits for as long as the script runs, unless that awaits at its top level,
    # which only works in a kernel. Scripts bring loops of their own, asyncio.run above all, which refuses
    # to run where one is known to run already.
    outer = []

    def begin(info):
        try:
            # docopt and many a print(__doc__) read it.
            shell.user_ns["__doc__"] = ast.get_docstring(ast.parse(info.raw_cell), clean=False)
            awaits = shell.should_run_async(info.raw_cell, transformed_cell=shell.transform_cell(info.raw_cell))
        except Exception:
            return
        if not awaits:
            outer.append(asyncio._get_running_loop())
            asyncio._set_running_loop(None)
            asyncio.set_event_loop(asyncio.new_event_loop())

    # Python ends with its last thread and then calls what was left for the end; a kernel goes on for ever.
    # What the kernel itself started and registered is not the script's.
    kernels = set(threading.enumerate())
    last = []

    def register(func, *args, **kwargs):
        last.append((func, args, kwargs))
        return func

    def unregister(func):
        last[:] = [call for call in last if call[0] != func]
        leave_to_python(func)

    leave_to_python = atexit.unregister
    atexit.register, atexit.unregister = register, unregister

    def end():
        try:
            for thread in threading.enumerate():
                if not thread.daemon and thread not in kernels:
                    thread.join()
        except KeyboardInterrupt:  # which changes no exit status in Python either
            print("KeyboardInterrupt, while threads were still running", file=sys.stderr)
        while last:
            func, args, kwargs = last.pop()
            try:
                func(*args, **kwargs)
            except Exception:
                sys.excepthook(*sys.exc_info())
        if outer:
            asyncio._set_running_loop(outer.pop())
            asyncio.set_event_loop(asyncio._get_running_loop())

    shell.events.register("pre_run_cell", begin)
    shell.events.register("post_run_cell", lambda result: end())
