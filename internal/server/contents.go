package server

import (
	"context"
	"encoding/json"
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
	"cellhold/internal/server/envd"
	"cellhold/internal/server/exchange"
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
		return envd.IsLong(r)
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
		if strings.Contains(r.Header.Get("Range"), ",") {
			r.Header.Del("Range") // each range would be a request to the sandbox, and a header can have thousands
		}
		content, err := openRemote(r, a, in.Path)
		if err != nil {
			return err
		}
		defer content.close()
		asAttachment(w.Header(), path.Base(in.Path))
		w.Header().Set("ETag", `"`+content.info.Version+`"`)
		http.ServeContent(w, r, "", content.info.Modified, content)
		if content.err != nil {
			panic(http.ErrAbortHandler)
		}
		return nil
	})
}

// asAttachment sets headers that keep a browser from showing a page that untrusted code wrote.
func asAttachment(h http.Header, name string) {
	h.Set("Content-Type", anyType) // without it, ServeContent could choose text/html
	h.Set("Content-Disposition", asDownload(name))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
}

// remoteFile is a file of the sandbox for http.ServeContent. It reads only the requested part.
type remoteFile struct {
	ctx     context.Context
	sandbox *attachment.Attachment
	path    string
	info    cellhold.FileInfo // when the download began; the file can have changed since then
	version string            // the version that the client asks for; empty if any version is right

	at, openAt int64
	open       io.ReadCloser
	err        error // error of a read
}

// openRemote opens a file for a request. For the whole file it asks for the size and the content at once, because code
// in the sandbox can change the file between two requests.
func openRemote(r *http.Request, a *attachment.Attachment, path string) (*remoteFile, error) {
	f := &remoteFile{ctx: r.Context(), sandbox: a, path: path}
	var err error
	if whole(r) {
		f.info, f.open, err = a.OpenFile(f.ctx, path)
		if cellhold.KindOf(err) != cellhold.Unsupported {
			return f, err
		}
	}
	if f.info, err = a.StatFile(f.ctx, path, true); err != nil {
		return nil, err
	}
	switch f.info.Type {
	case cellhold.FileDirectory:
		return nil, cellhold.Errorf(cellhold.Conflict, "%s is a directory: use GET …/files/archive to download it as an archive.", f.info.Path)
	case cellhold.FileRegular:
	default:
		return nil, cellhold.Errorf(cellhold.Denied, "%s is not a regular file, so it cannot be downloaded.", f.info.Path)
	}
	if r.Header.Get("If-Range") != "" || r.Header.Get("If-Match") != "" {
		f.version = f.info.Version
	}
	if whole(r) { // report an error before the first byte
		f.open, err = a.ReadFile(f.ctx, path, "", 0, f.info.Size)
	}
	return f, err
}

// whole reports whether a request needs the whole file.
func whole(r *http.Request) bool {
	for _, condition := range []string{"Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if r.Header.Get(condition) != "" {
			return false
		}
	}
	return r.Method == http.MethodGet
}

// Seek sets the offset of the next read.
func (f *remoteFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.info.Size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	f.at = offset
	return offset, nil
}

// Read continues to read, and opens the file again if Seek changed the offset.
func (f *remoteFile) Read(b []byte) (int, error) {
	if f.at >= f.info.Size {
		return 0, io.EOF
	}
	if f.open == nil || f.openAt != f.at {
		f.close()
		r, err := f.sandbox.ReadFile(f.ctx, f.path, f.version, f.at, f.info.Size-f.at)
		if err != nil {
			f.err = err
			return 0, err
		}
		f.open, f.openAt = r, f.at
	}
	n, err := f.open.Read(b)
	f.at += int64(n)
	f.openAt = f.at
	if err == io.EOF && f.at < f.info.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

func (f *remoteFile) close() {
	if f.open != nil {
		f.open.Close()
		f.open = nil
	}
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
		asAttachment(w.Header(), name+suffix)
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
