# The objects in memory now will stay, so the collector does not have to visit them again. Memory that the
# imports have freed does not have to be in the snapshot.
import ctypes
import gc

gc.collect()
gc.freeze()
try:
    ctypes.CDLL(None).malloc_trim(0)
except (AttributeError, OSError):  # another C library
    pass
