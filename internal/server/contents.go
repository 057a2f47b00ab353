package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path"
	"strconv"
	"strings"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/server/download"
	"cellhold/internal/server/envd"
	"cellhold/internal/server/exchange"
	"cellhold/internal/server/jupyter"
	"cellhold/internal/server/ports"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// This file has the bodies that are not JSON: files and archives, which are streamed, and the watch of a
// directory.

// maxParts is the maximum number of files in one form.
const maxParts = 1000

// longBody reports whether a request uploads a file. The session limits its size.
func longBody(r *http.Request) bool {
	if !strings.HasPrefix(r.URL.Path, "/v1/sessions/") {
		return envd.IsLong(r) || jupyter.IsLong(r)
	}
	switch {
	case ports.Is(r):
		return true
	case r.Method == http.MethodPut:
		return strings.HasSuffix(r.URL.Path, "/files/content") || strings.HasSuffix(r.URL.Path, "/files/archive")
	case r.Method == http.MethodPost:
		return strings.HasSuffix(r.URL.Path, "/files")
	}
	return false
}

// files runs f with the sandbox of a session. f either writes a file of the sandbox to the answer, or reads the
// request's body into the sandbox. See stream for the errors of f.
func (s *Server) files(ctx context.Context, id cellhold.SessionID, f func(http.ResponseWriter, *http.Request, *attachment.Attachment) error) (*streamOutput, error) {
	return s.stream(ctx, id, func(w http.ResponseWriter, r *http.Request, sess *session.Session) error {
		a, leave, err := sess.Enter(r.Context())
		if err != nil {
			return err
		}
		defer leave()
		return f(w, r, a)
	})
}

// stream finds the session and answers with the stream that f writes. If f fails before it writes, it returns the
// error, which becomes the answer. If f fails later, it must panic, which breaks the connection.
func (s *Server) stream(ctx context.Context, id cellhold.SessionID, f func(http.ResponseWriter, *http.Request, *session.Session) error) (*streamOutput, error) {
	sess, err := s.session(ctx, id)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &streamOutput{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		if err := f(w, r, sess); err != nil {
			p := s.problem(r.Context(), err)
			text, _ := json.Marshal(p) // cannot fail: a struct of strings and numbers
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
			w.Header().Set("Content-Type", exchange.ProblemType)
			w.WriteHeader(p.Status)
			_, _ = w.Write(text) // fails only if the caller left
		}
	}}, nil
}

func (s *Server) downloadFile(ctx context.Context, in *contentInput) (*streamOutput, error) {
	return s.files(ctx, in.ID, func(w http.ResponseWriter, r *http.Request, a *attachment.Attachment) error {
		return download.Serve(w, r, a, in.Path)
	})
}

func (s *Server) uploadFile(ctx context.Context, in *writeInput) (*streamOutput, error) {
	return s.files(ctx, in.ID, func(w http.ResponseWriter, r *http.Request, a *attachment.Attachment) error {
		mode, err := strconv.ParseUint("0"+in.Mode, 8, 32) // huma checked the pattern
		if err != nil {
			return cellhold.Wrap(cellhold.Invalid, err, "Invalid mode %.20q: use permission bits in octal, such as 0644.", in.Mode)
		}
		info, err := a.WriteFile(r.Context(), in.Path, uint32(mode), exchange.LongBody(r), r.ContentLength)
		if err != nil {
			return err
		}
		exchange.WriteJSON(w, http.StatusOK, "application/json", info)
		return nil
	})
}

func (s *Server) uploadForm(ctx context.Context, in *uploadInput) (*streamOutput, error) {
	return s.files(ctx, in.ID, func(w http.ResponseWriter, r *http.Request, a *attachment.Attachment) error {
		r.Body = io.NopCloser(exchange.LongBody(r))
		form, err := r.MultipartReader()
		if err != nil {
			return cellhold.Wrap(cellhold.Invalid, err, "The body is not multipart/form-data: use a form, or PUT a single file to …/files/content.")
		}
		done := FilesWritten{Files: []cellhold.FileInfo{}}
		for {
			part, err := form.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				return cellhold.Wrap(cellhold.Invalid, err, "The form is invalid or incomplete after %d files: send it again.", len(done.Files))
			}
			info, err := writePart(r.Context(), a, orWorkingDir(in.Path), part, len(done.Files))
			if err != nil {
				return err
			}
			if info.Path != "" {
				done.Files = append(done.Files, info)
			}
		}
		exchange.WriteJSON(w, http.StatusOK, "application/json", done)
		return nil
	})
}

