package files

import (
	"net/http"
	"path"
	"strings"

	"cellhold"
	"cellhold/internal/guestapi"
)

// path reads a parameter that is a path, and makes it absolute.
func (h *handler) path(r *http.Request, name string) (string, error) {
	p := r.URL.Query().Get(name)
	if p == "" {
		return "", cellhold.Errorf(cellhold.Invalid, "The parameter %s is missing.", name)
	}
	if err := checkPath(p); err != nil {
		return "", err
	}
	if !strings.HasPrefix(p, "/") {
		p = h.base + "/" + p
	}
	return path.Clean(p), nil
}

// checkPath fails for a path that no file can have, and for "..". The target of ".." depends on links that
// user code can change, and an absolute path does not need it.
func checkPath(p string) error {
	if len(p) > guestapi.MaxFilePath {
		return cellhold.Errorf(cellhold.Invalid, "The path is longer than %d bytes.", guestapi.MaxFilePath)
	}
	if strings.ContainsRune(p, 0) {
		return cellhold.Errorf(cellhold.Invalid, "A path cannot contain a zero byte.")
	}
	depth := 0
	for part := range strings.SplitSeq(p, "/") {
		switch {
		case part == "..":
			return cellhold.Errorf(cellhold.Invalid, "A path cannot contain \"..\".")
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

// checkRemovable fails for directories that a session needs.
func (h *handler) checkRemovable(p string) error {
	if p == "/" || p == h.base {
		return cellhold.Errorf(cellhold.Invalid, "This directory cannot be moved, removed or replaced; give the path of an entry in it.")
	}
	return nil
}
