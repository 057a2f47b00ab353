package shelf

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

// The checksum of a file is CRC-32C, for which processors have instructions: reading the file costs more. It
// finds what disks do to bytes. Whoever may write here could make another file of the same sum, and a record too.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// damaged is why an image cannot be used whose bytes are not what they were.
const damaged = "it is damaged on the disk"

// readSize is a piece that is still in the processor's cache when it is summed up.
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

// opened are the files of an image, by name.
type opened map[string]*os.File

// openFiles opens them, so that they can be read whatever becomes of their names.
func openFiles(dir string, sizes map[string]int64) (opened, error) {
	files := opened{}
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

func (o opened) close() {
	for _, f := range o {
		_ = f.Close()
	}
}

// sums returns the checksums of all.
func (o opened) sums(ctx context.Context) (map[string]uint32, error) {
	sums := map[string]uint32{}
	for name, f := range o {
		var err error
		if sums[name], err = sum(ctx, f); err != nil {
			return nil, err
		}
	}
	return sums, nil
}

// print is another one as soon as a file is written to or is another file.
func (o opened) print() (string, error) {
	var all []string
	for name, f := range o {
		info, err := f.Stat()
		if err != nil {
			return "", err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return "", fmt.Errorf("%s: what it is cannot be told", name)
		}
		all = append(all, fmt.Sprint(name, st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim))
	}
	slices.Sort(all)
	return strings.Join(all, "\n"), nil
}

// compare says what is not as the record has it.
func (o opened) compare(ctx context.Context, r Record) error {
	is, err := o.sums(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return &sandbox.Misfit{Why: damaged, Err: err}
	}
	for name, was := range r.Sums {
		if is[name] != was {
			return &sandbox.Misfit{Why: damaged, Err: fmt.Errorf("the bytes of %s are not those that were saved", name)}
		}
	}
	return nil
}

// looks remembers which snapshots were found good.
type looks struct {
	mu sync.Mutex
	of map[string]*look
}

// look is what is known of the bytes of one name's snapshot.
type look struct {
	turn chan struct{} // a lock with a context; who holds it may use the rest
	good string        // the print that was found good
}

func newLook(good string) *look { return &look{turn: make(chan struct{}, 1), good: good} }

// at returns the look at a name's snapshot.
func (l *looks) at(name string) *look {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of[name] == nil {
		l.of[name] = newLook("")
	}
	return l.of[name]
}

// saved is told of a snapshot that is new under its name, and good.
func (l *looks) saved(name, print string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of[name] = newLook(print)
}

// forget is told that a name has no snapshot any more.
func (l *looks) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, name)
}

// once calls check unless the same print was found good before. Of several at once, one does the work.
func (l *look) once(ctx context.Context, print string, check func() error) error {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if l.good == print {
		return nil
	}
	err := check()
	if err == nil {
		l.good = print
	}
	return err
}

// Check is a look at the bytes of an image that is under way.
type Check struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// Check begins to compare the image's bytes with those that were saved. With once, those that this shelf has
// found good, or has saved itself, are not read again unless somebody has written to them. The image may be
// closed meanwhile. Whoever calls it must call Wait. Of none, there is nothing to look at.
func (i *Image) Check(ctx context.Context, once bool) *Check {
	ctx, cancel := context.WithCancel(ctx)
	c := &Check{cancel: cancel, done: make(chan struct{})}
	if i == nil || len(i.Sums) == 0 { // an earlier version of this program made it
		close(c.done)
		return c
	}
	files, err := openFiles(i.Dir, i.Files)
	if err != nil {
		c.err = &sandbox.Misfit{Why: damaged, Err: err}
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

func (i *Image) check(ctx context.Context, files opened, once bool) error {
	compare := func() error { return files.compare(ctx, i.Record) }
	if !once {
		return compare()
	}
	print, err := files.print()
	if err != nil {
		return err
	}
	return i.look.once(ctx, print, compare)
}

// Wait returns when the look has ended. The error is sandbox.ErrSnapshot, or that of the context.
func (c *Check) Wait() error {
	<-c.done
	c.cancel()
	return c.err
}
