# What is in memory now stays: the collector need not look at it again, and what the imports have freed
# need not be in the snapshot.
import ctypes
import gc

gc.collect()
gc.freeze()
try:
    ctypes.CDLL(None).malloc_trim(0)
except (AttributeError, OSError):  # another C library
    pass
