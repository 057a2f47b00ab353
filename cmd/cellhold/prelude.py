def _prepare(argv, path):
    import asyncio, sys, warnings

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

    def hide(info):
        try:
            awaits = shell.should_run_async(info.raw_cell, transformed_cell=shell.transform_cell(info.raw_cell))
        except Exception:
            return
        if not awaits:
            outer.append(asyncio._get_running_loop())
            asyncio._set_running_loop(None)
            asyncio.set_event_loop(asyncio.new_event_loop())

    def unhide():
        if outer:
            asyncio._set_running_loop(outer.pop())
            asyncio.set_event_loop(asyncio._get_running_loop())

    shell.events.register("pre_run_cell", hide)
    shell.events.register("post_execute", unhide)
