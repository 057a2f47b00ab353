package e2e

import (
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// science has cells with features that filters of system calls often break: threads, processes, shared memory,
// memory maps and native code.
var science = map[string]string{
	"numpy and BLAS threads": "import numpy as np; a = np.random.rand(300, 300); assert np.allclose(a @ np.linalg.inv(a), np.eye(300), atol=1e-4)",
	"scipy":                  "from scipy import optimize, sparse; import scipy.sparse.linalg as l; assert abs(optimize.brentq(lambda x: x*x - 2, 0, 2) - 2**.5) < 1e-9; l.eigsh(sparse.eye(50).tocsc(), 3)",
	"scikit-learn in threads and processes": "from sklearn.ensemble import RandomForestClassifier; from sklearn.datasets import load_iris; d = load_iris(return_X_y=True)\n" +
		"assert RandomForestClassifier(20, n_jobs=2).fit(*d).score(*d) > .9\nfrom joblib import Parallel, delayed; assert Parallel(2)(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]",
	"multiprocessing": "import multiprocessing as mp; assert mp.get_context('fork').Pool(2).map(abs, [-1, -2]) == [1, 2]\nfrom multiprocessing import shared_memory; m = shared_memory.SharedMemory(create=True, size=8); m.close(); m.unlink()",
	"pyarrow and memory maps": "import pyarrow as pa, pyarrow.parquet as pq; pq.write_table(pa.table({'a': list(range(1000))}), '/tmp/a.parquet'); assert pq.read_table('/tmp/a.parquet', memory_map=True).num_rows == 1000\n" +
		"import numpy as np; m = np.memmap('/tmp/m', 'u1', 'w+', shape=4096); m[:] = 1; m.flush()",
	"polars":             "import polars as pl; assert pl.scan_parquet('/tmp/a.parquet').group_by(pl.col('a') % 3).len().collect().height == 3",
	"sqlite and asyncio": "import sqlite3, asyncio; assert sqlite3.connect('/tmp/x.db').execute('select 1').fetchone() == (1,)\nassert await asyncio.to_thread(sum, [1, 2]) == 3",
	"subprocesses":       "import subprocess; assert subprocess.run('seq 3 | sort -r | head -1', shell=True, capture_output=True, text=True).stdout == '3\\n'",
}

func TestScientificPackagesWorkWithTheSystemCallFilter(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, name := range []string{"numpy and BLAS threads", "scipy", "scikit-learn in threads and processes", "multiprocessing",
		"pyarrow and memory maps", "polars", "sqlite and asyncio", "subprocesses"} {
		t.Run(name, func(t *testing.T) {
			if c := s.run(t, id, science[name]); c.Status != cellhold.StatusOK {
				t.Errorf("the cell ended with %s and %s, want ok", c.Status, text(c))
			}
		})
	}
}

func TestMatplotlibNeedsNoNewFontCacheAndAcceptsAddedFonts(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	got := s.must(t, id, `
import io, logging
log = io.StringIO()
logging.getLogger().addHandler(logging.StreamHandler(log))
logging.getLogger("matplotlib.font_manager").setLevel(logging.DEBUG)
import matplotlib.font_manager as fm
import os, glob, shutil
print("built" if "generated new fontManager" in log.getvalue() or glob.glob(os.path.expanduser("~/.cache/matplotlib/fontlist*")) else "ready")
shutil.copy(fm.findfont("DejaVu Sans"), "/tmp/mine.ttf")
fm.fontManager.addfont("/tmp/mine.ttf")
print(any(f.fname == "/tmp/mine.ttf" for f in fm.fontManager.ttflist))`)
	if strings.TrimSpace(got) != "ready\nTrue" {
		t.Errorf("the cell prints %q, want \"ready\" and \"True\"", got)
	}
}

// The kernel starts without a debugger, because no client can reach one. Code can still import the debugger.
func TestAKernelHasNoDebuggerUntilCodeImportsIt(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	if got := s.must(t, id, "import sys; print([m for m in sys.modules if 'debugpy' in m or 'pydevd' in m])"); got != "[]\n" {
		t.Errorf("before the import the kernel has loaded %s, want %s", got, "[]\n")
	}
	if got := s.must(t, id, "import debugpy; print(debugpy.__name__, debugpy.is_client_connected())"); !strings.HasSuffix(got, "debugpy False\n") {
		t.Errorf("after the import the cell prints %s, want debugpy and False", got)
	}
}
