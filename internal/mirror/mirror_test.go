package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
)

func folder(t *testing.T, files map[string]int) use {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, size := range files {
		if err := makeParents(root, name); err != nil {
			t.Fatal(err)
		}
		if err := root.WriteFile(name, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u, err := measure(root)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestTheLimitAppliesToTheFolderAndNotToOneSession(t *testing.T) {
	u := folder(t, map[string]int{"others/a": 60, "mine": 20, temporary + "s1": 1000})
	if u.bytes != 80 || u.entries != 3 {
		t.Fatalf("the folder has %d bytes in %d entries, want 80 and 3", u.bytes, u.entries)
	}
	for _, tt := range []struct {
		name string
		size int64
		ok   bool
	}{
		{"mine", 40, true}, // replaces 20 bytes
		{"new", 1, false},
		{"others/a", 10, true}, // frees space
		{"new", 50, true},
		{"more", 1, false},
	} {
		if err := u.admit(guestapi.File{Path: tt.name, Size: tt.size}, 100); (err == nil) != tt.ok {
			t.Errorf("%s of %d bytes: got %v, want no error: %t", tt.name, tt.size, err, tt.ok)
		}
	}
	if u.bytes != 100 {
		t.Errorf("the folder has %d bytes after all files, want 100", u.bytes)
	}
}

func TestEachDirectoryCountsAsAnEntry(t *testing.T) {
	u := folder(t, nil)
	deep := strings.Repeat("/d", 9)
	files := 0
	for ; ; files++ {
		if err := u.admit(guestapi.File{Path: fmt.Sprint(files, deep)}, 1<<40); err != nil {
			break
		}
	}
	if want := maxEntries / 10; files != want {
		t.Errorf("admitted %d files with nine directories each, want %d", files, want)
	}
	if u.entries > maxEntries {
		t.Errorf("the folder has %d entries, want at most %d", u.entries, maxEntries)
	}
}

func TestOneSessionAtATimeWritesToAFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f Folders
		release, err := f.locks.Hold(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		other, err := f.locks.Hold(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		other()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := f.locks.Hold(ctx, "a"); !errors.Is(err, context.Canceled) {
				t.Errorf("a cancelled wait for a locked folder: got %v, want context.Canceled", err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		release()
		if n := f.locks.Len(); n != 0 {
			t.Errorf("got %d locks after all releases, want 0", n)
		}
	})
}

func TestRecogniseSucceedsWithALockedFolderAndFailsWithoutAnAgent(t *testing.T) {
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") }))
	defer agent.Close()
	c, err := guest.New(guest.Options{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", agent.Listener.Addr().String())
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var f Folders
	dir := t.TempDir()
	release, err := f.locks.Hold(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // long enough for an answer of the agent on a busy machine
	defer cancel()
	if err := New(&f, dir, "s1", 1<<20).Recognise(ctx, c); err != nil {
		t.Errorf("Recognise with a locked folder: got %v, want no error", err)
	}
	agent.Close()
	if err := New(&f, t.TempDir(), "s2", 1<<20).Recognise(t.Context(), c); err == nil {
		t.Error("Recognise without an agent: got no error, want one")
	}
}
