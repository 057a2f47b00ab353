package main

import (
	"bufio"
	"cellhold/internal/cli/script"
	"cellhold/internal/cli/setup"
	"cellhold/internal/image"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/fake"
	"cellhold/internal/session"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary act as the program cellhold if a script calls it by this name. The program then uses
// fake sandboxes. Their kernels run the toy language of package jupytertest.
func TestMain(m *testing.M) {
	if os.Getenv("CELLHOLD_TEST_REAL") != "" { // see the function ourselves
		main()
	}
	testscript.Main(m, map[string]func(){"cellhold": func() {
		script.HelperDir, script.OutputDir = filepath.Join(os.TempDir(), "aids"), filepath.Join(os.TempDir(), "outputs") // fake sandboxes use the /tmp of this machine
		setup.NewDriver, setup.NewImages = openFake, func(*image.Store) session.Images { return noImages{} }
		completionPatience = time.Minute // a busy machine is slower than a person accepts
		os.Exit(command(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}})
}

func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": serve, "stop": stop, "interrupt-when": interruptWhen, "status": status, "keep": keep,
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("CELLHOLD_HOME", filepath.Join(env.WorkDir, "home"))
			return nil
		},
	})
}

// noImages resolves every name, because fake sandboxes use no image.
type noImages struct{}

func (noImages) Resolve(name string) (session.Image, error) {
	return session.Image{Name: name, Digest: "sha256:0", Rootfs: "/"}, nil
}

// fakeDriver closes the fake.World together with the driver, because no later process can find its sandboxes.
type fakeDriver struct {
	*fake.Driver
	world *fake.World
}

func (d fakeDriver) Close() error { return errors.Join(d.Driver.Close(), d.world.Close()) }

func openFake(home, _ string, _ bool, log *slog.Logger) (sandbox.Driver, error) {
	world, err := fake.NewWorld(context.Background(), fake.Options{Dir: filepath.Join(home, setup.RunDir), Logger: log})
	if err != nil {
		return nil, err
	}
	return fakeDriver{world.Open(), world}, nil
}

// running is a server that a script started.
type running struct {
	cmd  *exec.Cmd
	rest chan string // output after the greeting
}

// serve [flags] starts a server for the script and waits until it is ready. It sets URL and TOKEN from the greeting,
// and writes the greeting to the file greeting.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	cmd := program(ts, append([]string{"serve", "--listen", "127.0.0.1:0", "--log-level", "error"}, args...)...)
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	var problems strings.Builder
	cmd.Stderr = &problems
	ts.Check(cmd.Start())
	ts.Defer(func() { _ = cmd.Process.Kill() })
	lines, greeting := bufio.NewReader(out), ""
	for !strings.Contains(greeting, "Stop it with Ctrl-C") {
		line, err := lines.ReadString('\n')
		if err != nil {
			_ = cmd.Wait()
			ts.Fatalf("the server ended before it printed the whole greeting: %s", &problems)
		}
		greeting += line
		if word := strings.Fields(line); len(word) > 1 && (word[0] == "URL" || word[0] == "Token") {
			ts.Setenv(strings.ToUpper(word[0]), word[1])
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs("greeting"), []byte(greeting), 0o600))
	s := &running{cmd, make(chan string, 1)}
	go func() {
		text, _ := io.ReadAll(lines)
		s.rest <- string(text)
	}()
	servers.Store(ts, s)
}

// servers has the *running server of each *testscript.TestScript. Scripts run in parallel.
var servers sync.Map

// stop stops the server with SIGTERM, as a service manager does. The exit status must be 0.
func stop(ts *testscript.TestScript, neg bool, _ []string) {
	found, _ := servers.Load(ts)
	s := found.(*running)
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	<-s.rest
	ts.Check(s.cmd.Wait())
}

// interruptWhen TEXT ARGS... runs the program and sends SIGINT after it has printed TEXT. It writes the outputs and the
// exit status to the files stdout, stderr and status.
func interruptWhen(ts *testscript.TestScript, _ bool, args []string) {
	cmd := program(ts, args[1:]...)
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	var problems strings.Builder
	cmd.Stderr = &problems
	ts.Check(cmd.Start())
	ts.Defer(func() { _ = cmd.Process.Kill() })
	said, pressed := "", false
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		said += line
		if !pressed && strings.Contains(said, args[0]) {
			ts.Check(cmd.Process.Signal(syscall.SIGINT))
			pressed = true
		}
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	ts.Check(os.WriteFile(ts.MkAbs("stdout"), []byte(said), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("stderr"), []byte(problems.String()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("status"), []byte(strconv.Itoa(cmd.ProcessState.ExitCode())+"\n"), 0o600))
}

// status N COMMAND ARGS... runs a command, whose exit status must be N.
func status(ts *testscript.TestScript, _ bool, args []string) {
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](ts.Exec(args[1], args[2:]...)); ok {
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

// keep NAME sets a variable to the output of the last command, which must be one word.
func keep(ts *testscript.TestScript, _ bool, args []string) {
	words := strings.Fields(ts.ReadFile("stdout"))
	if len(words) != 1 {
		ts.Fatalf("got the output %q, want one word", words)
	}
	ts.Setenv(args[0], words[0])
}

// program returns a command that runs the program with the script's PATH, HOME, TMPDIR and CELLHOLD_HOME, and with no
// other variable.
func program(ts *testscript.TestScript, args ...string) *exec.Cmd {
	var path string
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path = filepath.Join(dir, "cellhold"); exists(path) {
			break
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "CELLHOLD_HOME", "CELLHOLD_TOKEN"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	return cmd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
