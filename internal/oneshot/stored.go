package oneshot

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cellhold"
)

const (
	// retention is how long the server keeps the file of a batch with a key after the file's last change.
	retention = 24 * time.Hour
	// sweepTime is the time between two removals of old files.
	sweepTime = 10 * time.Minute

	ending = ".runs" // of the names of the files
)

// nameOf returns the name of the file of an owner's key, without its ending. It begins with the owner's account.
func nameOf(owner, key string) string { return accountOf(owner) + "-" + hash(owner+"\x00"+key) }

// accountOf returns the name under which the files of an owner are counted.
func accountOf(owner string) string { return hash(owner) }

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// takeFile counts a new file for a batch, with the least size of its results.
func (r *Runs) takeFile(b *Batch) error {
	a := amount{1, b.least}
	if r.files.take(accountOf(b.owner), a) {
		b.counted = a
		return nil
	}
	return cellhold.Errorf(cellhold.Exhausted, "The server has no room for the results of these runs: at least %d KiB. The limits are %d batches and %d MiB. One token can use half of both. Results with an idempotency key are removed after %s: retry later, or send no key.",
		b.least>>10, maxStored, int64(maxKept)>>20, retention)
}

// countFiles counts the files of an earlier server.
func (r *Runs) countFiles() {
	r.eachFile(func(name string, info os.FileInfo) {
		account, _, _ := strings.Cut(name, "-")
		r.files.change(account, amount{1, info.Size()})
	})
}

// eachFile calls use for each file with results.
func (r *Runs) eachFile(use func(name string, info os.FileInfo)) {
	entries, _ := os.ReadDir(r.dir) // without the folder there are none
	for _, e := range entries {
		info, err := e.Info()
		if name, ours := strings.CutSuffix(e.Name(), ending); err == nil && ours {
			use(name, info)
		}
	}
}

// removeAgain removes old files now and after each sweepTime, until Close.
func (r *Runs) removeAgain() {
	r.removeOld()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.sweeping.Done()
	} else {
		r.sweep.Reset(sweepTime)
	}
}

// removeOld removes old files.
func (r *Runs) removeOld() {
	r.eachFile(func(name string, info os.FileInfo) {
		if old(info) {
			r.remove(name)
		}
	})
}

func old(info os.FileInfo) bool { return time.Since(info.ModTime()) > retention }

// remove removes an old file, unless its batch runs or is read. It holds mu, so that no request opens the file at the same
// time.
func (r *Runs) remove(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := range r.batches {
		if b.name == name {
			return
		}
	}
	path := filepath.Join(r.dir, name+ending)
	info, err := os.Stat(path) // a batch can have changed it since the first look
	if err != nil || !old(info) {
		return
	}
	if err := os.Remove(path); err != nil {
		r.o.Logger.Warn("removing old results of runs", "err", err)
		return
	}
	account, _, _ := strings.Cut(name, "-")
	r.files.change(account, amount{-1, -info.Size()})
}
