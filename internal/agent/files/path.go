package files

import (
	"net/http"
	"path"
	"strings"

	"cellhold"
	"cellhold/internal/guestapi"
)

// path reads a parameter that names a path, and makes it absolute.
func (h *handler) path(r *http.Request, name string) (string, error) {
	p := r.URL.Query().Get(name)
	if p == "" {
		return "", cellhold.Errorf(cellhold.Invalid, "The %s is missing.", name)
	}
	if err := checkPath(p); err != nil {
		return "", err
	}
	if !strings.HasPrefix(p, "/") {
		p = h.base + "/" + p
	}
	return path.Clean(p), nil
}

// checkPath refuses what no file has as its path, and "..": what it means depends on links that
// user code can change, and nobody needs it in an absolute path.
func checkPath(p string) error {
	if len(p) > guestapi.MaxFilePath {
		return cellhold.Errorf(cellhold.Invalid, "The path is longer than %d bytes.", guestapi.MaxFilePath)
	}
	if strings.ContainsRune(p, 0) {
		return cellhold.Errorf(cellhold.Invalid, "A path cannot have a zero byte in it.")
	}
	depth := 0
	for part := range strings.SplitSeq(p, "/") {
		switch {
		case part == "..":
			return cellhold.Errorf(cellhold.Invalid, "A path cannot have \"..\" in it.")
		case len(part) > guestapi.MaxFileName:
			return cellhold.Errorf(cellhold.Invalid, "A name in the path is longer than %d bytes.", guestapi.MaxFileName)
		case part != "" && part != ".":
			depth++
		}
	}
	if depth > guestapi.MaxFileDepth {
		return cellhold.Errorf(cellhold.Invalid, "The path is deeper than %d directories.", guestapi.MaxFileDepth)
	}
	return nil
}

// refuseFixed refuses to move or to remove what a session cannot do without.
func (h *handler) refuseFixed(p string) error {
	if p == "/" || p == h.base {
		return cellhold.Errorf(cellhold.Invalid, "This directory itself must stay; name what is in it.")
	}
	return nil
}
