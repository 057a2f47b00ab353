"""Uses a session through a connection file: from jupyter_client and from jupyter console. Prints one line for each step.

The arguments are the connection file, the folder of the programs, and the names of the stories; none means all.
"""

import base64
import subprocess
import sys
import threading

from jupyter_client import BlockingKernelClient

connection, programs, *stories = sys.argv[1:]
PATIENCE = 120


def step(name):
    print(name, flush=True)


def want(got, expected):
    assert got == expected, f"got {got!r}, want {expected!r}"


def client():
    c = BlockingKernelClient()
    c.load_connection_file(connection)
    c.start_channels()
    c.wait_for_ready(timeout=PATIENCE)
    return c


def run(c, code, **options):
    outputs = []
    reply = c.execute_interactive(code, timeout=PATIENCE, output_hook=outputs.append, **options)
    return reply["content"], [m["content"] for m in outputs if m["msg_type"] != "status" and m["msg_type"] != "execute_input"]


def text(outputs):
    return "".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)


def code_story(c):
    want(text(run(c, "x = 41\nprint('out')\nx + 1")[1]), "out\n42")
    reply, outputs = run(c, "1 / 0")
    want((reply["ename"], outputs[0]["ename"]), ("ZeroDivisionError", "ZeroDivisionError"))
    large = "é" * 3000000
    want(text(run(c, f"print('é' * {len(large)})")[1]), large + "\n")
    step("code")
    plot = "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()"
    png = [o["data"]["image/png"] for o in run(c, plot)[1] if "image/png" in o.get("data", {})]
    want((len(png), base64.b64decode(png[0])[1:4]), (1, b"PNG"))
    step("plot")


def question_story(c):
    def answer(message):
        want(message["content"]["prompt"], "Name? ")
        c.input("Ada")

    want(text(run(c, "print('Hello', input('Name? '))", allow_stdin=True, stdin_hook=answer)[1]), "Hello Ada\n")
    step("input")


def request_story(c):
    reply = c.complete("import mat", reply=True, timeout=PATIENCE)["content"]
    want("matplotlib" in reply["matches"], True)
    step("completion")
    reply = c.inspect("print", reply=True, timeout=PATIENCE)["content"]
    want((reply["found"], "Prints the values" in reply["data"]["text/plain"]), (True, True))
    step("inspection")


def interrupt_story(c):
    def interrupt(message):
        if message["content"].get("text") == "begun\n":
            c.control_channel.send(c.session.msg("interrupt_request", {}))

    code = "import time\nprint('begun', flush=True)\ntime.sleep(1000)"
    reply = c.execute_interactive(code, timeout=PATIENCE, output_hook=interrupt)
    want(reply["content"]["ename"], "KeyboardInterrupt")
    want(c.get_control_msg(timeout=PATIENCE)["msg_type"], "interrupt_reply")
    step("interrupt")


def two_story(c):
    """Each client gets the replies to its own requests, and sees the outputs of the other one."""
    other = client()
    got = {}

    def work(name, with_client):
        got[name] = [text(run(with_client, f"{name}_{i} = {i}\nprint('{name}', {i})")[1]) for i in range(20)]

    threads = [threading.Thread(target=work, args=a) for a in (("one", c), ("two", other))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for name in "one", "two":
        want(got[name], [f"{name} {i}\n" for i in range(20)])
    want(text(run(other, "one_19 + two_19 + x")[1]), "79")
    want(other.hb_channel.is_beating(), True)
    other.stop_channels()
    step("two clients")


def console(*lines):
    """Types lines into jupyter console, and returns what it prints."""
    command = [programs + "/jupyter-console", "--existing", connection, "--simple-prompt", "--ZMQTerminalInteractiveShell.kernel_timeout=120"]
    done = subprocess.run(command, input="".join(line + "\n" for line in lines), capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout + done.stderr


def console_story(c):
    said = console("x + 1", "y = 'from the console'")
    want(("Out[" in said, "42" in said), (True, True))
    want(text(run(c, "y")[1]), "'from the console'")
    step("console")
    c.session.send(c.control_channel.socket, "shutdown_request", {"restart": False})
    reply = c.get_control_msg(timeout=PATIENCE)["content"]
    want((reply["status"], "cellhold session rm" in reply["evalue"]), ("error", True))
    want(text(run(c, "x")[1]), "41")
    step("no shutdown")


one = client()
for story in code_story, question_story, request_story, interrupt_story, two_story, console_story:
    if not stories or story.__name__ in stories:
        story(one)
one.stop_channels()
