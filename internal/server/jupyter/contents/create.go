package contents

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"cellhold"
	"cellhold/internal/lazy"
)

// maxNumber is the highest number that the server adds to the name of a new file.
const maxNumber = 1000

// emptyNotebook is the file of a new notebook.
const emptyNotebook = "{\n \"cells\": [],\n \"metadata\": {},\n \"nbformat\": 4,\n \"nbformat_minor\": 5\n}\n"

// Post makes a new file, notebook or directory, or a copy, in a directory. The server chooses the name. It also makes a
// checkpoint, or restores it.
func (s *Server) Post(w http.ResponseWriter, r *http.Request, caller string) error {
	var d document
	if err := decode(r, &d); err != nil {
		return err
	}
	if file, id, ok := checkpointOf(r); ok && d.CopyFrom == "" && d.Type == "" {
		return s.postCheckpoint(w, r, caller, file, id)
	}
	dir, err := toFill(r.PathValue("path"))
	if err != nil {
		return err
	}
	if d.CopyFrom != "" {
		return s.postCopy(w, r, caller, dir, d.CopyFrom)
	}
	name := nameOf(d)
	if err := checkName(name.first + name.end); err != nil {
		return err
	}
	return s.within(r.Context(), caller, dir, func(a entered) error {
		return s.named(r.Context(), a, dir, name, func(p place) error {
			m, err := create(r.Context(), a, p, name.kind)
			if err != nil {
				return err
			}
			answer(w, r, http.StatusCreated, m)
			return nil
		})
	})
}

// newName is the name of a new file: the first part, then a number if the name is taken, then the end.
type newName struct {
	first, between, end string
	kind                string
}

// number returns the name with a number. The first one has no number.
func (n newName) number(i int) string {
	if i == 0 {
		return n.first + n.end
	}
	return fmt.Sprintf("%s%s%d%s", n.first, n.between, i, n.end)
}

// nameOf returns the name of a new file, as Jupyter Server chooses it.
func nameOf(d document) newName {
	switch {
	case d.Type == typeDirectory:
		return newName{"Untitled Folder", " ", "", typeDirectory}
	case d.Type == typeNotebook || d.Type == "" && d.Ext == ".ipynb":
		return newName{"Untitled", "", ".ipynb", typeNotebook}
	}
	return newName{"untitled", "", d.Ext, typeFile}
}

// copied is the part of a name that earlier copies have.
var copied = lazy.Regexp(`-Copy\d*\.`)

// copyOf returns the name of a copy, as Jupyter Server chooses it.
func copyOf(name string) newName {
	name = copied().ReplaceAllLiteralString(name, ".")
	first, end, found := strings.Cut(name, ".")
	if strings.HasSuffix(name, ".ipynb") {
		first, end = strings.TrimSuffix(name, ".ipynb"), "ipynb"
	}
	if found {
		end = "." + end
	}
	return newName{first: first, between: "-Copy", end: end}
}

// named finds a free name in a directory, and calls f with its place. Until f returns, no other request gets the name.
func (s *Server) named(ctx context.Context, a entered, dir place, n newName, f func(place) error) error {
	done, err := s.naming.Hold(ctx, string(a.id)+"\x00"+dir.inside)
	if err != nil {
		return err
	}
	defer done()
	switch into, err := stat(ctx, a, dir); {
	case err != nil:
		return err
	case into.Type != cellhold.FileDirectory:
		return cellhold.Errorf(cellhold.Invalid, "Cannot POST to files, use PUT instead.")
	}
	for i := range maxNumber + 1 {
		p := dir.child(n.number(i))
		_, err := a.StatFile(ctx, p.guest(), false)
		if cellhold.KindOf(err) == cellhold.NotFound {
			return f(p)
		}
		if err != nil {
			return err
		}
	}
	return cellhold.Errorf(cellhold.Conflict, "The directory has %d files with names such as %.100q: rename or remove some.", maxNumber, n.number(1))
}

// create makes an empty file, notebook or directory.
func create(ctx context.Context, a entered, p place, kind string) (model, error) {
	if kind == typeDirectory {
		f, _, err := a.MakeDir(ctx, p.guest())
		return modelOf(p, f), err
	}
	content := ""
	if kind == typeNotebook {
		content = emptyNotebook
	}
	return put(ctx, a, p, kind, []byte(content))
}

// postCopy makes a copy of a file or a directory, also of another session of the caller.
func (s *Server) postCopy(w http.ResponseWriter, r *http.Request, caller string, dir place, from string) error {
	of, err := parse(from)
	if err == nil {
		of, err = toChange(of.String()) // a folder of a session cannot be copied, and a hidden file neither
	}
	if err != nil {
		return err
	}
	o, err := s.original(r.Context(), caller, of)
	if err != nil {
		return err
	}
	defer o.body.Close()
	return s.within(r.Context(), caller, dir, func(a entered) error {
		if o.id == a.id && o.isDir && strings.HasPrefix(dir.inside+"/", of.inside+"/") {
			return cellhold.Errorf(cellhold.Invalid, "%.400s cannot be copied into itself: choose another directory.", of)
		}
		return s.named(r.Context(), a, dir, copyOf(of.name()), func(p place) error {
			m, err := o.copyTo(r.Context(), a, p)
			if err != nil {
				return err
			}
			answer(w, r, http.StatusCreated, m)
			return nil
		})
	})
}

// original is an open file or directory that a request copies.
type original struct {
	id    cellhold.SessionID
	isDir bool
	size  int64
	body  io.ReadCloser // the file, or an archive of the directory
}

// original opens what a request copies. The request then leaves the sandbox: if it waited for another sandbox inside this
// one, two requests could wait for each other. The caller must close the body.
func (s *Server) original(ctx context.Context, caller string, p place) (o original, err error) {
	err = s.within(ctx, caller, p, func(a entered) error {
		f, err := stat(ctx, a, p)
		if err != nil {
			return err
		}
		o.id, o.isDir = a.id, f.Type == cellhold.FileDirectory
		if o.isDir {
			o.body, err = a.PackDir(ctx, p.guest(), "tar")
			return err
		}
		f, o.body, err = open(ctx, a, p)
		o.size = f.Size
		return err
	})
	return o, err
}

// copyTo copies the original to a free place.
func (o original) copyTo(ctx context.Context, a entered, p place) (model, error) {
	if o.isDir {
		if _, _, err := a.UnpackDir(ctx, p.guest(), o.body, -1); err != nil {
			return model{}, noSpace(err)
		}
		f, err := stat(ctx, a, p)
		return modelOf(p, f), err
	}
	f, err := a.WriteFile(ctx, p.guest(), 0, o.body, o.size)
	return modelOf(p, f), noSpace(err)
}
