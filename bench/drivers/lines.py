"""What the drivers share: requests come as lines of JSON on standard input, each is served in a thread of
its own, and answers leave as lines of JSON with the request's number.
"""
import base64
import json
import os
import signal
import sys
import threading
import time


def serve(opens, ends=lambda: None):
    """Serves until standard input ends, then closes what is left. opens() makes a session with the
    methods run(code), which returns text and a PNG or None, and close()."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end of the input comes with it, and kernels are ended then
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
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
    os._exit(0)  # threads that still wait for a kernel are not waited for


class Outputs:
    """Gathers what the messages of one cell put out."""

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
