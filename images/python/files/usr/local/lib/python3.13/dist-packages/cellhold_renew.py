"""Makes a kernel differ from all other kernels that continue from the same snapshot.

Imported modules get new random state; no module is imported for this. Values from the operating system differ
anyway: os.urandom, secrets, uuid4 and new generators of numpy.random.default_rng. Generators that the code has
created itself continue from their old state.
"""

import hashlib
import json
import os
import sys

# Modules with a generator of their own, and the function that seeds it with a number.
SEEDED = {"random": "seed", "polars": "set_random_seed", "sympy.core.random": "seed"}


def renew(key, session, entropy, kernel=None):
    """Renews this process. The key comes last, because it signs all later messages."""
    source = bytes.fromhex(entropy)

    def fresh(name, size):
        return hashlib.blake2b(source, digest_size=size, person=name.encode()[:16]).digest()

    for name, seed in SEEDED.items():
        if module := sys.modules.get(name):
            getattr(module, seed)(int.from_bytes(fresh(name, 7), "big"))
    renew_numpy(fresh)
    renew_libraries(fresh)
    renew_kernel(kernel or running_kernel(), key, session)


def renew_numpy(fresh):
    if generators := sys.modules.get("numpy.random"):
        words = [int.from_bytes(fresh(f"numpy{i}", 4), "big") for i in range(8)]
        bits = generators.get_bit_generator()
        if isinstance(bits, generators.MT19937):
            generators.seed(words)
        else:  # the code has replaced the generator
            generators.set_bit_generator(type(bits)(words))


def renew_libraries(fresh):
    if tempfile := sys.modules.get("tempfile"):
        tempfile._name_sequence = None  # the next use makes a new one
    if platform := sys.modules.get("platform"):
        platform._uname_cache = None  # the cache has the old host name
    if uuid := sys.modules.get("uuid"):
        # Code cannot change the node and the sequence in libuuid. So Python's own generator replaces libuuid here.
        uuid._generate_time_safe = uuid._last_timestamp = None
        uuid._node = int.from_bytes(fresh("uuid", 6), "big") | 1 << 40
    if ssl := sys.modules.get("_ssl"):
        ssl.RAND_add(fresh("ssl", 48), 48.0)  # makes OpenSSL ask the operating system too
    process = sys.modules.get("multiprocessing.process")
    if process and not process._children:  # children know the old key, and need it
        process.current_process().authkey = fresh("authkey", 32)


def running_kernel():
    from ipykernel.kernelapp import IPKernelApp
    return IPKernelApp.instance().kernel


def renew_kernel(kernel, key, session):
    kernel.ident = str(__import__("uuid").uuid4())
    shell = getattr(kernel, "shell", None)
    if shell is not None:
        shell.displayhook.topic = kernel._topic("execute_result")
    if (publisher := getattr(kernel, "publisher", None)) is not None:  # on the stream, where no key is needed
        publisher.helper.rearm()
    else:
        write_connection_file(kernel.parent.abs_connection_file, key)
        kernel.session.key = key.encode()
    kernel.session.session = session


def write_connection_file(path, key):
    """Puts the key into the file, for other clients of the kernel. The new file replaces the old one in one step, and only
    this user can read it."""
    with open(path) as file:
        connection = json.load(file)
    connection["key"] = key
    new = path + ".new"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(connection, file)
    os.replace(new, path)
