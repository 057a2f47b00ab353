package hostile

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
	"cellhold/test/servertest"
)

//go:embed attacks
var attacks embed.FS

// target is the server under attack, with a neighbour and with canaries on the host.
type target struct {
	*servertest.Server
	neighbour cellhold.SessionID
	name      string       // an abstract Unix socket of the host
	port      string       // a port on the host's loopback device
	reached   atomic.Int64 // connections to the socket and to the port
	file      string       // a file of the host
	before    hostState
}

// hostState is what no sandbox can change.
type hostState struct {
	name, corePattern, file string
	programs                [sha256.Size]byte // the agent and the runner
}

func newTarget(t *testing.T) *target {
	t.Helper()
	x := &target{Server: servertest.Start(t, servertest.NewHome(t)), name: fmt.Sprintf("cellhold-canary-%d", os.Getpid())}
	x.listen(t, "unix", "@"+x.name)
	x.port = x.listen(t, "tcp", "127.0.0.1:0")
	x.file = filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(x.file, []byte("untouched"), 0o666); err != nil {
		t.Fatal(err)
	}
	x.neighbour = x.NewSession(t, client.CreateSession{})
	x.attack(t, x.neighbour, "neighbour_left")
	x.before = x.state(t)
	return x
}

// listen opens a listener that no sandbox can reach, and returns its port.
func (x *target) listen(t *testing.T, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			x.reached.Add(1)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func (x *target) state(t *testing.T) hostState {
	t.Helper()
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		return b
	}
	var s hostState
	s.name, _ = os.Hostname()
	s.corePattern = string(read("/proc/sys/kernel/core_pattern"))
	s.file = string(read(x.file))
	var programs []byte
	found, err := filepath.Glob(filepath.Join(x.Home, "guest", "*", "*"))
	if err != nil || len(found) == 0 {
		t.Errorf("the home has no program of the agent (%v)", err)
	}
	for _, path := range found {
		programs = append(programs, read(path)...)
	}
	s.programs = sha256.Sum256(programs)
	return s
}

// unharmed checks the canaries, the neighbour and the server after an attack.
func (x *target) unharmed(t *testing.T) {
	t.Helper()
	if n := x.reached.Load(); n != 0 {
		t.Errorf("the host's sockets have %d connections, want 0", n)
	}
	if after := x.state(t); after != x.before {
		t.Errorf("the host has %+v, want %+v", after, x.before)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	if err := x.Ready(ctx); err != nil {
		t.Errorf("the server: %v", err)
	}
	c, err := x.Execute(ctx, x.neighbour, client.Code{Code: "print(state)"})
	if got := strings.TrimSpace(servertest.Text(c)); err != nil || got != "kept" {
		t.Errorf("the neighbour prints %q (%v), want kept", got, err)
	}
	select {
	case <-x.Exited:
		t.Error("the server has ended")
	default:
	}
}

// program returns the code of an attack with the helpers of all attacks.
func program(t *testing.T, name string) string {
	t.Helper()
	var code []byte
	for _, part := range []string{"common", name} {
		b, err := attacks.ReadFile("attacks/" + part + ".py")
		if err != nil {
			t.Fatal(err)
		}
		code = append(code, b...)
	}
	return string(code)
}

// attack runs the code of an attack as a cell, and returns its results.
func (x *target) attack(t *testing.T, id cellhold.SessionID, name string, replace ...string) map[string]string {
	t.Helper()
	return results(t, x.MustRun(t, id, strings.NewReplacer(replace...).Replace(program(t, name))))
}

// command runs the code of an attack as a command. If the command ends otherwise than with the status 0, the results are nil.
func (x *target) command(t *testing.T, id cellhold.SessionID, name string, args ...string) (map[string]string, cellhold.Command) {
	t.Helper()
	path := "/workspace/" + name + ".py"
	if _, err := x.WriteFile(t.Context(), id, path, strings.NewReader(program(t, name)), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := x.RunCommand(t.Context(), id, client.Run{Args: append([]string{"python3", "-W", "ignore", "-S", path}, args...)})
	if err != nil {
		t.Fatal(err)
	}
	if c.Status != cellhold.CommandOK {
		return nil, c
	}
	return results(t, c.Stdout.Text), c
}

func results(t *testing.T, text string) map[string]string {
	t.Helper()
	var all map[string]string
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &all); err != nil || len(all) == 0 {
		t.Fatalf("the attack printed %q (%v), want results", text, err)
	}
	return all
}

// refused checks that no step of an attack worked. Steps in allowed may work.
func refused(t *testing.T, all map[string]string, allowed ...string) {
	t.Helper()
	for step, result := range all {
		if result == "works" && !matches(step, allowed) {
			t.Errorf("%s: works, want an error", step)
		}
	}
}

func matches(step string, patterns []string) bool {
	for _, p := range patterns {
		if strings.HasPrefix(step, p) {
			return true
		}
	}
	return false
}

// kernelOf returns the value of a file of the host, or "" if the host does not have it.
func kernelOf(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}
