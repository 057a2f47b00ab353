# The neighbour leaves things that other processes of one kernel could find.
import fcntl
shared = socket.socket(socket.AF_UNIX); shared.bind("\0cellhold-neighbour"); shared.listen(8)
open("/dev/shm/cellhold-neighbour", "w").write("canary")
shm = libc.shmget(0x4242, 4096, 0o1666)
queue = libc.msgget(0x4242, 0o1666)
lock = open("/tmp/cellhold-neighbour.lock", "w"); fcntl.flock(lock, fcntl.LOCK_EX)
listener = socket.create_server(("127.0.0.1", 45454))
state = "kept"
results["shm"] = results["queue"] = "made"
if shm < 0 or queue < 0 and ctypes.get_errno() != errno.ENOSYS: results["shm"] = "failed"
report()
