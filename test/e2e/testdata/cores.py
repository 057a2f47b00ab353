import multiprocessing, os, re, subprocess
from joblib.externals import loky
import joblib, numpy, polars, pyarrow, threadpoolctl
def lines(pattern, path):
    return len(re.findall(pattern, open(path).read(), re.MULTILINE))
def span(path):
    first, _, last = open(path).read().strip().partition('-')
    return int(last or first) + 1
numpy.ones((300, 300)) @ numpy.ones((300, 300))
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
print({
    os.cpu_count(), os.process_cpu_count(), multiprocessing.cpu_count(), len(os.sched_getaffinity(0)),
    os.sysconf('SC_NPROCESSORS_ONLN'), os.sysconf('SC_NPROCESSORS_CONF'),
    int(subprocess.getoutput('nproc')), int(subprocess.getoutput('nproc --all')),
    lines(r'^processor\s', '/proc/cpuinfo'), lines(r'^cpu\d', '/proc/stat'),
    span('/sys/devices/system/cpu/online'), span('/sys/devices/system/cpu/possible'), span('/sys/devices/system/cpu/present'),
    loky.cpu_count(), joblib.cpu_count(), polars.thread_pool_size(), pyarrow.cpu_count(),
    _openmp_effective_n_threads(), *(pool['num_threads'] for pool in threadpoolctl.threadpool_info()),
})
