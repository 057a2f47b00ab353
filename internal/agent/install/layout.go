package install

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"cellhold"
)

// layout has the directories in which a Python keeps packages.
type layout struct {
	Libs    []string `json:"libs"`    // purelib and platlib, each once
	Scripts string   `json:"scripts"` // commands of packages
	Data    string   `json:"data"`    // other files of packages
}

// layoutCode prints the layout of a Python. -S and -I ignore hooks and settings of packages.
const layoutCode = `import json, sysconfig
p = sysconfig.get_paths()
print(json.dumps({"libs": sorted({p["purelib"], p["platlib"]}), "scripts": p["scripts"], "data": p["data"]}))`

// ask asks Python for its layout. It runs once, before the first installation. Later, a package could replace
// Python and report other directories, and the agent would change their owner.
func (r *Installer) ask(ctx context.Context, python string) (*layout, error) {
	end, err := r.o.Do(ctx, []string{python, "-I", "-S", "-c", layoutCode}, []string{"PATH=" + r.o.Path, "LANG=C.UTF-8"}, "/")
	if err != nil {
		return nil, fmt.Errorf("ask Python for its directories: %w", err)
	}
	var p layout
	if end.Code != 0 || end.Signal != 0 || json.Unmarshal([]byte(end.Output), &p) != nil || !p.sane() {
		return nil, cellhold.Errorf(cellhold.Unsupported, "The session's Python does not report its package directories.")
	}
	return &p, nil
}

// sane reports whether the directories have the form of package directories. The agent checks this, because the
// installer becomes their owner.
func (p *layout) sane() bool {
	if len(p.Libs) == 0 || len(p.Libs) > 2 {
		return false
	}
	for _, lib := range p.Libs {
		if base := filepath.Base(lib); !filepath.IsAbs(lib) || base != "site-packages" && base != "dist-packages" {
			return false
		}
	}
	return filepath.IsAbs(p.Scripts) && filepath.IsAbs(p.Data)
}

// readBounded reads the beginning of a regular file, or returns nil when there is none.
func readBounded(file string, limit int64) []byte {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil
	}
	return b
}

// topLevel returns the names that can be imported, from the paths in a package's record.
func topLevel(record []byte) []string {
	var names []string
	for line := range strings.Lines(string(record)) {
		file, _, _ := strings.Cut(strings.TrimSpace(line), ",")
		file = strings.Trim(file, `"`)
		first, rest, deep := strings.Cut(file, "/")
		switch {
		case strings.HasSuffix(first, ".dist-info") || strings.HasSuffix(first, ".data") || first == ".." || first == "__pycache__" || path.IsAbs(file):
			continue
		case deep && !strings.HasSuffix(rest, ".py") && !strings.HasSuffix(rest, ".so"):
			continue
		case !deep && !strings.HasSuffix(first, ".py") && !strings.HasSuffix(first, ".so"):
			continue
		case !deep:
			first, _, _ = strings.Cut(first, ".")
		}
		if isIdentifier(first) && !slices.Contains(names, first) {
			names = append(names, first)
		}
	}
	slices.Sort(names)
	return names
}

func isIdentifier(s string) bool {
	for i, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c < 0x80 && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
