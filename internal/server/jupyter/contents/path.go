package contents

import (
	"path"
	"strings"
	"unicode/utf8"

	"cellhold"
)

const (
	// maxPath is the maximum length of a path in bytes, and maxName that of a name. Linux has the same limits.
	maxPath = 4096
	maxName = 255
	// maxDepth is the maximum number of names in a path. The agent has the same limit.
	maxDepth = 128
)

// place is a path of the API.
type place struct {
	folder string // name of the session's folder; "" means the root
	inside string // path in the sandbox, relative to the working directory; "" means the folder itself
	hidden bool   // a name begins with a dot. As in Jupyter Server, clients do not see such files.
}

// parse reads a path of the API. It refuses every name that has another meaning in the sandbox than a name.
func parse(text string) (place, error) {
	if len(text) > maxPath {
		return place{}, cellhold.Errorf(cellhold.Invalid, "The path has %d bytes; the limit is %d bytes.", len(text), maxPath)
	}
	var names []string
	hidden := false
	for name := range strings.SplitSeq(text, "/") {
		if name == "" {
			continue
		}
		if err := checkName(name); err != nil {
			return place{}, err
		}
		hidden = hidden || name[0] == '.'
		names = append(names, name)
	}
	if len(names) > maxDepth {
		return place{}, cellhold.Errorf(cellhold.Invalid, "The path has %d names; the limit is %d.", len(names), maxDepth)
	}
	if len(names) == 0 {
		return place{}, nil
	}
	return place{folder: names[0], inside: strings.Join(names[1:], "/"), hidden: hidden}, nil
}

// checkName checks one name of a path.
func checkName(name string) error {
	switch {
	case name == "." || name == "..":
		return cellhold.Errorf(cellhold.Invalid, "The path has the name %q: use a path without it.", name)
	case len(name) > maxName:
		return cellhold.Errorf(cellhold.Invalid, "The name %.40q… has %d bytes; the limit is %d bytes.", name, len(name), maxName)
	case strings.ContainsAny(name, "\x00/"):
		return cellhold.Errorf(cellhold.Invalid, "The name %.40q has a zero byte or a slash: use another name.", name)
	case !utf8.ValidString(name):
		return cellhold.Errorf(cellhold.Invalid, "The name %.40q is not UTF-8: /v1/sessions/{id}/files has such files.", name)
	}
	return nil
}

// toRead reads the path of a file that must exist.
func toRead(text string) (place, error) {
	p, err := parse(text)
	if err == nil && p.hidden {
		err = notFound(p)
	}
	return p, err
}

// toChange reads the path of a file in a sandbox that a request changes.
func toChange(text string) (place, error) {
	p, err := parse(text)
	switch {
	case err != nil:
	case p.hidden:
		err = cellhold.Errorf(cellhold.Invalid, "Names that begin with a dot are hidden: use another name than %.100q, or /v1/sessions/{id}/files.", p.String())
	case p.folder == "":
		err = cellhold.Errorf(cellhold.Denied, "The root has only the folders of sessions: use a path in one of them. A new kernel makes a new folder.")
	case p.inside == "":
		err = cellhold.Errorf(cellhold.Denied, "The folder %.100q belongs to a session: it ends with its kernel, and it cannot be changed.", p.folder)
	}
	return p, err
}

// toFill reads the path of a directory in which a request makes a file.
func toFill(text string) (place, error) {
	p, err := parse(text)
	if err != nil || p.inside == "" && p.folder != "" && !p.hidden {
		return p, err
	}
	return toChange(text)
}

// String returns the path as clients see it.
func (p place) String() string {
	if p.inside == "" {
		return p.folder
	}
	return p.folder + "/" + p.inside
}

// name returns the last name of a path.
func (p place) name() string {
	if p.folder == "" {
		return ""
	}
	return path.Base(p.String())
}

// guest returns the path for the sandbox.
func (p place) guest() string {
	if p.inside == "" {
		return "."
	}
	return p.inside
}

// child returns the place of a name in a directory. The caller must check the name.
func (p place) child(name string) place {
	p.inside, p.hidden = path.Join(p.inside, name), p.hidden || name[0] == '.'
	return p
}

// dir returns the directory of a place.
func (p place) dir() place {
	p.inside = path.Dir(p.inside)
	if p.inside == "." {
		p.inside = ""
	}
	return p
}

// isNotebook reports whether a name is that of a notebook.
func (p place) isNotebook() bool { return strings.HasSuffix(p.inside, ".ipynb") }

func notFound(p place) error {
	return cellhold.Errorf(cellhold.NotFound, "file or directory %.400q does not exist", p.String())
}
