package contents

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/notebook"
	"cellhold/internal/server/download"
	"cellhold/internal/server/exchange"
)

// query has the parameters of a request for a file.
type query struct {
	kind, format  string // empty: the server chooses
	content, hash bool
}

// parseQuery reads the parameters. As in Jupyter Server, an unknown type means a file.
func parseQuery(r *http.Request) (query, error) {
	v := r.URL.Query()
	q := query{kind: v.Get("type"), format: v.Get("format"), content: v.Get("content") != "0", hash: v.Get("hash") == "1"}
	if !slices.Contains([]string{"", typeDirectory, typeFile, typeNotebook}, q.kind) {
		q.kind = typeFile
	}
	if !slices.Contains([]string{"", formatText, formatBase64, formatJSON}, q.format) {
		return q, cellhold.Errorf(cellhold.Invalid, "Format %.40q is invalid: use text, base64 or json.", q.format)
	}
	for _, name := range []string{"content", "hash"} {
		if !slices.Contains([]string{"", "0", "1"}, v.Get(name)) {
			return q, cellhold.Errorf(cellhold.Invalid, "%s %.40q is invalid: use 0 or 1.", strings.ToUpper(name[:1])+name[1:], v.Get(name))
		}
	}
	return q, nil
}

// Get answers with a directory, a file or a notebook, or with the list of a file's checkpoints.
func (s *Server) Get(w http.ResponseWriter, r *http.Request, caller string) error {
	if file, _, ok := checkpointOf(r); ok {
		return s.listCheckpoints(w, r, caller, file)
	}
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	p, err := toRead(r.PathValue("path"))
	if err != nil {
		return err
	}
	switch {
	case p.inside == "" && q.kind != "" && q.kind != typeDirectory:
		return badType(p, "a directory, not a file")
	case p.folder == "":
		return s.root(w, r, caller, q)
	case p.inside == "" && !q.content:
		return s.getFolder(w, r, caller, p)
	}
	return s.within(r.Context(), caller, p, func(a entered) error { return s.get(w, r, a, p, q) })
}

// root answers with the folders of the caller's sessions. It resumes no session.
func (s *Server) root(w http.ResponseWriter, r *http.Request, caller string, q query) error {
	m := model{Type: typeDirectory}
	list := []model{}
	var oldest, newest Folder
	for i, f := range s.Folders(r.Context(), caller) {
		list = append(list, folderModel(place{folder: f.Name}, f))
		if i == 0 || f.Created.Before(oldest.Created) {
			oldest = f
		}
		if f.Used.After(newest.Used) {
			newest = f
		}
	}
	m.Created, m.LastModified = timeText(oldest.Created), timeText(newest.Used)
	if q.content {
		m.setContent(formatJSON, list)
	}
	write(w, http.StatusOK, m)
	return nil
}

// getFolder answers with the folder of a session, without its content. It does not resume the session.
func (s *Server) getFolder(w http.ResponseWriter, r *http.Request, caller string, p place) error {
	f, err := s.folder(r.Context(), caller, p)
	if err != nil {
		return err
	}
	write(w, http.StatusOK, folderModel(p, f))
	return nil
}

// get answers with a file or a directory of a sandbox.
func (s *Server) get(w http.ResponseWriter, r *http.Request, a entered, p place, q query) error {
	f, err := stat(r.Context(), a, p)
	if err != nil {
		return err
	}
	m := modelOf(p, f)
	switch {
	case f.Type == cellhold.FileDirectory && q.kind != "" && q.kind != typeDirectory:
		return badType(p, "a directory, not a file")
	case f.Type != cellhold.FileDirectory && q.kind == typeDirectory:
		return badType(p, "not a directory")
	case f.Type == cellhold.FileDirectory:
		return s.getDirectory(w, r, a, p, q, m)
	case q.kind != "":
		m.Type = q.kind
	case q.format == formatText || q.format == formatBase64:
		m.Type = typeFile
	}
	return s.getFile(w, r, a, p, q, f, m)
}

// getDirectory answers with a directory.
func (s *Server) getDirectory(w http.ResponseWriter, r *http.Request, a entered, p place, q query, m model) error {
	if q.content {
		release, err := s.hold(r.Context(), listing)
		if err != nil {
			return err
		}
		defer release()
		list, err := list(r.Context(), a, p)
		if err != nil {
			return err
		}
		m.setContent(formatJSON, list)
	}
	write(w, http.StatusOK, m)
	return nil
}

// stat returns the attributes of a file or a directory, or of the target of a link.
func stat(ctx context.Context, a entered, p place) (cellhold.FileInfo, error) {
	f, err := a.StatFile(ctx, p.guest(), true)
	if cellhold.KindOf(err) == cellhold.NotFound {
		return f, cellhold.Wrap(cellhold.NotFound, err, "%s", notFound(p))
	}
	if err == nil && f.Type != cellhold.FileDirectory && f.Type != cellhold.FileRegular {
		err = badType(p, "not a regular file: it is a device, a pipe or a socket")
	}
	return f, err
}

