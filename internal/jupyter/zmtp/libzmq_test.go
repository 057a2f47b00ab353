package zmtp

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// libzmq starts testdata/peer.py and returns its socket path.
func libzmq(t *testing.T, mode string) string {
	t.Helper()
	python := os.Getenv("CELLHOLD_TEST_PYTHON")
	if python == "" {
		python = filepath.Join("..", "..", "..", "build", "testvenv", "bin", "python")
	}
	if _, err := os.Stat(python); err != nil {
		t.Skipf("no Python with pyzmq: %v (see test/requirements.txt)", err)
	}
	path := socketPath(t)
	cmd := exec.Command(python, filepath.Join("testdata", "peer.py"), mode, path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("peer.py did not bind: %v", err)
	}
	t.Logf("libzmq %s", line)
	return path
}

func dial(t *testing.T, path string, o Options) *Conn {
	t.Helper()
	c, err := Dial(soon(t), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func recv(t *testing.T, c *Conn) Message {
	t.Helper()
	m, err := c.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMessagesOfAllSizesComeBackFromLibzmq(t *testing.T) {
	c := dial(t, libzmq(t, "router"), Options{Type: Dealer, Identity: []byte("me")})
	for _, size := range []int{0, 1, 255, 256, 65_536, 1 << 20, 20_000_000} {
		want := bytes.Repeat([]byte{byte(size), 7}, size/2+1)[:size]
		if err := c.Send([]byte("first"), nil, want); err != nil {
			t.Fatal(err)
		}
		m := recv(t, c)
		if len(m.Frames) != 4 || string(m.Frames[0]) != "me" || string(m.Frames[1]) != "first" ||
			len(m.Frames[2]) != 0 || !bytes.Equal(m.Frames[3], want) || m.Dropped != 0 {
			t.Fatalf("size %d: got %d frames, %d dropped", size, len(m.Frames), m.Dropped)
		}
	}
}

func TestASubscriberGetsTheWelcomeAndAllLaterMessages(t *testing.T) {
	c := dial(t, libzmq(t, "xpub"), Options{Type: Sub})
	if err := c.Subscribe(""); err != nil {
		t.Fatal(err)
	}
	if m := recv(t, c); len(m.Frames) != 1 || string(m.Frames[0]) != "welcome" {
		t.Fatalf("got %q, want the welcome", m.Frames)
	}
	for i := range 500 {
		if m := recv(t, c); string(m.Frames[1]) != fmt.Sprint(i) {
			t.Fatalf("got %q, want message %d", m.Frames, i)
		}
	}
	if m := recv(t, c); len(m.Frames[1]) != 10_000_000 {
		t.Fatalf("got %d bytes, want 10 MB", len(m.Frames[1]))
	}
}

func TestHeartbeatsOfLibzmqAreAnswered(t *testing.T) {
	c := dial(t, libzmq(t, "heartbeat"), Options{Type: Dealer})
	if err := c.Send([]byte("still there?")); err != nil {
		t.Fatal(err)
	}
	if m := recv(t, c); string(m.Frames[0]) != "still there?" {
		t.Fatalf("got %q", m.Frames)
	}
}

func TestASocketOfTheWrongKindIsRefused(t *testing.T) {
	if _, err := Dial(soon(t), libzmq(t, "pull"), Options{Type: Dealer}); err == nil {
		t.Fatal("a DEALER connected to a PULL")
	}
}
