package container

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOnlyPlainUsersAreRead(t *testing.T) {
	for text, want := range map[string]User{"1000": {1000, 1000}, "1000:0": {}, "0": {}, "7:8": {7, 8}, "": {}, "root": {}, "-1": {}, "1:": {}, "1:2:3": {}, "4294967295": {}} {
		got, err := ParseUser(text)
		if got != want || (err != nil) != (want == User{}) {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestOnlyEmptyFoldersOfRootAreGiven(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to another user")
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"empty", "full", "foreign"} {
		if err := os.Mkdir(path(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path("full/file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path("foreign"), 7, 7); err != nil {
		t.Fatal(err)
	}
	d := Drop{User: User{1000, 1000}}
	for name, want := range map[string]uint32{"empty": 1000, "full": 0, "foreign": 7, "new": 1000} {
		if err := d.give(path(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantOwner(t, path(name), want)
	}
}

func wantOwner(t *testing.T, path string, want uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Uid != want {
		t.Errorf("%s: got the owner %d, %v; want %d", path, st.Uid, err, want)
	}
}

// The user of an earlier start leaves links, so that root gives away other folders at the next start.
func TestLinksOfTheUserAreNotFollowed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to another user")
	}
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.MkdirAll(path("victim/empty"), 0o755), os.Mkdir(path("home"), 0o755), os.Mkdir(path("home/roots"), 0o755),
		os.Symlink(path("victim/empty"), path("home/last")), os.Symlink(path("victim"), path("home/middle")), os.Symlink("victim", path("link")),
		os.Chown(path("home"), 1000, 1000),
	); err != nil {
		t.Fatal(err)
	}
	d := Drop{User: User{1000, 1000}}
	for _, name := range []string{"home/last", "home/middle/empty", "home/middle/new", "home/roots", "home/new"} {
		if err := d.give(path(name)); err != nil {
			t.Errorf("%s: got %v, want that root leaves it to the user", name, err)
		}
	}
	if err := d.give(path("link/empty")); err == nil || !strings.Contains(err.Error(), "link is a link or a file") {
		t.Errorf("below a link of root: got %v, want an error that names it", err)
	}
	for _, name := range []string{"victim", "victim/empty", "home/roots"} {
		wantOwner(t, path(name), 0)
	}
	for _, name := range []string{"victim/new", "home/new"} {
		if _, err := os.Stat(path(name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v, want no folder", name, err)
		}
	}
}

func TestMissingRightsAreOneSentenceWithFlags(t *testing.T) {
	got := refusal([]string{"--cap-add SYS_ADMIN", "--cgroupns=private"}).Error()
	if !strings.Contains(got, "add --cap-add SYS_ADMIN --cgroupns=private to docker run") || strings.Contains(got, "\n") {
		t.Errorf("got %q", got)
	}
}
