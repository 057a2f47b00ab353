"""Helpers for all attacks: attempt() records the result of one step."""
import ctypes, errno, json, os, signal, socket, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
results = {}

def attempt(name, step):
    """Records "works", or the name of the error."""
    try:
        results[name] = step() or "works"
    except OSError as e:
        results[name] = errno.errorcode.get(e.errno, type(e).__name__)
    except Exception as e:
        results[name] = type(e).__name__

def call(result):
    """Raises the error of a function of libc."""
    if result < 0:
        raise OSError(ctypes.get_errno(), "libc")

def report():
    print(json.dumps(results))
