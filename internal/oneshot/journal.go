package oneshot

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"cellhold"
)

// The lines of a file. The first line is the head. Before the code of a run begins, the server writes a line with
// begun. When the result is known, it writes a line with done. The result follows on a line of its own.
type (
	head struct {
		Runs   int    `json:"runs"`
		Digest string `json:"digest"`
	}
	line struct {
		Begun *int  `json:"begun,omitempty"`
		Done  *int  `json:"done,omitempty"`
		Final bool  `json:"final,omitempty"` // the server does not try the run again
		Size  int64 `json:"size,omitempty"`  // of the result
	}
)

// span is the place of a result in a file.
type span struct{ at, size int64 }

// journal is the file with the results of one batch.
type journal struct {
	keyed bool // the file must survive a crash of the server

	mu   sync.Mutex
	f    *os.File
	last int64 // size of the complete lines
}

// size returns the size of the file.
func (j *journal) size() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// begin records that the code of a run begins. After an error the code must not begin.
func (j *journal) begin(i int) error {
	if !j.keyed {
		return nil
	}
	_, err := j.append(line{Begun: &i}, nil)
	return err
}

// done records a result, and returns its place.
func (j *journal) done(i int, result []byte, final bool) (span, error) {
	return j.append(line{Done: &i, Final: final, Size: int64(len(result))}, result)
}

// append writes a line, and after it a result if there is one. After an error, the file has only the complete lines
// before it.
func (j *journal) append(l any, result []byte) (s span, err error) {
	b, _ := json.Marshal(l) // cannot fail: numbers and texts
	b = append(b, '\n')
	skip := int64(len(b))
	if result != nil {
		b = append(append(b, result...), '\n')
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err = j.f.WriteAt(b, j.last)
	if err == nil && j.keyed {
		err = j.f.Sync()
	}
	if err != nil {
		return s, notStored(errors.Join(err, j.f.Truncate(j.last)))
	}
	s = span{j.last + skip, int64(len(result))}
	j.last += int64(len(b))
	return s, nil
}

func notStored(err error) error {
	return cellhold.Wrap(cellhold.Unavailable, err, "The results of the runs cannot be stored. Check the free space on the server's disk.")
}

// read returns a reader of a result.
func (j *journal) read(s span) *io.SectionReader { return io.NewSectionReader(j.f, s.at, s.size) }

func (j *journal) close() error { return j.f.Close() }

// scratch returns the file of a batch without a key. The file has no name, so it is gone when the server ends.
func (r *Runs) scratch(b *Batch) (*journal, error) {
	if err := r.takeFile(b); err != nil {
		return nil, err
	}
	f, err := r.create(func() (*os.File, error) { return os.CreateTemp(r.dir, "*"+ending) })
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &journal{f: f}, nil
}

// create creates a file in the folder. If the folder is missing, it makes the folder.
func (r *Runs) create(open func() (*os.File, error)) (*os.File, error) {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, notStored(err)
	}
	f, err := open()
	if err != nil {
		return nil, notStored(err)
	}
	return f, nil
}

// open opens the file of a batch with a key. Runs that an earlier server began and did not complete are lost. The caller
// must hold opening.
func (r *Runs) open(b *Batch) error {
	path := filepath.Join(r.dir, b.name+ending)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := r.takeFile(b); err != nil {
			return err
		}
	case err != nil:
		return notStored(err)
	}
	f, err := r.create(func() (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) })
	if err != nil {
		return err
	}
	j := &journal{f: f, keyed: true}
	b.file = j // leave closes it
	if info != nil {
		j.last, b.counted = info.Size(), amount{1, info.Size()}
	}
	found, err := replay(f, len(b.plans))
	if err != nil {
		return cellhold.Wrap(cellhold.Internal, err, "The stored results of this idempotency key are damaged.")
	}
	want := head{len(b.plans), b.digest}
	if found.last > 0 && found.head != want {
		return cellhold.Errorf(cellhold.Conflict, "The idempotency key belongs to other runs. Use a new key.")
	}
	if err := f.Truncate(found.last); err != nil { // otherwise the rest of an incomplete line could follow the next line
		return notStored(err)
	}
	j.last = found.last
	b.results, b.todo = found.results, missing(len(b.plans), found)
	if found.last == 0 { // a new file, or one whose first line is incomplete
		if _, err := j.append(want, nil); err != nil {
			return err
		}
		return syncDir(r.dir)
	}
	for i := range found.begun {
		if err := b.put(i, lost(i, "The server ended while the run was in progress. It is not repeated: send it with a new key to run it again."), true, 0); err != nil {
			return err
		}
	}
	return nil
}

