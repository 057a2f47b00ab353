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

// places are where a Python keeps packages.
type places struct {
	Libs    []string `json:"libs"`    // purelib and platlib, each once
	Scripts string   `json:"scripts"` // commands of packages
	Data    string   `json:"data"`    // what else packages bring
}

// questionForPlaces asks Python for its places. -S and -I keep hooks and settings of others out.
const questionForPlaces = `import json, sysconfig
p = sysconfig.get_paths()
print(json.dumps({"libs": sorted({p["purelib"], p["platlib"]}), "scripts": p["scripts"], "data": p["data"]}))`

// ask asks Python where it keeps packages. It is asked before anything has been installed, and not
// again: a package could put a Python of its own in place of that one, and make us give away more.
func (r *Room) ask(ctx context.Context, python string) (*places, error) {
	end, err := r.o.Do(ctx, []string{python, "-I", "-S", "-c", questionForPlaces}, []string{"PATH=" + r.o.Path, "LANG=C.UTF-8"}, "/")
	if err != nil {
		return nil, fmt.Errorf("ask Python for its directories: %w", err)
	}
	var p places
	if end.Code != 0 || end.Signal != 0 || json.Unmarshal([]byte(end.Output), &p) != nil || !p.sane() {
		return nil, cellhold.Errorf(cellhold.Unsupported, "The session's Python does not say where it keeps packages.")
	}
	return &p, nil
}

// sane refuses places that are not those of packages, since we give them to the installer.
func (p *places) sane() bool {
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

// readBounded reads the beginning of a regular file; nil when there is none.
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

// topLevel returns what can be imported because of the paths of a package's record.
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