// getFile answers with a file. It reads the file only if the client needs the content or the hash.
func (s *Server) getFile(w http.ResponseWriter, r *http.Request, a entered, p place, q query, f cellhold.FileInfo, m model) error {
	if !q.content && (!q.hash || f.Size > maxDocument) {
		write(w, http.StatusOK, m)
		return nil
	}
	if f.Size > maxDocument {
		return tooLarge("%.400s has %d bytes; the limit of this API is %d bytes. Download it from /files/%s.", p, f.Size, maxDocument, cellhold.EscapePath(p.String()))
	}
	release, err := s.hold(r.Context(), f.Size)
	if err != nil {
		return err
	}
	defer release()
	content, err := read(r.Context(), a, p)
	if err != nil {
		return err
	}
	size := int64(len(content))
	m.Size = &size
	if q.hash {
		m.setHash(hashOf(content))
	}
	if q.content {
		if err := m.fill(p, q.format, content); err != nil {
			return err
		}
	}
	write(w, http.StatusOK, m)
	return nil
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// fill sets the content of a model.
func (m *model) fill(p place, format string, content []byte) error {
	if m.Type == typeNotebook {
		joined, err := notebook.Joined(content)
		if err != nil {
			return unreadable(p, err)
		}
		m.setContent(formatJSON, json.RawMessage(joined))
		return nil
	}
	isText := utf8.Valid(content)
	switch {
	case format == formatText && !isText:
		return badFormat(p)
	case format == formatJSON:
		if !json.Valid(content) {
			return &Fault{Reason: "bad format", Err: cellhold.Errorf(cellhold.Invalid, "%.400s is not JSON", p)}
		}
		m.setContent(formatJSON, json.RawMessage(content))
	case format == formatBase64 || !isText:
		m.setContent(formatBase64, base64.StdEncoding.EncodeToString(content))
	default:
		m.setContent(formatText, string(content))
	}
	m.setMimeType()
	return nil
}

// open opens a whole regular file. Agents of an older version need a request for the size and a request for the content.
func open(ctx context.Context, a entered, p place) (cellhold.FileInfo, io.ReadCloser, error) {
	f, content, err := a.OpenFile(ctx, p.guest())
	if cellhold.KindOf(err) != cellhold.Unsupported {
		return f, content, err
	}
	if f, err = stat(ctx, a, p); err != nil {
		return f, nil, err
	}
	content, err = a.ReadFile(ctx, p.guest(), "", 0, f.Size)
	return f, content, err
}

// read reads a whole file. Code in the sandbox can have changed it, so the limit is checked again.
func read(ctx context.Context, a entered, p place) ([]byte, error) {
	f, body, err := open(ctx, a, p)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	if f.Size > maxDocument {
		return nil, tooLarge("%.400s has %d bytes; the limit of this API is %d bytes. Download it from /files/%s.", p, f.Size, maxDocument, cellhold.EscapePath(p.String()))
	}
	content, err := io.ReadAll(io.LimitReader(body, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxDocument {
		return nil, cellhold.Errorf(cellhold.Conflict, "%.400s grows while it is read. Try again.", p)
	}
	return content, nil
}

// list returns the models of a directory's content. It leaves out what Jupyter Server leaves out: hidden files, links that
// lead nowhere, devices, and names that are not UTF-8.
func list(ctx context.Context, a entered, p place) ([]model, error) {
	models := []model{}
	links, seen, paths, after := 0, 0, 0, ""
	for {
		page, more, err := a.ListDir(ctx, p.guest(), after, pageSize)
		if err != nil {
			return nil, err
		}
		for _, f := range page {
			name := path.Base(f.Exact())
			seen++
			paths += len(p.String()) + 1 + len(name)
			if seen > maxEntries || paths > maxPaths {
				return nil, tooLarge("%.400s has more than %d entries, or their paths have more than %d bytes: move files to other directories, or list it at /v1/sessions/{id}/files.", p, maxEntries, maxPaths)
			}
			if name[0] == '.' || checkName(name) != nil {
				continue
			}
			shown, err := listed(ctx, a, p.child(name), f, &links)
			if err != nil {
				return nil, err
			}
			if shown != nil {
				models = append(models, *shown)
			}
		}
		if !more || len(page) == 0 {
			return models, nil
		}
		after = path.Base(page[len(page)-1].Exact())
	}
}

// listed returns the model of one entry, or nil if it is not shown. A link has the attributes of its target. Links above the
// limit are shown as files.
func listed(ctx context.Context, a entered, p place, f cellhold.FileInfo, links *int) (*model, error) {
	if f.Type == cellhold.FileSymlink {
		if *links++; *links > maxLinks {
			f.Type = cellhold.FileRegular
		} else if target, err := a.StatFile(ctx, p.guest(), true); err == nil {
			f = target
		} else if ctx.Err() != nil || cellhold.KindOf(err) == cellhold.Unavailable {
			return nil, err
		}
	}
	if f.Type != cellhold.FileDirectory && f.Type != cellhold.FileRegular {
		return nil, nil
	}
	m := modelOf(p, f)
	return &m, nil
}

// Download answers with a file as an attachment of any size.
func (s *Server) Download(w http.ResponseWriter, r *http.Request, caller string) error {
	p, err := toRead(r.PathValue("path"))
	if err != nil {
		return err
	}
	if p.inside == "" {
		return badType(p, "a directory, not a file")
	}
	return s.within(r.Context(), caller, p, func(a entered) error {
		err := download.Serve(w, r, a.Attachment, p.guest())
		switch cellhold.KindOf(err) {
		case cellhold.NotFound:
			return cellhold.Wrap(cellhold.NotFound, err, "%s", notFound(p))
		case cellhold.Conflict:
			return badType(p, "a directory, not a file")
		}
		return err
	})
}

// decode reads a body in JSON.
func decode(r *http.Request, v any) error {
	refused := tooLarge("The body has more than %d bytes: send the file in parts, or to PUT /v1/sessions/{id}/files/content.", exchange.MaxBody)
	if r.ContentLength > exchange.MaxBody {
		return refused
	}
	err := exchange.DecodeJSON(r, v)
	if err != nil && messageOf(err) == exchange.TooLarge {
		return refused
	}
	return err
}
