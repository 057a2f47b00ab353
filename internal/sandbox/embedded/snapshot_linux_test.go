package embedded_test

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
)

func get(t *testing.T, c *http.Client, url string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Error(err)
		return
	}
	_ = resp.Body.Close()
}

// TestALinkInUseIsSavedWhole: the unread content of the pipe to the agent, with incomplete frames, is a part of the state.
func TestALinkInUseIsSavedWhole(t *testing.T) {
	d := open(t)
	defer d.Close()
	box, err := d.Create(t.Context(), spec(name("busy")))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	stop := make(chan struct{})
	var traffic sync.WaitGroup
	defer traffic.Wait()
	defer close(stop)
	for range 2 {
		c := guestClient(box)
		traffic.Go(func() {
			long := url.QueryEscape(strings.Repeat("x", 200<<10))
			for {
				select {
				case <-stop:
					return
				default:
					get(t, c, "http://guest/self?what=remember&arg="+long)
				}
			}
		})
	}
	for range 5 {
		again := continued(t, d, box, name("busy-2"))
		get(t, guestClient(again), "http://guest/health")
		if err := again.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestTheUnreadInputOfAPausedAgentIsSaved: it must not disturb the link of the next host.
func TestTheUnreadInputOfAPausedAgentIsSaved(t *testing.T) {
	d := open(t)
	defer d.Close()
	box, err := d.Create(t.Context(), spec(name("asleep")))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	c := guestClient(box)
	get(t, c, "http://guest/health")
	if err := box.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	asking.Go(func() { get(t, c, "http://guest/self?what=remember&arg="+strings.Repeat("x", 10<<10)) })
	again := continued(t, d, box, name("asleep-2"))
	get(t, guestClient(again), "http://guest/health")
	if err := errors.Join(again.Destroy(t.Context()), box.Resume(t.Context())); err != nil {
		t.Error(err)
	}
	asking.Wait()
}

// TestAFullDiskFailsASnapshotAndNothingElse uses a disk that becomes full during the write.
func TestAFullDiskFailsASnapshotAndNothingElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small disk")
	}
	o := options(t)
	o.Snapshots = filepath.Join(t.TempDir(), "small")
	o.Reserve = -1 // without this check, the write starts
	if err := os.Mkdir(o.Snapshots, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", o.Snapshots, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("a small disk cannot be mounted: %v", err)
	}
	defer unix.Unmount(o.Snapshots, unix.MNT_DETACH)
	d, err := embedded.New(o)
	if err != nil {
		t.Skipf("this host cannot run gVisor sandboxes: %v", err)
	}
	defer d.Close()
	box, err := d.Create(t.Context(), spec(name("full")))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	get(t, guestClient(box), "http://guest/self?what=eat&arg=20")
	for range 2 {
		if err := box.Snapshot(t.Context(), "full"); !errors.Is(err, sandbox.ErrSpace) {
			t.Errorf("got %v", err)
		}
		if all, err := d.Snapshots(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("Snapshots returned %+v, %v", all, err)
		}
		if left, _ := os.ReadDir(o.Snapshots); len(left) != 0 {
			t.Errorf("the files %v are left, want none", left)
		}
		get(t, guestClient(box), "http://guest/health") // the sandbox continues
	}
	// With the check, the snapshot is refused before the write.
	o.Reserve = 1 << 60
	o.Dir, o.Snapshots = filepath.Join(home(t), "run2"), ""
	refusing, err := embedded.New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer refusing.Close()
	other, err := refusing.Create(t.Context(), spec(name("none")))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Destroy(t.Context())
	if err := other.Snapshot(t.Context(), "none"); !errors.Is(err, sandbox.ErrSpace) {
		t.Errorf("got %v", err)
	}
}

// TestDamageThatKeepsTheSizeIsTheSnapshotsFault: after this error a session starts without the snapshot.
func TestDamageThatKeepsTheSizeIsTheSnapshotsFault(t *testing.T) {
	d := open(t)
	defer d.Close()
	box, err := d.Create(t.Context(), spec(name("spoilt")))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	for _, c := range []struct {
		file  string
		often bool
	}{{"checkpoint.img", false}, {"pages.img", false}, {"pages.img", true}} {
		snapshot := name("spoilt")
		if err := box.Snapshot(t.Context(), snapshot); err != nil {
			t.Fatal(err)
		}
		defer d.RemoveSnapshot(t.Context(), snapshot)
		s := spec(name("good"))
		s.From, s.Often = snapshot, c.often
		good, err := d.Create(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if err := good.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
		before := leftovers(t)
		flip(t, filepath.Join(home(t), "snapshots", snapshot, c.file))
		s.ID = sandbox.ID(name("never"))
		if _, err := d.Create(t.Context(), s); !errors.Is(err, sandbox.ErrSnapshot) || !strings.Contains(err.Error(), "the content of "+c.file+" differs") {
			t.Errorf("%s: got %v", c.file, err)
		}
		if diff := cmp.Diff(before, leftovers(t)); diff != "" {
			t.Errorf("left behind (-before +after):\n%s", diff)
		}
	}
}

// flip changes a byte in the middle of a file, and keeps its size and time.
func flip(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// TestTooLittleMemoryIsNotTheSnapshotsFault: the snapshot can be restored with more memory.
func TestTooLittleMemoryIsNotTheSnapshotsFault(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only then is memory limited")
	}
	d := open(t)
	defer d.Close()
	box, err := d.Create(t.Context(), spec(name("large")))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	get(t, guestClient(box), "http://guest/self?what=eat&arg=100")
	snapshot := name("large")
	if err := box.Snapshot(t.Context(), snapshot); err != nil {
		t.Fatal(err)
	}
	defer d.RemoveSnapshot(t.Context(), snapshot)
	s := spec(name("small"))
	s.From, s.Limits.Memory = snapshot, 64<<20
	if _, err := d.Create(t.Context(), s); err == nil || errors.Is(err, sandbox.ErrSnapshot) {
		t.Errorf("got %v", err)
	}
	s.Limits.Memory = 512 << 20
	again, err := d.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLabelsCanBeReplaced: a ready sandbox gets an owner.
func TestLabelsCanBeReplaced(t *testing.T) {
	d := open(t)
	defer d.Close()
	box, err := d.Create(t.Context(), spec(name("marked")))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Destroy(t.Context())
	want := map[string]string{"session": "s1"}
	if err := box.(sandbox.Marker).Mark(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	infos, err := d.List(t.Context())
	if err != nil || len(infos) != 1 {
		t.Fatalf("listed are %v, %v", infos, err)
	}
	if diff := cmp.Diff(want, infos[0].Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}