// syncDir writes the names of new files to disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return notStored(err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return notStored(err)
	}
	return nil
}

// found is what replay found in a file, without the results.
type found struct {
	head    head
	results []span       // the final results, in order
	done    map[int]bool // the runs that have a final result
	begun   map[int]bool // the runs that began and have no result
	last    int64        // size of the complete lines
}

// missing returns the runs that did not begin.
func missing(count int, f found) []int {
	var list []int
	for i := range count {
		if !f.done[i] && !f.begun[i] {
			list = append(list, i)
		}
	}
	return list
}

// maxLine limits a line that is no result.
const maxLine = 4 << 10

// replay reads a file of a batch, without its results. A crash can leave an incomplete last line or result, which replay
// ignores. Any other damage is an error: without the lines, code could run twice.
func replay(r io.Reader, count int) (found, error) {
	f := found{done: map[int]bool{}, begun: map[int]bool{}}
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		b, err := lines.ReadSlice('\n')
		if err == io.EOF {
			return f, nil
		}
		if err != nil {
			return f, fmt.Errorf("line at byte %d: %w", f.last, err)
		}
		size := int64(len(b))
		if f.last == 0 {
			if err := json.Unmarshal(b, &f.head); err != nil {
				return f, fmt.Errorf("first line: %w", err)
			}
			f.last = size
			if f.head.Runs != count { // of other requests, so the other lines do not matter
				return f, nil
			}
			continue
		}
		var l line
		if err := json.Unmarshal(b, &l); err != nil {
			return f, fmt.Errorf("line at byte %d: %w", f.last, err)
		}
		if l.Done != nil {
			complete, err := skipResult(lines, l.Size)
			if err != nil || !complete {
				return f, err
			}
		}
		if err := f.add(l, size, count); err != nil {
			return f, fmt.Errorf("line at byte %d: %w", f.last, err)
		}
	}
}

// skipResult skips a result and the end of its line. It returns false if the result is incomplete.
func skipResult(r *bufio.Reader, size int64) (complete bool, err error) {
	if size <= 0 {
		return false, errors.New("a result without a size")
	}
	if _, err := io.CopyN(io.Discard, r, size); err != nil {
		return false, ignoreEnd(err)
	}
	end, err := r.ReadByte()
	if err == nil && end != '\n' {
		err = errors.New("a result without an end")
	}
	return err == nil, ignoreEnd(err)
}

func ignoreEnd(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// add adds one line of the given size, with its result.
func (f *found) add(l line, size int64, count int) error {
	valid := func(i *int) bool { return i != nil && *i >= 0 && *i < count }
	switch {
	case l.Done == nil && valid(l.Begun) && !f.done[*l.Begun] && !f.begun[*l.Begun]:
		f.begun[*l.Begun] = true
	case !valid(l.Done) || l.Begun != nil || f.done[*l.Done]:
		return errors.New("no line of a batch")
	case l.Final:
		delete(f.begun, *l.Done)
		f.done[*l.Done] = true
		f.results = append(f.results, span{f.last + size, l.Size})
	}
	f.last += size
	if l.Done != nil {
		f.last += l.Size + 1
	}
	return nil
}
