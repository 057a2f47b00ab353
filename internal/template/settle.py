# Keeps the present objects out of later garbage collections, and returns freed memory, so that it is not in the
# snapshot.
import ctypes
import gc

gc.collect()
gc.freeze()
try:
    ctypes.CDLL(None).malloc_trim(0)
except (AttributeError, OSError):  # another C library
    pass
