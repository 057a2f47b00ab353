package envd

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path"
	"strconv"
	"strings"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/server/e2b/access"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// The operations in the signatures of URLs.
const (
	reading = "read"
	writing = "write"
)

// admitSigned is admit for a request for files, which can have a signature in its URL in place of a token.
func (s *Server) admitSigned(w http.ResponseWriter, r *http.Request, operation string) *session.Session {
	if !access.IsSigned(r) {
		return s.admit(w, r)
	}
	sandbox, expired := s.o.Access.Signed(r, operation)
	if sandbox != nil {
		return sandbox
	}
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close") // do not read the body
	}
	message := "invalid signature"
	if expired {
		message = "signature is already expired"
	}
	access.WriteRefused(w, http.StatusUnauthorized, message)
	return nil
}

// within runs f with the sandbox of a request for files, and answers with the error of f.
func (s *Server) within(w http.ResponseWriter, r *http.Request, operation string, f func(*attachment.Attachment) error) {
	sandbox := s.admitSigned(w, r, operation)
	if sandbox == nil {
		return
	}
	name := r.URL.Query().Get("username")
	if name == "" {
		name = userOf(r)
	}
	if err := checkUser(name); err != nil {
		access.WriteRefused(w, http.StatusUnauthorized, err.Error())
		return
	}
	a, leave, err := sandbox.Enter(r.Context())
	if err == nil {
		defer leave()
		err = f(a)
	}
	switch {
	case err == nil:
	case access.IsGone(sandbox, err):
		access.WriteGone(w, string(sandbox.ID()))
	default:
		s.fail(w, r, err)
	}
}

// readFile answers with the bytes of a file. Browsers save them, because untrusted code wrote them.
func (s *Server) readFile(w http.ResponseWriter, r *http.Request) {
	s.within(w, r, reading, func(a *attachment.Attachment) error {
		info, content, err := open(r.Context(), a, absolute(r.URL.Query().Get("path")))
		if err != nil {
			return err
		}
		defer content.Close()
		h := w.Header()
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", "attachment")
		h.Set("Content-Length", strconv.FormatInt(info.Size, 10))
		if n, err := io.Copy(w, content); err != nil || n != info.Size {
			panic(http.ErrAbortHandler) // the client must not take a part for the whole file
		}
		return nil
	})
}

// open opens a whole regular file. Agents of an older version need a request for the size and a request for the content.
func open(ctx context.Context, a *attachment.Attachment, path string) (cellhold.FileInfo, io.ReadCloser, error) {
	info, err := a.StatFile(ctx, path, true)
	if err == nil && info.Type != cellhold.FileRegular {
		err = cellhold.Errorf(cellhold.Invalid, "path '%.400s' is not a regular file", valid(path))
	}
	if err != nil {
		return info, nil, err
	}
	now, content, err := a.OpenFile(ctx, path) // with the size at the open, because code in the sandbox can change the file
	if cellhold.KindOf(err) == cellhold.Unsupported {
		content, err = a.ReadFile(ctx, path, "", 0, info.Size)
		return info, content, err
	}
	return now, content, err
}

// written is a file that was written, in an answer.
type written struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Path string `json:"path"`
}

// writeFiles writes the file in the body, or the files of a form. A signed URL without a path would give access to every path.
func (s *Server) writeFiles(w http.ResponseWriter, r *http.Request) {
	s.within(w, r, writing, func(a *attachment.Attachment) error {
		u := upload{sandbox: a, r: r, path: r.URL.Query().Get("path"), done: []written{}}
		if u.path == "" && access.IsSigned(r) {
			return cellhold.Errorf(cellhold.Invalid, "The signed URL has no path: sign it with the path of the file.")
		}
		body, size := exchange.LongBody(r), r.ContentLength
		if strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
			plain, err := gzip.NewReader(body)
			if err != nil {
				return cellhold.Wrap(cellhold.Invalid, err, "The body is not in the format gzip.")
			}
			body, size = plain, -1
		}
		var err error
		if strings.HasPrefix(strings.ToLower(r.Header.Get("Content-Type")), "multipart/") {
			err = u.boundedForm(body, a.MaxUpload())
		} else {
			err = u.write(u.path, body, size)
		}
		if err != nil {
			return err
		}
		exchange.WriteJSON(w, http.StatusOK, "application/json", u.done)
		return nil
	})
}

