"""The common part of these programs. Requests are lines of JSON on standard input. Each is served in its own thread.
Answers are lines of JSON on standard output, with the number of the request.
"""
import base64
import json
import os
import signal
import sys
import threading
import time


def serve(opens, ends=lambda: None):
    """Serves until standard input ends, then closes the open sessions and calls ends(). opens() creates a session with
    two methods: run(code), which returns text and a PNG or None, and close()."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the input ends at the same time, and then the sessions are closed in order
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # text that libraries print must not look like an answer
    sessions, lock = {}, threading.Lock()

    def do(request):
        op, key = request["op"], request["session"]
        if op == "open":
            sessions[key] = opens()
            return {}
        if op == "close":
            sessions.pop(key).close()
            return {}
        if op == "run":
            text, png = sessions[key].run(request["code"])
            return {"text": text, "png": png and base64.b64encode(png).decode()}
        took = []
        for _ in range(request["rounds"]):
            begun = time.perf_counter()
            sessions[key].run(request["code"])
            took.append(time.perf_counter() - begun)
        return {"took": took}

    def answer(request):
        try:
            reply = do(request)
        except Exception as e:
            reply = {"error": f"{type(e).__name__}: {e}"}
        with lock:
            print(json.dumps({**reply, "number": request["number"]}), file=out, flush=True)

    print("ready", file=out, flush=True)
    for line in sys.stdin:
        threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()
    for session in list(sessions.values()):
        try:
            session.close()
        except Exception:
            pass
    ends()
    os._exit(0)  # do not wait for threads that still wait for a kernel


class Outputs:
    """Collects the outputs of one cell from its messages."""

    def __init__(self):
        self.text, self.png, self.error = [], None, None

    def take(self, message):
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            self.text.append(content["text"])
        elif kind in ("execute_result", "display_data"):
            if "image/png" in content["data"] and self.png is None:
                self.png = base64.b64decode(content["data"]["image/png"])
            self.text.append(content["data"].get("text/plain", ""))
        elif kind == "error":
            self.error = f"{content['ename']}: {content['evalue']}"

    def result(self):
        if self.error:
            raise RuntimeError(self.error)
        return "".join(self.text), self.png
