package cgroup

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestControllersThatAreEnabledAreNotEnabledAgain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "cgroup.subtree_control")
	for have, want := range map[string]string{"cpuset cpu io memory pids\n": "cpuset cpu io memory pids\n", "cpu\n": "+memory +cpu +pids", "": "+memory +cpu +pids"} {
		if err := os.WriteFile(file, []byte(have), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := enable(dir); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("with %q: got %q, %v; want %q", have, got, err, want)
		}
	}
}

func TestASharedNamespaceOfCgroupsIsRecognised(t *testing.T) {
	for table, want := range map[string]bool{
		"0::/\n": true, "0::/cellhold-server\n": true, "0::/docker/1a2b\n": false, "0::/../other\n": false,
		"12:pids:/\n9:memory:/\n0::/system.slice\n": true, "12:pids:/\n9:memory:/docker/1a2b\n0::/\n": false, "": false,
	} {
		if got := ownNamespace(table); got != want {
			t.Errorf("%q: got %t, want %t", table, got, want)
		}
	}
}

func TestAGroupIsGivenWithItsFilesAndWithoutOtherGroups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to another user")
	}
	dir := filepath.Join(t.TempDir(), parent)
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "sandbox"), 0o755), os.WriteFile(filepath.Join(dir, "cgroup.procs"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := giveGroup(dir, 1234, 1235); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]uint32{dir: 1234, filepath.Join(dir, "cgroup.procs"): 1234, filepath.Join(dir, "sandbox"): 0, filepath.Dir(dir): 0} {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || st.Uid != want {
			t.Errorf("%s: got the owner %d, %v; want %d", path, st.Uid, err, want)
		}
	}
}

// controllersAt returns a folder with folders of these names, which are mounted writable.
func controllersAt(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range names {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestCgroupsAreGivenInANamespaceOfTheirOwnOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to another user")
	}
	for table, want := range map[string]bool{"9:memory:/docker/1a2b\n": false, "9:memory:/\n": true} {
		root := controllersAt(t, delegated...)
		err := delegate(table, root, 1234, 1234)
		given, _ := filepath.Glob(filepath.Join(root, "*", parent))
		if want && (err != nil || len(given) != len(delegated)) || !want && (err == nil || len(given) != 0) {
			t.Errorf("%q: got %v and the cgroups %v; want that they are given: %t", table, err, given, want)
		}
	}
}

func TestWritableControllersThatAreNotGivenAreNamed(t *testing.T) {
	root := controllersAt(t, append([]string{"blkio", "devices"}, delegated...)...)
	err := delegate("9:memory:/\n", root, 1234, 1234)
	if err == nil || !strings.Contains(err.Error(), "controllers blkio, devices are mounted writable") {
		t.Errorf("got %v, want an error that names blkio and devices", err)
	}
	if given, _ := filepath.Glob(filepath.Join(root, "*", parent)); len(given) > 0 {
		t.Errorf("got the cgroups %v, want no change", given)
	}
}

// TestTheProcessesOfAGroupMoveToALeaf uses real cgroups of version 2, with a program that waits for its input.
func TestTheProcessesOfAGroupMoveToALeaf(t *testing.T) {
	root := hierarchyV2()
	if root == "" {
		t.Skip("this host has no writable cgroups of version 2")
	}
	dir, err := os.MkdirTemp(root, "cellhold-test-")
	if err != nil {
		t.Skipf("cannot create a cgroup: %v", err)
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = io.Closer(in).Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		for _, d := range []string{filepath.Join(dir, leaf), dir} {
			if err := rmdirCgroup(context.Background(), d); err != nil && !errors.Is(err, unix.EBUSY) {
				t.Logf("remove %s: %v", d, err)
			}
		}
	})
	pid := strconv.Itoa(cmd.Process.Pid)
	if err := writeFile(filepath.Join(dir, "cgroup.procs"), pid); err != nil {
		t.Fatal(err)
	}
	if err := leave(dir); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{dir: "", filepath.Join(dir, leaf): pid} {
		got, err := os.ReadFile(filepath.Join(at, "cgroup.procs"))
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("the processes of %s: got %q, %v; want %q", at, got, err, want)
		}
	}
}

// hierarchyV2 returns the directory of cgroups of version 2, or an empty text.
func hierarchyV2() string {
	for _, dir := range []string{Root, filepath.Join(Root, "unified")} {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC && unix.Access(dir, unix.W_OK) == nil {
			return dir
		}
	}
	return ""
}
