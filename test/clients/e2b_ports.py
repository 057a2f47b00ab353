"""Reaches ports of sandboxes through the Python SDK of E2B. Arguments: the address of the server, and the program for the
sandbox. Prints one line for each step."""

import base64
import os
import socket
import sys

import httpx
from e2b import Sandbox

address, program = sys.argv[1], open(sys.argv[2]).read()


def step(name):
    print(name, flush=True)


def want(got, expected):
    assert got == expected, f"got {got!r}, want {expected!r}"


def get(host, path, headers=None, method="GET", **more):
    return httpx.request(method, f"http://{address}{path}", headers={**(headers or {}), "Host": host}, **more)


def serve(s):
    s.files.write("program.py", program)
    # A sandbox with a running command cannot be paused, so the program is a daemon.
    s.commands.run("setsid python3 program.py 127.0.0.1 8000 > ready 2>&1 & until grep -q ready ready; do sleep 0.1; done")


def web_socket(host, headers):
    c = socket.create_connection(address.split(":"), timeout=30)
    lines = [f"GET /ws HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode()] + [f"{n}: {v}" for n, v in headers.items()]
    c.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    f = c.makefile("rb")
    want(f.readline().split()[1], b"101")
    while f.readline() != b"\r\n":
        pass
    c.sendall(bytes([0x81, 0x80 | 5]) + bytes(4) + b"hello")
    want(f.read(7), bytes([0x81, 5]) + b"hello")
    c.sendall(bytes([0x88, 0x80 | 2]) + bytes(4) + b"\x03\xe8")
    want(f.read(4), bytes([0x88, 2]) + b"\x03\xe8")
    want(f.read(), b"")
    c.close()


def private():
    s = Sandbox.create(timeout=300)
    host = s.get_host(8000)
    want(host, f"8000-{s.sandbox_id}.cells.example:{address.split(':')[1]}")
    token = {"e2b-traffic-access-token": s.traffic_access_token}
    want(get(host, "/").status_code, 403)
    r = get(host, "/", token)
    want((r.status_code, r.json()["message"]), (502, "The sandbox is running but port is not open"))
    serve(s)
    r = get(host, "/a?b=%20c", token)
    want((r.text, r.headers["content-type"], r.headers["set-cookie"]), ("<p>/a?b=%20c</p>", "text/html", "seen=1; Path=/"))
    want(get(host, "/f", token, "POST", content=b"x" * 3_000_000).text, "/f 3000000")
    want(sorted(n.lower() for n in get(host, "/headers", {**token, "X-Access-Token": "t", "Accept": "a", "User-Agent": "u"}).text.split()), ["accept", "accept-encoding", "connection", "host", "user-agent"])
    want("location" in get(host, "/away", token).headers, False)
    web_socket(host, token)
    step("a private port")
    want(s.pause(), True)
    want(get(host, "/", token).status_code, 502)
    s = Sandbox.connect(s.sandbox_id)
    want(get(host, "/", token).text, "<p>/</p>")
    step("a pause, and the program continues")
    s.kill()
    assert "was not found" in get(host, "/", token).text
    step("a kill")


def public():
    s = Sandbox.create(timeout=300, network={"allow_public_traffic": True}, lifecycle={"on_timeout": "pause", "auto_resume": True})
    host = s.get_host(8000)
    serve(s)
    want(get(host, "/").text, "<p>/</p>")
    web_socket(host, {"Origin": "https://any.example"})
    want(s.get_info().network["allow_public_traffic"], True)
    want(get(s.get_host(49983), "/files?path=/etc/passwd").status_code, 401)
    step("a public port")
    s.pause()
    want(get(host, "/").text, "<p>/</p>")
    step("a visitor resumes a sandbox")
    s.kill()


private()
public()
