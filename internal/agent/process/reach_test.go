package process_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"cellhold/internal/agent/command"
	"cellhold/internal/guestapi"
)

// start starts a command and ends it at once. It returns the error of the start.
func start(t *testing.T, c guestapi.StartCommand) error {
	t.Helper()
	l, err := shells(shortDir(t), "", 0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := l.Spawn(command.Spec{ID: "c", StartCommand: c})
	if err != nil {
		return err
	}
	p.Kill()
	p.Input().Close()
	for _, o := range p.Outputs() {
		o.Close()
	}
	return nil
}

func TestNoPathOfACommandLeadsToOpenFilesOfTheAgent(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	file, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	magic := fmt.Sprintf("/proc/self/fd/%d", open.Fd())
	link, script := filepath.Join(dir, "link"), filepath.Join(dir, "script")
	if err := errors.Join(os.Symlink(magic, link), os.WriteFile(script, []byte("#!"+magic+"/program\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []guestapi.StartCommand{
		{Args: []string{"true"}, Dir: magic},
		{Args: []string{"true"}, Dir: link},
		{Args: []string{"true"}, Dir: fmt.Sprintf("/proc/thread-self/fd/%d", open.Fd())},
		{Args: []string{magic + "/program"}},
		{Args: []string{link + "/program"}},
		{Args: []string{fmt.Sprintf("/proc/self/fd/%d", file.Fd())}},
		{Args: []string{script}},
		{Args: []string{"program"}, Env: map[string]string{"PATH": link}},
	} {
		if err := start(t, c); err == nil {
			t.Errorf("%q in %q was started, want an error", c.Args, c.Dir)
		} else if c.Dir != "" && !errors.Is(err, command.ErrDir) {
			t.Errorf("%q in %q: got %v, want ErrDir", c.Args, c.Dir, err)
		}
	}
	for _, c := range []guestapi.StartCommand{
		{Args: []string{"true"}, Dir: dir},
		{Args: []string{program}},
		{Args: []string{"program"}, Env: map[string]string{"PATH": "/none:" + program + ":" + dir}},
	} {
		if err := start(t, c); err != nil {
			t.Errorf("%q in %q: %v", c.Args, c.Dir, err)
		}
	}
	if _, err := open.Stat(); err != nil {
		t.Errorf("the agent lost its own file: %v", err)
	}
}

func TestAMissingProgramIsNotAMissingDirectory(t *testing.T) {
	for _, env := range []map[string]string{nil, {"PATH": "/bin:/usr/bin"}} {
		err := start(t, guestapi.StartCommand{Args: []string{"no-such-program"}, Dir: "/tmp", Env: env})
		if !errors.Is(err, os.ErrNotExist) || errors.Is(err, command.ErrDir) {
			t.Errorf("with the environment %v: got %v, want only ErrNotExist", env, err)
		}
	}
}

// The thread that starts a process loses the agent's files, and ends. The main thread cannot end.
func TestTheMainThreadKeepsItsFiles(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{startHelper + "=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("after many starts: %v, %s", err, out)
	}
}
