package jupyter

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"cellhold/internal/server/jupyter/framing"
	"cellhold/internal/session"
)

// pipes is a listener in memory, whose connections work with the clock of a test.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// dialInMemory connects clients with the clock of a test. stop ends all sides.
func dialInMemory(t *testing.T, all *arrivals, wires map[string]*wire) (clients map[string]*websocket.Conn, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	clients, ends := map[string]*websocket.Conn{}, []func(){cancel}
	for caller, w := range wires {
		p := make(pipes)
		hs := &http.Server{Handler: serveWire(ctx, t, w, all, caller)}
		go hs.Serve(p)
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			a, b := net.Pipe()
			p <- a
			return b, nil
		}}
		client, _, err := websocket.Dial(t.Context(), "ws://x/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{framing.Protocol}})
		if err != nil {
			t.Fatal(err)
		}
		client.SetReadLimit(maxMessage)
		clients[caller] = client
		ends = append(ends, func() { client.CloseNow(); close(p); hs.Close() })
	}
	return clients, func() {
		for _, end := range ends {
			end()
		}
	}
}

func TestASilentClientIsDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		_, stop := dialInMemory(t, newArrivals(), map[string]*wire{"ann": w}) // the client never reads, so it answers no ping
		defer stop()
		begun := time.Now()
		<-w.left
		if took := time.Since(begun); took < pingTime || took > pingTime+pongTime+30*time.Second {
			t.Errorf("disconnected after %s", took)
		}
	})
}

func TestAKernelThatTakesNoMessageDoesNotDisconnectItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		w.frames = nil // Send waits
		clients, stop := dialInMemory(t, newArrivals(), map[string]*wire{"ann": w})
		defer stop()
		client := clients["ann"]
		go client.Read(t.Context()) // answers pings
		if err := client.Write(t.Context(), websocket.MessageBinary, bytes.Join(framing.EncodeV1(message), nil)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-w.left:
			t.Error("the connection ended")
		case <-time.After(time.Hour):
		}
	})
}

func TestAStalledLargeMessageDelaysNoOtherCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ann, bob := newWire(), newWire()
		clients, stop := dialInMemory(t, newArrivals(), map[string]*wire{"ann": ann, "bob": bob})
		defer stop()
		begun := time.Now()
		stalled, err := clients["ann"].Writer(t.Context(), websocket.MessageBinary)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stalled.Write(make([]byte, 2*small)); err != nil { // the client keeps some of it
			t.Fatal(err)
		}
		synctest.Wait()
		f := message
		f.Buffers = [][]byte{make([]byte, 2<<20)}
		if err := clients["bob"].Write(t.Context(), websocket.MessageBinary, bytes.Join(framing.EncodeV1(f), nil)); err != nil {
			t.Fatal(err)
		}
		if _, p, err := clients["bob"].Read(t.Context()); err != nil || len(p) < 2<<20 {
			t.Fatalf("bob: got %d bytes, %v", len(p), err)
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("the message of bob took %s, want no wait", took)
		}
		<-ann.left
		if took := time.Since(begun); took != slowStart {
			t.Errorf("ann was disconnected after %s, want %s", took, slowStart)
		}
	})
}

func TestAClientCanReadALargeMessageSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		clients, stop := dialInMemory(t, newArrivals(), map[string]*wire{"ann": w})
		defer stop()
		w.frames <- session.Frame{Channel: "iopub", Buffers: [][]byte{make([]byte, 40*small)}}
		_, body, err := clients["ann"].Reader(t.Context())
		for err == nil {
			<-time.After(writeTime * 2 / 3)
			_, err = io.CopyN(io.Discard, body, small)
		}
		synctest.Wait()
		if err != io.EOF || len(w.written) != 1 {
			t.Errorf("got %v, and %d messages were written, want 1", err, len(w.written))
		}
	})
}

func TestAMessageThatTheClientDoesNotReadIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		clients, stop := dialInMemory(t, newArrivals(), map[string]*wire{"ann": w})
		defer stop()
		for _, buffer := range []int{1, 20 << 20} {
			w.frames <- session.Frame{Channel: "iopub", Buffers: [][]byte{make([]byte, buffer)}}
		}
		if _, _, err := clients["ann"].Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := clients["ann"].Reader(t.Context()); err != nil { // only the beginning
			t.Fatal(err)
		}
		<-w.left
		if n := len(w.written); n != 1 {
			t.Errorf("%d messages count as written, want 1", n)
		}
	})
}

// The library's wait for the answer to a close frame has no deadline.
func TestAClientThatBeginsAFrameWithoutEndIsDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		p := make(pipes)
		hs := &http.Server{Handler: serveWire(t.Context(), t, w, newArrivals(), "ann")}
		go hs.Serve(p)
		defer func() { close(p); hs.Close() }()
		server, client := net.Pipe()
		defer client.Close()
		p <- server
		go io.Copy(io.Discard, client)
		for _, part := range []string{
			"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
			"\x82\x81\x00\x00\x00\x00x",                                // a damaged message
			"\x82\xff\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00", // the beginning of a frame of 1 TiB
		} {
			if _, err := io.WriteString(client, part); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		begun := time.Now()
		select {
		case <-w.left:
			if took := time.Since(begun); took > closeTime {
				t.Errorf("the connection ended after %s, want %s", took, closeTime)
			}
		case <-time.After(time.Hour):
			t.Error("the connection did not end within an hour")
		}
	})
}
