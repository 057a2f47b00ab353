# Results have the form family/type/protocol. Only sockets that code can create are listed.
open_sockets = []
for family in range(46):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_RDM, socket.SOCK_SEQPACKET):
        protocols = range(23) if family == socket.AF_NETLINK else (0, 1, 132, 255)
        for protocol in protocols:
            fd = libc.socket(family, kind, protocol)
            if fd >= 0:
                os.close(fd)
                open_sockets.append(f"{family}/{int(kind)}/{protocol}")
    pair = (ctypes.c_int * 2)()
    if libc.socketpair(family, socket.SOCK_STREAM, 0, pair) == 0:
        open_sockets.append(f"pair {family}")
        os.close(pair[0]), os.close(pair[1])
results["open"] = " ".join(open_sockets)
report()
