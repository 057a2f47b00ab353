package zmtp

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// waitingReader returns a quiet connection with a reader that waits for data, the result of its one Read,
// and the peer.
func waitingReader(t *testing.T) (c *quietConn, read chan error, peer net.Conn) {
	t.Helper()
	a, b := pair(t)
	nc, err := quiet(a)
	if err != nil {
		t.Fatal(err)
	}
	c = nc.(*quietConn)
	t.Cleanup(func() { c.Close() })
	return c, c.readOnce(t), b
}

func (c *quietConn) readOnce(t *testing.T) chan error {
	t.Helper()
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 10))
		read <- err
	}()
	for !c.isWaiting() {
		runtime.Gosched()
	}
	return read
}

func (c *quietConn) isWaiting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readerWaits
}

func TestAHeldReaderSleepsUntilItIsReleased(t *testing.T) {
	c, read, peer := waitingReader(t)
	c.hold()
	peer.Write([]byte("first"))
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a held reader got %v", err)
	}
	c.SetReadDeadline(time.Time{})
	if n, err := c.Read(make([]byte, 10)); n != 5 || err != nil {
		t.Fatalf("a read of data that was there gave %d, %v", n, err)
	}
	read = c.readOnce(t) // waiting, and still held
	peer.Write([]byte("second"))
	c.release()
	if err := <-read; err != nil {
		t.Fatal(err)
	}
}

func TestTheEndOfThePeerWakesAHeldReader(t *testing.T) {
	c, read, peer := waitingReader(t)
	c.hold()
	peer.Close()
	if err := <-read; err != io.EOF {
		t.Fatalf("got %v, want io.EOF", err)
	}
}

func TestCloseWakesAHeldReader(t *testing.T) {
	c, read, _ := waitingReader(t)
	c.hold()
	c.Close()
	if err := <-read; err == nil {
		t.Fatal("Read returned data")
	}
	c.hold()
	c.release()
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("writing after the end gave %v", err)
	}
}

func TestAQuietConnectionIsReadInFullWhileItIsHeldAndReleased(t *testing.T) {
	a, b := pair(t)
	nc, err := quiet(a)
	if err != nil {
		t.Fatal(err)
	}
	c := nc.(*quietConn)
	defer c.Close()
	const size = 1 << 20
	go func() {
		defer b.Close()
		for sent := 0; sent < size; sent += 1 << 10 {
			b.Write(make([]byte, 1<<10))
		}
	}()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				c.hold()
				c.release()
			}
		}
	}()
	n, err := io.Copy(io.Discard, c)
	close(stop)
	<-stopped
	if n != size || err != nil {
		t.Fatalf("read %d of %d bytes, %v", n, size, err)
	}
}
