package contents

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"cellhold"
	"cellhold/internal/notebook"
)

// document is the body of a request that writes. Clients send more fields of the model, which have no meaning here.
type document struct {
	Type     string          `json:"type"`
	Format   string          `json:"format"`
	Content  json.RawMessage `json:"content"`
	Chunk    *int            `json:"chunk"`     // number of a part, from 1; -1 is the last one
	CopyFrom string          `json:"copy_from"` // POST only: path of the original
	Ext      string          `json:"ext"`       // POST only: end of the new name
	Path     string          `json:"path"`      // PATCH only: the new path
}

// Put writes a file, a notebook or a directory. Missing parents are created.
func (s *Server) Put(w http.ResponseWriter, r *http.Request, caller string) error {
	p, err := toChange(r.PathValue("path"))
	if err != nil {
		return err
	}
	var d document
	if err := decode(r, &d); err != nil {
		return err
	}
	release, err := s.hold(r.Context(), int64(len(d.Content)))
	if err != nil {
		return err
	}
	defer release()
	if d.CopyFrom != "" {
		return cellhold.Errorf(cellhold.Invalid, "Cannot copy with PUT, only POST")
	}
	return s.within(r.Context(), caller, p, func(a entered) error {
		switch {
		case d.Chunk != nil:
			return s.putPart(w, r, a, p, d)
		case d.Type == typeDirectory:
			return s.putDirectory(w, r, a, p)
		}
		return s.putFile(w, r, a, p, d)
	})
}

func (s *Server) putDirectory(w http.ResponseWriter, r *http.Request, a entered, p place) error {
	f, made, err := a.MakeDir(r.Context(), p.guest())
	if err != nil {
		return err
	}
	answer(w, r, statusFor(made), modelOf(p, f))
	return nil
}

func (s *Server) putFile(w http.ResponseWriter, r *http.Request, a entered, p place, d document) error {
	content, err := d.bytes(p)
	if err != nil {
		return err
	}
	isNew, err := missing(r.Context(), a, p)
	if err != nil {
		return err
	}
	m, err := put(r.Context(), a, p, d.kind(), content)
	if err != nil {
		return err
	}
	answer(w, r, statusFor(isNew), m)
	return nil
}

// put writes a whole file and returns its model.
func put(ctx context.Context, a entered, p place, kind string, content []byte) (model, error) {
	f, err := a.WriteFile(ctx, p.guest(), 0, bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return model{}, noSpace(err)
	}
	m := modelOf(p, f)
	m.Type = kind
	m.setHash(hashOf(content))
	return m, nil
}

// missing reports whether a path has no file yet. It refuses a path that has something else.
func missing(ctx context.Context, a entered, p place) (bool, error) {
	f, err := a.StatFile(ctx, p.guest(), true)
	switch {
	case cellhold.KindOf(err) == cellhold.NotFound:
		return true, nil
	case err != nil:
		return false, err
	case f.Type == cellhold.FileDirectory:
		return false, badType(p, "a directory, not a file")
	}
	return false, nil
}

// kind returns the type of a document. As in Jupyter Server, an unknown type means a file.
func (d document) kind() string {
	if d.Type == typeNotebook {
		return typeNotebook
	}
	return typeFile
}

// bytes returns the content of the file.
func (d document) bytes(p place) ([]byte, error) {
	switch {
	case d.Type == "":
		return nil, cellhold.Errorf(cellhold.Invalid, "No file type provided")
	case len(d.Content) == 0 || string(d.Content) == "null":
		return nil, cellhold.Errorf(cellhold.Invalid, "No file content provided")
	case d.Type == typeNotebook:
		file, err := notebook.Written(d.Content)
		if err != nil {
			return nil, unreadable(p, err)
		}
		return file, nil
	}
	var text string
	if err := json.Unmarshal(d.Content, &text); err != nil {
		return nil, cellhold.Errorf(cellhold.Invalid, "The content of a file must be a text.")
	}
	switch d.Format {
	case formatText:
		return []byte(text), nil
	case formatBase64:
		content, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, cellhold.Wrap(cellhold.Invalid, err, "Encoding error saving %.400s: the content is not base64.", p)
		}
		return content, nil
	}
	return nil, cellhold.Errorf(cellhold.Invalid, "Must specify format of file contents as 'text' or 'base64'")
}

func statusFor(isNew bool) int {
	if isNew {
		return http.StatusCreated
	}
	return http.StatusOK
}

// apiPath is the beginning of the API's paths. Clients can call it with a prefix.
const apiPath = "/api/contents/"

// answer answers with the model of a file that was written, and with its URL.
func answer(w http.ResponseWriter, r *http.Request, status int, m model) {
	w.Header().Set("Location", location(r, m.Path))
	write(w, status, m)
}

// location returns the URL of a path, with the prefix of the request.
func location(r *http.Request, to string) string {
	prefix, _, _ := strings.Cut(r.URL.Path+"/", apiPath)
	return prefix + apiPath + cellhold.EscapePath(to)
}
