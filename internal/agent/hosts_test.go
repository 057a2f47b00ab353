package agent

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestTheHostsFileIsReplacedAndNoLinkOfTheImageIsFollowed(t *testing.T) {
	const want = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.0.1 box\n"
	for name, prepare := range map[string]func(etc, other string) error{
		"an image without /etc":     func(string, string) error { return nil },
		"an image without the file": func(etc, _ string) error { return os.Mkdir(etc, 0o755) },
		"the file of another host": func(etc, _ string) error {
			return withEtc(etc, func(f string) error { return os.WriteFile(f, []byte("127.0.0.1 old"), 0o600) })
		},
		"a link to another file": func(etc, other string) error {
			return withEtc(etc, func(f string) error { return os.Symlink(other, f) })
		},
		"a link to nothing": func(etc, other string) error {
			return withEtc(etc, func(f string) error { return os.Symlink(other+"x", f) })
		},
		"a link where it is first made": func(etc, other string) error {
			return withEtc(etc, func(f string) error { return os.Symlink(other, filepath.Join(filepath.Dir(f), hostsNew)) })
		},
		"what a killed agent has left": func(etc, _ string) error {
			return withEtc(etc, func(f string) error {
				return os.WriteFile(filepath.Join(filepath.Dir(f), hostsNew), []byte("x"), 0o600)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			etc, other := filepath.Join(dir, "etc"), filepath.Join(dir, "other")
			if err := os.WriteFile(other, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := prepare(etc, other); err != nil {
				t.Fatal(err)
			}
			if err := writeHosts(etc, hostsText("box")); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(etc, hostsFile)
			got, err := os.ReadFile(file)
			info, statErr := os.Lstat(file)
			if err != nil || statErr != nil || string(got) != want || info.Mode() != 0o644 {
				t.Errorf("the file is %q of mode %v, %v, %v", got, info.Mode(), err, statErr)
			}
			if kept, err := os.ReadFile(other); err != nil || string(kept) != "precious" {
				t.Errorf("the file that the link named is %q, %v", kept, err)
			}
			if left, err := fs.Glob(os.DirFS(etc), ".*"); err != nil || len(left) > 0 {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
}

// withEtc makes the directory etc, and calls make with the path of its hosts file.
func withEtc(etc string, make func(file string) error) error {
	if err := os.Mkdir(etc, 0o755); err != nil {
		return err
	}
	return make(filepath.Join(etc, hostsFile))
}

func TestADirectoryThatIsALinkGetsNoHostsFile(t *testing.T) {
	dir := t.TempDir()
	elsewhere, etc := filepath.Join(dir, "elsewhere"), filepath.Join(dir, "etc")
	if err := os.Mkdir(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, etc); err != nil {
		t.Fatal(err)
	}
	if err := writeHosts(etc, hostsText("box")); err == nil {
		t.Error("the hosts file was written through the link")
	}
	if left, err := os.ReadDir(elsewhere); err != nil || len(left) > 0 {
		t.Errorf("the directory that the link names has %v, %v", left, err)
	}
}

func TestAPipeInPlaceOfTheHostsFileDoesNotBlock(t *testing.T) {
	etc := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(etc, hostsFile), 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := os.OpenRoot(etc)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	same := make(chan bool, 1)
	go func() { same <- holds(dir, hostsFile, hostsText("box")) }() // like a pipe that user code puts there after the check
	select {
	case is := <-same:
		if is {
			t.Error("holds reports the same text for a pipe")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("holds waits for a writer")
	}
	if err := writeHosts(etc, hostsText("box")); err != nil {
		t.Fatal(err)
	}
	if !holds(dir, hostsFile, hostsText("box")) || holds(dir, hostsFile, hostsText("fox")) {
		t.Error("holds does not recognise the file")
	}
}
