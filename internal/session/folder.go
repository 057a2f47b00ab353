package session

import (
	"context"
	"io"
	"iter"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/guest"
)

// maxTransfers bounds the uploads, downloads and watches of one session at a time: fewer than there
// may be connections to its sandbox, so that cells still find one.
const maxTransfers = 32

// defaultMaxUpload is the longest upload: far above what a session's disk holds by default.
const defaultMaxUpload = 16 << 30

// folder returns the way to the sandbox's files, and notes that the session was used. The caller leaves
// when it is done.
func (s *Session) folder(ctx context.Context) (c *guest.Client, leave func(), err error) {
	if leave, err = s.enter(ctx); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place == nil {
		s.inside-- // it leaves
		return nil, nil, cellhold.Errorf(cellhold.Conflict, "The session's sandbox has ended, and its files with it. Restart the kernel to get a new one.")
	}
	s.rec.Used = time.Now().UTC()
	return s.place.client, leave, nil
}

// transfer is folder for what moves a file: while it does the session is not idle.
func (s *Session) transfer(ctx context.Context) (c *guest.Client, done func(), err error) {
	c, leave, err := s.folder(ctx)
	if err != nil {
		return nil, nil, err
	}
	free, err := s.slot()
	if err != nil {
		leave()
		return nil, nil, err
	}
	s.moving.Add(1)
	return c, sync.OnceFunc(func() {
		s.moving.Add(-1)
		free()
		leave()
	}), nil
}

// slot takes one of the places for what takes long. The caller frees it, once or more often.
func (s *Session) slot() (free func(), err error) {
	if s.transfers.Add(1) > maxTransfers {
		s.transfers.Add(-1)
		return nil, cellhold.Errorf(cellhold.Exhausted, "The session has %d uploads, downloads and watches under way, which is the most.", maxTransfers)
	}
	return sync.OnceFunc(func() {
		s.transfers.Add(-1)
		s.change(func(r *cellhold.Session) { r.Used = time.Now().UTC() })
	}), nil
}

// StatFile describes what is at a path of the sandbox: a link itself, or with follow what it leads to.
func (s *Session) StatFile(ctx context.Context, path string, follow bool) (cellhold.FileInfo, error) {
	c, leave, err := s.folder(ctx)
	if err != nil {
		return cellhold.FileInfo{}, err
	}
	defer leave()
	return c.Stat(ctx, path, follow)
}

// ListDir returns at most limit entries of a directory, after that name, in the order of their bytes.
func (s *Session) ListDir(ctx context.Context, path, after string, limit int) (list []cellhold.FileInfo, more bool, err error) {
	c, leave, err := s.folder(ctx)
	if err != nil {
		return nil, false, err
	}
	defer leave()
	return c.ListDir(ctx, path, after, limit)
}

// MakeDir makes a directory and those above it. made tells whether it was missing.
func (s *Session) MakeDir(ctx context.Context, path string) (info cellhold.FileInfo, made bool, err error) {
	c, leave, err := s.folder(ctx)
	if err != nil {
		return cellhold.FileInfo{}, false, err
	}
	defer leave()
	return c.MakeDir(ctx, path)
}

// MoveFile moves a file or directory. Without replace nothing may stand in its new place.
func (s *Session) MoveFile(ctx context.Context, from, to string, replace bool) (cellhold.FileInfo, error) {
	c, leave, err := s.folder(ctx)
	if err != nil {
		return cellhold.FileInfo{}, err
	}
	defer leave()
	return c.Move(ctx, from, to, replace)
}

// RemoveFile removes a file or directory; one that is not empty only with recursive.
func (s *Session) RemoveFile(ctx context.Context, path string, recursive bool) error {
	c, leave, err := s.folder(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return c.Remove(ctx, path, recursive)
}

// OpenGuestFile opens a part of one version of a regular file. The caller closes it.
func (s *Session) OpenGuestFile(ctx context.Context, f cellhold.FileInfo, offset, length int64) (io.ReadCloser, error) {
	c, done, err := s.transfer(ctx)
	if err != nil {
		return nil, err
	}
	r, err := c.ReadAt(ctx, f.Exact(), f.Version, offset, length)
	if err != nil {
		done()
		return nil, err
	}
	return &transfer{r, done}, nil
}

// transfer is a stream that frees its slot when it is closed.
type transfer struct {
	io.ReadCloser
	done func()
}

func (t *transfer) Close() error {
	t.done()
	return t.ReadCloser.Close()
}

// WriteFile writes a file of that size, or of unknown size if it is negative. It appears whole or
// not at all. A mode of 0 keeps that of the file which is there.
func (s *Session) WriteFile(ctx context.Context, path string, mode uint32, body io.Reader, size int64) (cellhold.FileInfo, error) {
	u, c, done, err := s.upload(ctx, path, body, size)
	if err != nil {
		return cellhold.FileInfo{}, err
	}
	defer done()
	u.Mode = mode
	return c.Write(ctx, u)
}

// upload checks an upload before it begins.
func (s *Session) upload(ctx context.Context, path string, body io.Reader, size int64) (guest.Upload, *guest.Client, func(), error) {
	most := s.m.o.MaxUpload
	if size > most {
		return guest.Upload{}, nil, nil, cellhold.Errorf(cellhold.Exhausted, "This server takes uploads of %d bytes at the most.", most)
	}
	c, done, err := s.transfer(ctx)
	return guest.Upload{Path: path, Body: body, Size: max(size, -1), Limit: most}, c, done, err
}

// PackDir opens a directory, or one file, as an archive: tar, tgz or zip. The caller closes it.
func (s *Session) PackDir(ctx context.Context, path, format string) (io.ReadCloser, error) {
	c, done, err := s.transfer(ctx)
	if err != nil {
		return nil, err
	}
	r, err := c.Pack(ctx, path, format)
	if err != nil {
		done()
		return nil, err
	}
	return &transfer{r, done}, nil
}

// UnpackDir puts the content of an archive into a directory, all of it or nothing.
func (s *Session) UnpackDir(ctx context.Context, path string, body io.Reader, size int64) (entries int, bytes int64, err error) {
	u, c, done, err := s.upload(ctx, path, body, size)
	if err != nil {
		return 0, 0, err
	}
	defer done()
	return c.Unpack(ctx, u)
}

// WatchDir yields what changes in a directory until ctx ends. The first element is empty and says that
// from now on nothing is missed. It does not keep the session from being hibernated, and breaks off then.
func (s *Session) WatchDir(ctx context.Context, path string, recursive bool) iter.Seq2[cellhold.FileChange, error] {
	return func(yield func(cellhold.FileChange, error) bool) {
		c, leave, err := s.folder(ctx)
		if err != nil {
			yield(cellhold.FileChange{}, err)
			return
		}
		leave()
		free, err := s.slot()
		if err != nil {
			yield(cellhold.FileChange{}, err)
			return
		}
		defer free()
		for change, err := range c.WatchDir(ctx, path, recursive) {
			if err != nil && ctx.Err() == nil && s.record().State == cellhold.SessionHibernated {
				err = cellhold.Errorf(cellhold.Unavailable, "The session was hibernated, which ends the watching. Watch again; that wakes it.")
			}
			if !yield(change, err) {
				return
			}
		}
	}
}
