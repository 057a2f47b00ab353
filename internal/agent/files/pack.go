package files

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"syscall"

	"cellhold"
)

func isErrno(err error, any ...syscall.Errno) bool {
	e, ok := errors.AsType[syscall.Errno](err)
	return ok && slices.Contains(any, e)
}

// pack sends a tree as an archive with names relative to the path, or one file under its own name.
func (h *handler) pack(w http.ResponseWriter, r *http.Request) error {
	p, err := h.path(r, "path")
	if err != nil {
		return err
	}
	if p == "/" {
		return cellhold.Errorf(cellhold.Invalid, "The root directory cannot be downloaded; give the path of a directory in it.")
	}
	info, err := os.Stat(p)
	if err != nil {
		return err
	}
	var from func(context.Context, sink) error
	if info.IsDir() {
		root, err := os.OpenRoot(p)
		if err != nil {
			return err
		}
		defer root.Close()
		from = func(ctx context.Context, to sink) error { return walk(ctx, root, to) }
	} else {
		f, info, err := openRegular(p)
		if err != nil {
			return err
		}
		defer f.Close()
		from = func(_ context.Context, to sink) error { return to.file(path.Base(p), info, f) }
	}
	format := r.URL.Query().Get("format")
	if format != "" && format != "tar" && format != "tgz" && format != "zip" {
		return cellhold.Errorf(cellhold.Invalid, "The format must be tar, tgz or zip.")
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := write(r.Context(), w, format, from); err != nil {
		panic(http.ErrAbortHandler) // a part is sent already; the host sees that the rest is missing
	}
	return nil
}

// write writes a tree in a format.
func write(ctx context.Context, w io.Writer, format string, from func(context.Context, sink) error) error {
	switch format {
	case "zip":
		to := zip.NewWriter(w)
		if err := from(ctx, zipSink{to}); err != nil {
			return err
		}
		return to.Close()
	case "tgz":
		packed := gzip.NewWriter(w)
		if err := write(ctx, packed, "tar", from); err != nil {
			return err
		}
		return packed.Close()
	}
	to := tar.NewWriter(w)
	if err := from(ctx, tarSink{to}); err != nil {
		return err
	}
	return to.Close()
}

type tarSink struct{ w *tar.Writer }

func (s tarSink) header(name string, info fs.FileInfo, kind byte, size int64, target string) error {
	return s.w.WriteHeader(&tar.Header{
		Typeflag: kind, Name: name, Linkname: target, Size: size,
		Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(),
	})
}

func (s tarSink) directory(name string, info fs.FileInfo) error {
	return s.header(name+"/", info, tar.TypeDir, 0, "")
}

func (s tarSink) link(name string, info fs.FileInfo, target string) error {
	return s.header(name, info, tar.TypeSymlink, 0, target)
}

// file writes at most as many bytes as the file had at the open. A file that shrinks is an error.
func (s tarSink) file(name string, info fs.FileInfo, r io.Reader) error {
	if err := s.header(name, info, tar.TypeReg, info.Size(), ""); err != nil {
		return err
	}
	_, err := copyN(s.w, r, info.Size())
	return err
}

type zipSink struct{ w *zip.Writer }

func (s zipSink) create(name string, info fs.FileInfo, method uint16) (io.Writer, error) {
	header := &zip.FileHeader{Name: name, Method: method, Modified: info.ModTime()}
	header.SetMode(info.Mode().Perm() | info.Mode().Type())
	return s.w.CreateHeader(header)
}

func (s zipSink) directory(name string, info fs.FileInfo) error {
	_, err := s.create(name+"/", info, zip.Store)
	return err
}

func (s zipSink) link(name string, info fs.FileInfo, target string) error {
	w, err := s.create(name, info, zip.Store)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, target)
	return err
}

func (s zipSink) file(name string, info fs.FileInfo, r io.Reader) error {
	w, err := s.create(name, info, zip.Deflate)
	if err != nil {
		return err
	}
	_, err = copyN(w, r, info.Size())
	return err
}
