"""A peer that uses the real libzmq. Usage: peer.py MODE PATH. It prints "bound" when it listens."""
import sys
import time

import zmq

mode, path = sys.argv[1:3]
ctx = zmq.Context()


def bind(kind, **options):
    s = ctx.socket(kind)
    for name, value in options.items():
        s.setsockopt(getattr(zmq, name), value)
    s.bind("ipc://" + path)
    print("bound", zmq.zmq_version(), flush=True)
    return s


if mode == "router":  # sends each message back, with the sender's identity as its first frame
    s = bind(zmq.ROUTER)
    while True:
        who, *rest = s.recv_multipart()
        s.send_multipart([who, who, *rest])
elif mode == "heartbeat":  # disconnects a peer that does not answer PING
    # The timeout is long enough for a loaded machine, and shorter than the time until the answer.
    s = bind(zmq.ROUTER, HEARTBEAT_IVL=50, HEARTBEAT_TIMEOUT=1500, HEARTBEAT_TTL=3000)
    who, *rest = s.recv_multipart()
    time.sleep(2.5)  # many heartbeats
    s.send_multipart([who, *rest])
    s.recv_multipart()
elif mode == "xpub":  # a welcome without topic, then numbered messages, then one of 10 MB
    s = bind(zmq.XPUB)
    s.setsockopt(zmq.XPUB_WELCOME_MSG, b"welcome")
    assert s.recv() == b"\x01"
    for i in range(500):  # ZeroMQ's queue holds 1000
        s.send_multipart([b"topic", str(i).encode()])
    s.send_multipart([b"topic", b"x" * 10_000_000])
    s.recv()
elif mode == "pull":  # a socket of the wrong kind
    s = bind(zmq.PULL)
    s.recv()
