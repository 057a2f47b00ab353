package snapshots

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"cellhold/internal/sandbox"
)

// The checksum of a file is CRC-32C, because processors have instructions for it: reading the file takes longer. It
// detects damage by disks. It does not detect an attacker with write access, who could also write a matching record.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// damaged is the reason for a snapshot with wrong content.
const damaged = "it is damaged on the disk"

// readSize is small enough for the processor's cache.
const readSize = 256 << 10

// sum returns the checksum of a file.
func sum(ctx context.Context, f *os.File) (crc uint32, err error) {
	buf := make([]byte, readSize)
	for at := int64(0); ; {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		n, err := f.ReadAt(buf, at)
		crc = crc32.Update(crc, castagnoli, buf[:n])
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return crc, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// openFileSet has the open files of a snapshot, by name.
type openFileSet map[string]*os.File

// openFiles opens files, so that they stay readable after their names are removed.
func openFiles(dir string, sizes map[string]int64) (openFileSet, error) {
	files := openFileSet{}
	for name := range sizes {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			files.close()
			return nil, err
		}
		files[name] = f
	}
	return files, nil
}

func (o openFileSet) close() {
	for _, f := range o {
		_ = f.Close()
	}
}

// sums returns the checksums of all files.
func (o openFileSet) sums(ctx context.Context) (map[string]uint32, error) {
	sums := map[string]uint32{}
	for name, f := range o {
		var err error
		if sums[name], err = sum(ctx, f); err != nil {
			return nil, err
		}
	}
	return sums, nil
}

// fingerprint returns a fingerprint of the files. It changes as soon as a file is written to or replaced.
func (o openFileSet) fingerprint() (string, error) {
	var all []string
	for name, f := range o {
		info, err := f.Stat()
		if err != nil {
			return "", err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return "", fmt.Errorf("%s: unknown kind of file information", name)
		}
		all = append(all, fmt.Sprint(name, st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim))
	}
	slices.Sort(all)
	return strings.Join(all, "\n"), nil
}

// compare returns an error if the files differ from their record.
func (o openFileSet) compare(ctx context.Context, r Record) error {
	is, err := o.sums(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return &sandbox.SnapshotError{Reason: damaged, Err: err}
	}
	for name, was := range r.Sums {
		if is[name] != was {
			return &sandbox.SnapshotError{Reason: damaged, Err: fmt.Errorf("the content of %s differs from its checksum", name)}
		}
	}
	return nil
}

// checks remembers the snapshots that passed a check.
type checks struct {
	mu sync.Mutex
	of map[string]*checkState
}

// checkState is the result of the checks of one snapshot.
type checkState struct {
	lock chan struct{} // a lock that can be awaited with a context; it guards good
	good string        // the fingerprint that passed the check
}

func newCheckState(good string) *checkState {
	return &checkState{lock: make(chan struct{}, 1), good: good}
}

// at returns the check state of a snapshot.
func (l *checks) at(name string) *checkState {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[name] == nil {
		l.of[name] = newCheckState("")
	}
	return l.of[name]
}

// saved records that a name has a new snapshot with correct content.
func (l *checks) saved(name, fingerprint string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[name] = newCheckState(fingerprint)
}

// forget records that a name has no snapshot any more.
func (l *checks) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, name)
}

// once calls check unless the same fingerprint passed before. Concurrent calls wait for each other, so that content
// that passes is checked once.
func (l *checkState) once(ctx context.Context, fingerprint string, check func() error) error {
	select {
	case l.lock <- struct{}{}:
		defer func() { <-l.lock }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if l.good == fingerprint {
		return nil
	}
	err := check()
	if err == nil {
		l.good = fingerprint
	}
	return err
}

// Check is a running check of an image's content.
type Check struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// Check starts to compare the image's content with its checksums. With once, it skips content that passed before, or that
// this store wrote, unless a file has changed since then. The image can be closed at the same time. The caller must call
// Wait. A nil image always passes.
func (i *Image) Check(ctx context.Context, once bool) *Check {
	ctx, cancel := context.WithCancel(ctx)
	c := &Check{cancel: cancel, done: make(chan struct{})}
	if i == nil || len(i.Sums) == 0 { // an earlier version wrote the snapshot
		close(c.done)
		return c
	}
	files, err := openFiles(i.Dir, i.Files)
	if err != nil {
		c.err = &sandbox.SnapshotError{Reason: damaged, Err: err}
		close(c.done)
		return c
	}
	go func() {
		defer close(c.done)
		defer files.close()
		c.err = i.check(ctx, files, once)
	}()
	return c
}

func (i *Image) check(ctx context.Context, files openFileSet, once bool) error {
	compare := func() error { return files.compare(ctx, i.Record) }
	if !once {
		return compare()
	}
	fingerprint, err := files.fingerprint()
	if err != nil {
		return err
	}
	return i.state.once(ctx, fingerprint, compare)
}

// Wait waits for the end of the check. The error is sandbox.ErrSnapshot, or that of the context.
func (c *Check) Wait() error {
	<-c.done
	c.cancel()
	return c.err
}
