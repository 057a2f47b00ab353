# identity() prints two lists of values as JSON. "differ" has values that must not be equal in two copies of a
# sandbox. "equal" has values that are equal in all copies of one snapshot, as documented. used() creates the random
# generators before the snapshot. identity() uses only these generators. Run it once in each copy.


def used():
    import multiprocessing
    import random
    import ssl
    import tempfile
    import uuid

    import numpy
    random.random(), numpy.random.random(), ssl.RAND_bytes(16), uuid.uuid1(), uuid.getnode()
    next(tempfile._get_candidate_names())
    multiprocessing.current_process().authkey
    numpy.random.standard_normal()  # legacy generators make two values and keep the second one


def identity():
    import hashlib
    import json
    import multiprocessing
    import random
    import secrets
    import socket
    import ssl
    import subprocess
    import tempfile
    import time
    import uuid

    import numpy
    kernel = get_ipython().kernel
    first = uuid.uuid1()
    boot = open("/proc/sys/kernel/random/boot_id").read().strip()
    bash = subprocess.run(["bash", "-c", "echo $RANDOM$SRANDOM"], capture_output=True, text=True).stdout.strip()
    differ = {
        "random": random.random(),
        "random_gauss": random.gauss(),
        "numpy": numpy.random.random(),
        "numpy_normal": numpy.random.standard_normal(),
        "default_rng": numpy.random.default_rng().random(),
        "uuid1_node": first.node,
        "uuid1": str(first),
        "getnode": uuid.getnode(),
        "uuid4": str(uuid.uuid4()),
        "secrets": secrets.token_hex(),
        "ssl": ssl.RAND_bytes(16).hex(),
        "tempfile": next(tempfile._get_candidate_names()),
        "authkey": hashlib.sha256(bytes(multiprocessing.current_process().authkey)).hexdigest(),
        "session": kernel.session.session,
        "ident": kernel.ident,
        "hostname": socket.gethostname(),
        "bash": bash,
        "time": time.time_ns(),
    }
    equal = {"hash": hash("cellhold"), "address": id(json), "boot_id": boot}
    print(json.dumps({"differ": differ, "equal": equal}))
