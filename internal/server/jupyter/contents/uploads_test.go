package contents

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
)

// sandbox is the other end of an upload. It keeps what it gets, if all of it arrives.
type sandbox struct{ file string }

func (s *sandbox) write(_ context.Context, body io.Reader) (cellhold.FileInfo, error) {
	text, err := io.ReadAll(body)
	if err == nil {
		s.file = string(text)
	}
	return cellhold.FileInfo{Size: int64(len(text))}, err
}

func TestAnUploadEndsAfterAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all uploads
		var to sandbox
		key := uploadKey{"s", "a"}
		u, err := all.begin(t.Context(), key, true, to.write)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // each part gives time for the next one
			if err := u.write(t.Context(), []byte("part ")); err != nil {
				t.Fatal(err)
			}
			<-time.After(partPause - time.Second) // of the clock of the bubble
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if all.get(key) != nil || to.file != "" {
			t.Errorf("got the file %q, want no upload and no file", to.file)
		}
		if err := u.write(t.Context(), []byte("late")); !errors.Is(err, errPause) {
			t.Errorf("a late part: got %v, want %v", err, errPause)
		}
		all.close()
	})
}

func TestAnUploadEndsWhenItsClientLeavesWithinAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all uploads
		begun, left := make(chan struct{}), make(chan struct{})
		u, err := all.begin(t.Context(), uploadKey{"s", "a"}, true, func(_ context.Context, body io.Reader) (cellhold.FileInfo, error) {
			if _, err := io.ReadFull(body, make([]byte, 1)); err != nil {
				return cellhold.FileInfo{}, err
			}
			close(begun)
			<-left // it reads no more before
			_, err := io.Copy(io.Discard, body)
			return cellhold.FileInfo{}, err
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		go func() { <-begun; leave() }()
		if err := u.write(ctx, []byte("part")); err == nil {
			t.Error("got no error for a part that the sandbox did not read")
		}
		close(left)
		<-u.done
		if u.err == nil {
			t.Error("the sandbox got the end of the file, want an error")
		}
		all.close()
	})
}

func TestASandboxThatRefusesAFileEndsItsUploadWithItsError(t *testing.T) {
	var all uploads
	full := cellhold.Errorf(cellhold.Exhausted, "The disk is full.")
	u, err := all.begin(t.Context(), uploadKey{"s", "a"}, true, func(_ context.Context, body io.Reader) (cellhold.FileInfo, error) {
		_, _ = io.ReadFull(body, make([]byte, 2))
		return cellhold.FileInfo{}, full
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := u.write(t.Context(), []byte("part")); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
	if _, err := u.finish(t.Context()); !errors.Is(err, full) {
		t.Errorf("at the end: got %v, want %v", err, full)
	}
	all.close()
}

func TestALaterUploadOfAFileReplacesTheEarlierOne(t *testing.T) {
	var all uploads
	var first, second sandbox
	key := uploadKey{"s", "a"}
	old, err := all.begin(t.Context(), key, true, first.write)
	if err != nil {
		t.Fatal(err)
	}
	u, err := all.begin(t.Context(), key, true, second.write)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.write(t.Context(), []byte("x")); !errors.Is(err, errReplaced) {
		t.Errorf("the earlier upload: got %v, want %v", err, errReplaced)
	}
	if err := u.write(t.Context(), []byte("new")); err != nil {
		t.Fatal(err)
	}
	if _, err := u.finish(t.Context()); err != nil || first.file != "" || second.file != "new" {
		t.Errorf("got %v with %q and %q, want only the later file", err, first.file, second.file)
	}
	all.close()
}

func TestUploadsOfASessionHaveALimit(t *testing.T) {
	var all uploads
	for i := range maxUploads {
		if _, err := all.begin(t.Context(), uploadKey{"s", fmt.Sprint(i)}, true, new(sandbox).write); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := all.begin(t.Context(), uploadKey{"s", "more"}, true, new(sandbox).write); cellhold.KindOf(err) != cellhold.Exhausted || !strings.Contains(err.Error(), "limit is 8") {
		t.Errorf("got %v, want the limit", err)
	}
	if _, err := all.begin(t.Context(), uploadKey{"other", "more"}, true, new(sandbox).write); err != nil {
		t.Errorf("another session: got %v", err)
	}
	all.close()
	if _, err := all.begin(t.Context(), uploadKey{"other", "late"}, true, new(sandbox).write); !errors.Is(err, errClosed) {
		t.Errorf("after the end: got %v, want %v", err, errClosed)
	}
}
