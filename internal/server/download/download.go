// Package download serves files of sandboxes as attachments, so that a browser never shows a page that untrusted code wrote.
//
// It decides nothing about callers and sessions.
package download

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"cellhold"
	"cellhold/internal/attachment"
)

// Serve answers with a file of a sandbox. Ranges and conditions work. If it fails before the first byte of the body, it returns
// the error and has written nothing. If it fails later, it panics, which breaks the connection.
func Serve(w http.ResponseWriter, r *http.Request, a *attachment.Attachment, file string) error {
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range") // each range would be a request to the sandbox, and a header can have thousands
	}
	content, err := openRemote(r, a, file)
	if err != nil {
		return err
	}
	defer content.close()
	late := &lateHeader{ResponseWriter: w, before: w.Header().Clone()}
	AsAttachment(w.Header(), path.Base(file))
	w.Header().Set("ETag", `"`+content.info.Version+`"`)
	http.ServeContent(late, r, "", content.info.Modified, content)
	switch {
	case content.err == nil:
		late.send()
		return nil
	case late.withdraw():
		return content.err
	}
	panic(http.ErrAbortHandler)
}

// AsAttachment sets headers that keep a browser from showing a page that untrusted code wrote.
func AsAttachment(h http.Header, name string) {
	h.Set("Content-Type", "application/octet-stream") // without it, ServeContent could choose text/html
	h.Set("Content-Disposition", Disposition(name))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
}

// Disposition returns a Content-Disposition (RFC 6266) that saves a file under the name. Old clients get the
// ASCII part of the name, all others the full name. Quotes, control characters and separators cannot end the
// value early or name a directory.
func Disposition(name string) string {
	ascii := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || strings.ContainsRune(`"\/%;`, c) {
			return '_'
		}
		return c
	}, name)
	value := `attachment; filename="` + ascii + `"`
	if ascii != name {
		value += "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return value
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
