package process

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// tailBytes is the number of bytes that the agent keeps from the end of a kernel process's stdout and stderr. The end
// can have a traceback or a crash report.
const tailBytes = 8 << 10

// tail reads a pipe to its end and keeps the last bytes.
type tail struct {
	r     *os.File
	limit int // bytes that are kept
	done  chan struct{}
	read  sync.WaitGroup

	mu   sync.Mutex
	kept []byte
}

// newTail returns a tail and the write end of its pipe, for the stdout and stderr of a process.
func newTail(limit int) (*tail, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	// With O_NONBLOCK, a write to a full pipe fails. Programs do not expect such an error from stderr.
	if err := syscall.SetNonblock(int(w.Fd()), false); err != nil {
		return nil, nil, errors.Join(err, r.Close(), w.Close())
	}
	t := &tail{r: r, limit: limit, done: make(chan struct{})}
	t.read.Go(func() {
		defer close(t.done)
		buf := make([]byte, tailBytes)
		for {
			n, err := r.Read(buf)
			t.keep(buf[:n])
			if err != nil {
				return
			}
		}
	})
	return t, w, nil
}

func (t *tail) keep(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
}

// last waits until all writers have closed the pipe, and returns the kept bytes. It waits at most for patience, because
// a child of the process can keep the pipe open.
func (t *tail) last(patience time.Duration) string {
	select {
	case <-t.done:
	case <-time.After(patience):
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}

// close stops the reader.
func (t *tail) close() {
	t.r.Close()
	t.read.Wait()
}
