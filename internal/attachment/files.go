package attachment

import (
	"context"
	"io"
	"iter"
	"sync"

	"cellhold"
	"cellhold/internal/guest"
)

// maxTransfers is the maximum number of uploads, downloads and watches of one sandbox at the same time. It is
// below the number of connections, so that cells still get one.
const maxTransfers = 32

// ErrTransfers is the error of a transfer or a watch above the limit.
var ErrTransfers = cellhold.Errorf(cellhold.Exhausted, "The limit of %d running uploads, downloads and watches is reached. Wait until one ends.", maxTransfers)

// MaxUpload returns the maximum size of an upload in bytes.
func (a *Attachment) MaxUpload() int64 { return a.o.MaxUpload }

// transfer reserves a slot for a file transfer. The session is not idle until done is called. done can be
// called several times.
func (a *Attachment) transfer() (done func(), err error) {
	free, err := a.Slot()
	if err != nil {
		return nil, err
	}
	a.moving.Add(1)
	return sync.OnceFunc(func() {
		a.moving.Add(-1)
		free()
	}), nil
}

// Slot reserves a slot for a long call, such as a listing of a whole tree. The caller must call free. free can be called several times.
func (a *Attachment) Slot() (free func(), err error) {
	if a.transfers.Add(1) > maxTransfers {
		a.transfers.Add(-1)
		return nil, ErrTransfers
	}
	return sync.OnceFunc(func() {
		a.transfers.Add(-1)
		a.used()
	}), nil
}

// StatFile returns the attributes of a path in the sandbox. With follow, it returns those of a link's target.
func (a *Attachment) StatFile(ctx context.Context, path string, follow bool) (cellhold.FileInfo, error) {
	return a.client.Stat(ctx, a.path(path), follow)
}

// ListDir returns at most limit entries of a directory, starting after the name `after`, in byte order.
func (a *Attachment) ListDir(ctx context.Context, path, after string, limit int) (list []cellhold.FileInfo, more bool, err error) {
	return a.client.ListDir(ctx, a.path(path), after, limit)
}

// MakeDir makes a directory and its parents. made reports whether it was missing.
func (a *Attachment) MakeDir(ctx context.Context, path string) (info cellhold.FileInfo, made bool, err error) {
	return a.client.MakeDir(ctx, a.path(path))
}

// MoveFile moves a file or a directory. Without replace, an existing file at the new path is an error.
func (a *Attachment) MoveFile(ctx context.Context, from, to string, replace bool) (cellhold.FileInfo, error) {
	return a.client.Move(ctx, a.path(from), a.path(to), replace)
}

// RemoveFile removes a file or a directory. A directory with content needs recursive.
func (a *Attachment) RemoveFile(ctx context.Context, path string, recursive bool) error {
	return a.client.Remove(ctx, a.path(path), recursive)
}

// OpenFile opens a whole file. info describes the file that is read, as it was at the open. It has no path. An agent of an
// older version returns Unsupported. The caller must close the stream.
func (a *Attachment) OpenFile(ctx context.Context, path string) (info cellhold.FileInfo, body io.ReadCloser, err error) {
	body, err = a.stream(func() (r io.ReadCloser, err error) {
		info, r, err = a.client.Open(ctx, a.path(path))
		return r, err
	})
	return info, body, err
}

// ReadFile opens length bytes of a regular file, from offset on. If version is set, it returns an error if the file has
// another version. The caller must close the stream.
func (a *Attachment) ReadFile(ctx context.Context, path, version string, offset, length int64) (io.ReadCloser, error) {
	return a.stream(func() (io.ReadCloser, error) { return a.client.ReadAt(ctx, a.path(path), version, offset, length) })
}

// PackDir opens a directory or a file as an archive: tar, tgz or zip. The caller must close it.
func (a *Attachment) PackDir(ctx context.Context, path, format string) (io.ReadCloser, error) {
	return a.stream(func() (io.ReadCloser, error) { return a.client.Pack(ctx, a.path(path), format) })
}

// stream opens a stream that keeps a slot until it is closed.
func (a *Attachment) stream(open func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	done, err := a.transfer()
	if err != nil {
		return nil, err
	}
	r, err := open()
	if err != nil {
		done()
		return nil, err
	}
	return &download{r, done}, nil
}

// download is a stream that frees its slot when it is closed.
type download struct {
	io.ReadCloser
	done func()
}

func (d *download) Close() error {
	d.done()
	return d.ReadCloser.Close()
}

// WriteFile writes a file of size bytes. A negative size means that the size is unknown. The file is written
// completely or not at all. Mode 0 keeps the mode of an existing file.
func (a *Attachment) WriteFile(ctx context.Context, path string, mode uint32, body io.Reader, size int64) (cellhold.FileInfo, error) {
	u, done, err := a.upload(path, body, size)
	if err != nil {
		return cellhold.FileInfo{}, err
	}
	defer done()
	u.Mode = mode
	return a.client.Write(ctx, u)
}

// UnpackDir unpacks an archive into a directory, completely or not at all.
func (a *Attachment) UnpackDir(ctx context.Context, path string, body io.Reader, size int64) (entries int, bytes int64, err error) {
	u, done, err := a.upload(path, body, size)
	if err != nil {
		return 0, 0, err
	}
	defer done()
	return a.client.Unpack(ctx, u)
}

// upload checks the size of an upload, and reserves a slot for it.
func (a *Attachment) upload(path string, body io.Reader, size int64) (guest.Upload, func(), error) {
	if size > a.o.MaxUpload {
		return guest.Upload{}, nil, cellhold.Errorf(cellhold.Exhausted, "The upload has %d bytes; the server's limit is %d. Raise --max-upload.", size, a.o.MaxUpload)
	}
	done, err := a.transfer()
	return guest.Upload{Path: a.path(path), Body: body, Size: max(size, -1), Limit: a.o.MaxUpload}, done, err
}

// WatchDir yields the changes of a directory until ctx ends. The first element is empty: the watch reports all
// changes after it. A watched session can still hibernate, which ends the watch.
func (a *Attachment) WatchDir(ctx context.Context, path string, recursive bool) iter.Seq2[cellhold.FileChange, error] {
	return func(yield func(cellhold.FileChange, error) bool) {
		free, err := a.Slot()
		if err != nil {
			yield(cellhold.FileChange{}, err)
			return
		}
		defer free()
		for change, err := range a.client.WatchDir(ctx, a.path(path), recursive) {
			if err != nil && ctx.Err() == nil {
				err = a.endOr(err)
			}
			if !yield(change, err) {
				return
			}
		}
	}
}

// endOr returns the reason why the attachment was closed. Without a reason, it returns err.
func (a *Attachment) endOr(err error) error {
	if reason := context.Cause(a.ctx); reason != nil && cellhold.KindOf(reason) == cellhold.Unavailable {
		return reason
	}
	return err
}