const (
	// maxParts is the maximum number of parts in one form, and maxField the size in bytes of a part that is no file.
	maxParts = 1000
	maxField = 64 << 10
	// maxHeads is the maximum size of a form without its files.
	maxHeads = 4 << 20
)

// upload writes the files of one request.
type upload struct {
	sandbox *attachment.Attachment
	r       *http.Request
	path    string // of the only file; "" if each file has its own
	done    []written
}

// errNoSpace marks the error of a file for which the sandbox has no space.
var errNoSpace = errors.New("no space for the file")

// write writes one file.
func (u *upload) write(p string, content io.Reader, size int64) error {
	if p == "" {
		return cellhold.Errorf(cellhold.Invalid, "The file has no path: send the parameter path, or a name in the form.")
	}
	p = absolute(p)
	f, err := u.sandbox.WriteFile(u.r.Context(), p, 0, content, size)
	if cellhold.KindOf(err) == cellhold.Exhausted && !errors.Is(err, attachment.ErrTransfers) {
		return fmt.Errorf("%w: %w", errNoSpace, err)
	}
	if err != nil {
		return err
	}
	u.done = append(u.done, written{Name: valid(path.Base(f.Exact())), Type: "file", Path: valid(f.Exact())})
	return nil
}

// boundedForm writes the files of a form that has at most limit bytes of files. A compressed form can be a thousand times as
// large as the body of its request.
func (u *upload) boundedForm(body io.Reader, limit int64) error {
	bounded := &io.LimitedReader{R: body, N: limit + maxHeads}
	err := u.form(bounded)
	if err != nil && bounded.N == 0 {
		return cellhold.Wrap(cellhold.Invalid, err, "The form has more than %d bytes, the server's limit of an upload: send several requests, or raise --max-upload.", limit)
	}
	return err
}

// form writes the files of a form. The name of a part is the whole path, unless the URL has one.
func (u *upload) form(body io.Reader) error {
	u.r.Body = io.NopCloser(body)
	form, err := u.r.MultipartReader()
	if err != nil {
		return cellhold.Wrap(cellhold.Invalid, err, "The body is not multipart/form-data.")
	}
	for parts := 0; ; parts++ {
		part, err := form.NextRawPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return u.incomplete(err)
		}
		if parts >= maxParts {
			return cellhold.Errorf(cellhold.Invalid, "The form has more than %d parts: send several requests.", maxParts)
		}
		if err := u.part(part); err != nil {
			return err
		}
	}
}

// incomplete returns the error of a form that cannot be read.
func (u *upload) incomplete(err error) error {
	return cellhold.Wrap(cellhold.Invalid, err, "The form is invalid or incomplete after %d files: send it again.", len(u.done))
}

// part writes the file of one part. It skips a small part that is no file.
func (u *upload) part(part *multipart.Part) error {
	if part.FormName() != "file" {
		switch n, err := io.CopyN(io.Discard, part, maxField+1); {
		case n > maxField:
			return cellhold.Errorf(cellhold.Invalid, "The form has a part that is no file and has more than %d bytes: name the parts of files \"file\".", maxField)
		case err != io.EOF:
			return u.incomplete(err)
		}
		return nil
	}
	p := u.path
	if p == "" {
		p = partPath(part)
	}
	return u.write(p, part, -1)
}

// formEscapes undoes the escapes of form names in browsers.
var formEscapes = strings.NewReplacer("%22", `"`, "%0D", "\r", "%0A", "\n")

// partPath returns the path in a part's header. The standard library would drop the directories, and would read a
// backslash as an escape.
func partPath(part *multipart.Part) string {
	_, rest, ok := strings.Cut(part.Header.Get("Content-Disposition"), `filename="`)
	end := strings.LastIndexByte(rest, '"')
	if !ok || end < 0 {
		return ""
	}
	return formEscapes.Replace(rest[:end])
}
