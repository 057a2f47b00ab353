package install

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"cellhold/internal/guestapi"
)

// Programs in the sandbox ask for packages on a socket, for example pip and uv of the stock image. The agent
// passes a request to the host on a connection that the host has opened, and passes the host's lines back. It
// decides nothing. Every byte of a program is hostile, and a program can be silent or disconnect. So a request
// is one line, the host gets one request at a time, and each wait has a timeout.

const (
	// maxPrograms bounds the programs that ask at the same time. Further programs wait in the socket's queue.
	// Each program can use MaxCodeRequest bytes of memory.
	maxPrograms = 4
	// lineTime bounds the read of a program's request, and the write of one line to a program or to the host.
	lineTime = 10 * time.Second
	// hostTime is how long a request waits for a connection of the host, for example while the server restarts.
	hostTime = 15 * time.Second
)

// noHost is the message for a program after hostTime without a connection of the host.
const noHost = "The server accepts no requests for packages at the moment. Try again, or install the package over the API."

// relay passes requests of programs to connections of the host.
type relay struct {
	offers  chan net.Conn // capacity 1: the host's newest connection
	running chan struct{} // capacity 1: held while the host has a request
}

func newRelay() *relay {
	return &relay{offers: make(chan net.Conn, 1), running: make(chan struct{}, 1)}
}

// offer keeps a connection of the host for the next request. It ends an older connection that was not used.
// A server opens one connection at a time, so the older one belongs to a server that has ended.
func (r *relay) offer(c net.Conn) {
	for {
		select {
		case r.offers <- c:
			return
		default:
		}
		select {
		case old := <-r.offers:
			abort(old)
		default:
		}
	}
}

// ServeCode serves programs that ask for packages until the context ends or the listener fails. It closes the
// listener, and returns when all requests have ended. It can be called once.
func (r *Installer) ServeCode(ctx context.Context, ln net.Listener) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var run sync.WaitGroup
	defer run.Wait()
	defer cancel()
	slots := make(chan struct{}, maxPrograms)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		c, err := ln.Accept()
		if err != nil {
			return
		}
		run.Go(func() {
			defer func() { <-slots }()
			defer c.Close()
			r.relay.serve(ctx, c)
		})
	}
}

// serve serves the request of one program.
func (r *relay) serve(ctx context.Context, c net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { abort(c) })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(lineTime))
	line, err := readLine(bufio.NewReader(c), guestapi.MaxCodeRequest)
	if err != nil {
		tell(c, "The request for packages must be one line of at most 256 KiB.")
		return
	}
	_ = c.SetDeadline(time.Time{})
	var run sync.WaitGroup
	defer run.Wait()
	defer cancel() // aborts c, which ends the read below
	run.Go(func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(c, 1)) // returns when the program disconnects, or sends another byte
		cancel()
	})
	select {
	case r.running <- struct{}{}:
		defer func() { <-r.running }()
	case <-ctx.Done():
		return
	}
	if err := r.pass(ctx, c, line); errors.Is(err, errNoConnection) {
		tell(c, noHost)
	}
}

var errNoConnection = errors.New("no connection of the host in time")

// pass sends a request to the host, and the host's lines to the program. If a connection ends without a line
// from the host, pass repeats the request on the next connection.
func (r *relay) pass(ctx context.Context, program net.Conn, line []byte) error {
	waiting, cancel := context.WithTimeoutCause(ctx, hostTime, errNoConnection)
	defer cancel()
	for {
		select {
		case host := <-r.offers:
			begun, err := exchange(ctx, host, program, line)
			if begun || err == nil || ctx.Err() != nil {
				return err
			}
		case <-waiting.Done():
			return context.Cause(waiting)
		}
	}
}

// exchange sends one request on a connection of the host, and passes the host's lines to the program. begun
// reports whether the host has sent a line; then the request must not be repeated.
func exchange(ctx context.Context, host, program net.Conn, line []byte) (begun bool, err error) {
	stop := context.AfterFunc(ctx, func() { abort(host) })
	defer stop()
	defer abort(host)
	_ = host.SetWriteDeadline(time.Now().Add(lineTime))
	if _, err := host.Write(line); err != nil {
		return false, err
	}
	in := bufio.NewReader(host)
	for {
		_ = host.SetReadDeadline(time.Now().Add(guestapi.CodeSilence))
		answer, err := readLine(in, guestapi.MaxCodeLine)
		if errors.Is(err, io.EOF) && begun {
			return true, nil
		}
		if err != nil {
			return begun, err
		}
		begun = true
		_ = program.SetWriteDeadline(time.Now().Add(lineTime))
		if _, err := program.Write(answer); err != nil {
			return true, err
		}
	}
}

// readLine reads one line of at most limit bytes, with its newline.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > limit {
			return nil, bufio.ErrTooLong
		}
		line = append(line, part...)
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// tell answers a program in place of the host.
func tell(program net.Conn, message string) {
	line, err := json.Marshal(guestapi.CodeLine{Done: &guestapi.CodeDone{Error: message}})
	if err != nil {
		return
	}
	_ = program.SetWriteDeadline(time.Now().Add(lineTime))
	_, _ = program.Write(append(line, '\n')) // fails when the program has disconnected
}

// abort ends a connection at once. The deadline ends a read that waits, because on a stream of the link Close
// does not.
func abort(c net.Conn) {
	_ = c.SetDeadline(time.Unix(1, 0))
	_ = c.Close()
}

// postRequests turns an HTTP request of the host into a connection for the next program that asks for packages.
func (r *Installer) postRequests(w http.ResponseWriter, problem func(error)) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		problem(err)
		return
	}
	_ = c.SetWriteDeadline(time.Now().Add(lineTime))
	if _, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+guestapi.CodeUpgrade+"\r\n\r\n"); err != nil {
		c.Close()
		return
	}
	_ = c.SetWriteDeadline(time.Time{})
	r.relay.offer(c)
}