// writePart writes one file of a form. It ignores a part without a file name.
func writePart(ctx context.Context, a *attachment.Attachment, dir string, part *multipart.Part, before int) (cellhold.FileInfo, error) {
	name := part.FileName()
	if name == "" {
		return cellhold.FileInfo{}, nil
	}
	if before >= maxParts {
		return cellhold.FileInfo{}, cellhold.Errorf(cellhold.Invalid, "The form has more than %d files: upload an archive to …/files/archive instead.", maxParts)
	}
	if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return cellhold.FileInfo{}, cellhold.Errorf(cellhold.Invalid, "Invalid file name %.40q in the form: use a name without slashes, other than \".\" and \"..\".", name)
	}
	return a.WriteFile(ctx, dir+"/"+name, 0, part, -1)
}

func (s *Server) downloadArchive(ctx context.Context, in *archiveInput) (*streamOutput, error) {
	return s.files(ctx, in.ID, func(w http.ResponseWriter, r *http.Request, a *attachment.Attachment) error {
		archive, err := a.PackDir(r.Context(), in.Path, in.Format)
		if err != nil {
			return err
		}
		defer archive.Close()
		name := path.Base("/" + strings.TrimSuffix(in.Path, "/"))
		if name == "." || name == "/" {
			name = "workspace"
		}
		suffix := map[string]string{"tgz": ".tar.gz", "zip": ".zip"}[in.Format]
		if suffix == "" {
			suffix = ".tar"
		}
		download.AsAttachment(w.Header(), name+suffix)
		if _, err := io.Copy(w, archive); err != nil {
			s.problem(r.Context(), err) // writes to the log
			panic(http.ErrAbortHandler)
		}
		return nil
	})
}

func (s *Server) uploadArchive(ctx context.Context, in *pathInput) (*streamOutput, error) {
	return s.files(ctx, in.ID, func(w http.ResponseWriter, r *http.Request, a *attachment.Attachment) error {
		entries, size, err := a.UnpackDir(r.Context(), in.Path, exchange.LongBody(r), r.ContentLength)
		if err != nil {
			return err
		}
		exchange.WriteJSON(w, http.StatusOK, "application/json", Unpacked{Entries: entries, Bytes: size})
		return nil
	})
}

func (s *Server) watchDirectory(ctx context.Context, in *watchInput) (*streamOutput, error) {
	return s.stream(ctx, in.ID, func(w http.ResponseWriter, r *http.Request, sess *session.Session) error {
		ctx, leave := s.waiters.Enter(r.Context())
		defer leave()
		out, ctx := newEventWriter(ctx, w)
		defer out.Close()
		ready := false
		a, leaveSandbox, err := sess.Enter(ctx)
		if err != nil {
			return err
		}
		leaveSandbox() // a watched session can still hibernate
		for change, err := range a.WatchDir(ctx, orWorkingDir(in.Path), in.Recursive) {
			switch {
			case err != nil && !ready:
				return err
			case err != nil:
				s.closeStream(ctx, r, out, 0, err)
				return nil
			case !ready:
				ready = true
				if out.open() != nil || out.write("event: ready\ndata: {}\n\n") != nil {
					return nil
				}
				out.KeepAlive(keepAlive, out.comment)
				continue
			}
			if writeChange(out, change) != nil {
				return nil
			}
		}
		return nil
	})
}

// writeChange writes one change as a server-sent event.
func writeChange(out *eventWriter, c cellhold.FileChange) error {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode a change: %w", err)
	}
	return out.write("event: %s\ndata: %s\n\n", plainWord(string(c.Type)), text)
}
