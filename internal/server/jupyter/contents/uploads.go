package contents

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/exclusive"
	"cellhold/internal/memory"
)

const (
	// maxUploads is the maximum number of uploads in parts of one session at the same time. Each takes one of the transfers of
	// its sandbox.
	maxUploads = 8
	// partPause is the longest pause between two parts.
	partPause = 2 * time.Minute
)

var (
	errReplaced = cellhold.Errorf(cellhold.Conflict, "A later upload of the same file replaced this one.")
	errPause    = cellhold.Errorf(cellhold.Unavailable, "The upload ended: its next part did not arrive within %s. Start again with part 1.", partPause)
	errClosed   = cellhold.Errorf(cellhold.Unavailable, "The server is shutting down. Upload the file again when it is back.")
)

// uploads has the files that clients send in parts, one request for each part. The parts are one stream to the sandbox, so
// the file appears when it is complete, and not at all if a part is missing. The zero value is ready for use.
type uploads struct {
	turns exclusive.Keys // by key; the parts of a file are written one after the other

	mu      sync.Mutex
	open    map[uploadKey]*upload
	closed  bool
	running sync.WaitGroup
}

type uploadKey struct {
	session cellhold.SessionID
	path    string
}

// upload is one file that is being written.
type upload struct {
	pipe  *io.PipeWriter
	timer *time.Timer
	isNew bool

	next int   // number of the next part; the holder of the turn can use it
	sent int64 // bytes of the parts so far; the holder of the turn can use it

	done chan struct{} // closed when the file is written or refused
	file cellhold.FileInfo
	err  error
}

// putPart writes one part of a file.
func (s *Server) putPart(w http.ResponseWriter, r *http.Request, a entered, p place, d document) error {
	if d.Type != typeFile {
		return cellhold.Errorf(cellhold.Invalid, "File type %.40q is not supported for large file transfer: use file.", d.Type)
	}
	content, err := d.bytes(p)
	if err != nil {
		return err
	}
	key := uploadKey{a.id, p.inside}
	done, err := s.uploads.turns.Hold(r.Context(), string(key.session)+"\x00"+key.path)
	if err != nil {
		return err
	}
	defer done()
	u, err := s.uploadOf(r.Context(), a, p, key, *d.Chunk)
	if err != nil {
		return err
	}
	if err := u.write(r.Context(), content); err != nil {
		return noSpace(err)
	}
	if *d.Chunk != -1 {
		answer(w, r, http.StatusOK, u.model(p))
		return nil
	}
	f, err := u.finish(r.Context())
	if err != nil {
		return noSpace(err)
	}
	answer(w, r, statusFor(u.isNew), modelOf(p, f))
	return nil
}

// uploadOf returns the upload of a part. Part 1 begins one. The caller must hold the turn.
func (s *Server) uploadOf(ctx context.Context, a entered, p place, key uploadKey, part int) (*upload, error) {
	if part == 1 {
		isNew, err := missing(ctx, a, p)
		if err != nil {
			return nil, err
		}
		return s.uploads.begin(ctx, key, isNew, func(ctx context.Context, body io.Reader) (cellhold.FileInfo, error) {
			return a.WriteFile(ctx, p.guest(), 0, body, -1)
		})
	}
	u := s.uploads.get(key)
	if u == nil {
		return nil, cellhold.Errorf(cellhold.Conflict, "Part %d of %.400s has no upload: start again with part 1.", part, p)
	}
	if part != -1 && part != u.next {
		err := cellhold.Errorf(cellhold.Conflict, "Got part %d of %.400s, want part %d: start again with part 1.", part, p, u.next)
		u.abort(err)
		return nil, err
	}
	return u, nil
}

// get returns the upload of a key, or nil.
func (l *uploads) get(key uploadKey) *upload {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open[key]
}

// begin starts an upload. It ends an earlier one of the same file.
func (l *uploads) begin(ctx context.Context, key uploadKey, isNew bool, write func(context.Context, io.Reader) (cellhold.FileInfo, error)) (*upload, error) {
	if old := l.get(key); old != nil {
		old.abort(errReplaced)
		select {
		case <-old.done:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	body, pipe := io.Pipe()
	u := &upload{pipe: pipe, isNew: isNew, next: 1, done: make(chan struct{})}
	if err := l.add(key, u); err != nil {
		return nil, err
	}
	u.timer = time.AfterFunc(partPause, func() { u.abort(errPause) })
	go func() { // ends when the pipe is closed, or when the sandbox stops reading
		defer l.running.Done()
		u.file, u.err = write(memory.Detach(ctx), body)
		_ = body.CloseWithError(errors.Join(u.err, io.ErrClosedPipe)) // never fails
		u.timer.Stop()
		l.remove(key, u)
		close(u.done)
	}()
	return u, nil
}

// add registers an upload, and counts its goroutine.
func (l *uploads) add(key uploadKey, u *upload) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	n := 0
	for k := range l.open {
		if k.session == key.session {
			n++
		}
	}
	if n >= maxUploads {
		return cellhold.Errorf(cellhold.Exhausted, "The session has %d uploads in parts; the limit is %d. Wait until one ends.", n, maxUploads)
	}
	if l.open == nil {
		l.open = map[uploadKey]*upload{}
	}
	l.open[key] = u
	l.running.Add(1)
	return nil
}

func (l *uploads) remove(key uploadKey, u *upload) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[key] == u {
		delete(l.open, key)
	}
}

// close ends all uploads, and waits until they have ended.
func (l *uploads) close() {
	l.mu.Lock()
	l.closed = true
	for _, u := range l.open {
		u.abort(errClosed)
	}
	l.mu.Unlock()
	l.running.Wait()
}

// abort ends an upload. The file in the sandbox does not change.
func (u *upload) abort(why error) { _ = u.pipe.CloseWithError(why) } // never fails

// write sends a part. If the client leaves before the end, the upload ends.
func (u *upload) write(ctx context.Context, content []byte) error {
	u.timer.Reset(partPause)
	stop := context.AfterFunc(ctx, func() { u.abort(context.Cause(ctx)) })
	defer stop()
	if _, err := u.pipe.Write(content); err != nil {
		return u.failure(ctx, err)
	}
	u.next++
	u.sent += int64(len(content))
	return nil
}

// finish ends the file and waits until it is written.
func (u *upload) finish(ctx context.Context) (cellhold.FileInfo, error) {
	u.abort(nil)
	select {
	case <-u.done:
		return u.file, u.err
	case <-ctx.Done():
		return cellhold.FileInfo{}, context.Cause(ctx)
	}
}

// failure returns why a part could not be sent. The error of the sandbox is more exact than that of the pipe.
func (u *upload) failure(ctx context.Context, err error) error {
	select {
	case <-u.done:
		if u.err != nil {
			return u.err
		}
	case <-ctx.Done():
	}
	return err
}

// model returns the model of a file of which parts are missing.
func (u *upload) model(p place) model {
	now := timeText(time.Now())
	size := u.sent
	return model{Name: p.name(), Path: p.String(), Type: typeFile, Writable: true, Created: now, LastModified: now, Size: &size}
}
