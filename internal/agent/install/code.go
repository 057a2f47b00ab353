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

// Code in the sandbox asks for packages on a socket; pip and uv of the stock image do that. The request is
// passed to the host on a connection that the host has opened, and the host's lines are passed back. The
// agent decides nothing. Every byte of a program is hostile, and a program can be silent or disconnect. So
// a request is one line, the host gets one request at a time, and each wait ends.

const (
	// maxPrograms bounds the programs that ask at the same time; more wait in the socket's queue. Each can
	// use MaxCodeRequest bytes.
	maxPrograms = 4
	// programTime bounds the time in which a program writes its request.
	programTime = 10 * time.Second
	// hostTime is how long a request waits for a missing host, for example during a restart of the server.
	hostTime = 15 * time.Second
)

// noHost is the message for a program when no host comes.
const noHost = "The server accepts no requests for packages at the moment. Try again, or install the package over the API."

// relay gives requests of code to connections of the host.
type relay struct {
	offers  chan net.Conn // capacity 1: the host's newest connection
	running chan struct{} // capacity 1: held by the request that is with the host
}

func newRelay() *relay {
	return &relay{offers: make(chan net.Conn, 1), running: make(chan struct{}, 1)}
}

// offer keeps a connection of the host for the next request. It replaces an older one, which is of a dead
// host, because each host keeps one.
func (d *relay) offer(c net.Conn) {
	for {
		select {
		case d.offers <- c:
			return
		default:
		}
		select {
		case old := <-d.offers:
			abort(old)
		default:
		}
	}
}

// ServeCode accepts requests of code until the context ends or the listener fails, and returns when all of
// them have ended. It closes the listener. It can be called once.
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

// serve serves one program.
func (d *relay) serve(ctx context.Context, c net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { abort(c) })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(programTime))
	line, err := readLine(bufio.NewReader(c), guestapi.MaxCodeRequest)
	if err != nil {
		tell(c, "The request for packages is not one line of at most 256 KiB.")
		return
	}
	_ = c.SetDeadline(time.Time{})
	var run sync.WaitGroup
	defer run.Wait()
	defer cancel() // ends the goroutine below
	run.Go(func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(c, 1)) // returns when the program disconnects, or sends more
		cancel()
	})
	select {
	case d.running <- struct{}{}:
		defer func() { <-d.running }()
	case <-ctx.Done():
		return
	}
	if err := d.pass(ctx, c, line); errors.Is(err, errNoConnection) {
		tell(c, noHost)
	}
}

var errNoConnection = errors.New("no connection of a host")

// pass gives a request to the host and the host's lines to the program. If the host sends nothing on a
// connection, it has died, and the next connection may work.
func (d *relay) pass(ctx context.Context, program net.Conn, line []byte) error {
	waiting, cancel := context.WithTimeoutCause(ctx, hostTime, errNoConnection)
	defer cancel()
	for {
		select {
		case host := <-d.offers:
			begun, err := talk(ctx, host, program, line)
			if begun || err == nil || ctx.Err() != nil {
				return err
			}
		case <-waiting.Done():
			return context.Cause(waiting)
		}
	}
}

// talk carries one request. begun reports whether the host has answered anything; then the request is not
// sent again.
func talk(ctx context.Context, host, program net.Conn, line []byte) (begun bool, err error) {
	stop := context.AfterFunc(ctx, func() { abort(host) })
	defer stop()
	defer abort(host)
	_ = host.SetWriteDeadline(time.Now().Add(programTime))
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
		_ = program.SetWriteDeadline(time.Now().Add(programTime))
		if _, err := program.Write(answer); err != nil {
			return true, err
		}
	}
}

// readLine reads one line of at most that many bytes, with its end.
func readLine(r *bufio.Reader, most int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > most {
			return nil, bufio.ErrTooLong
		}
		line = append(line, part...)
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// tell answers a program in place of the host.
func tell(program net.Conn, sentence string) {
	line, err := json.Marshal(guestapi.CodeLine{Done: &guestapi.CodeDone{Error: sentence}})
	if err != nil {
		return
	}
	_ = program.SetWriteDeadline(time.Now().Add(programTime))
	_, _ = program.Write(append(line, '\n')) // fails when the program has disconnected
}

// abort ends a connection at once. On a stream of the link, a read would continue after Close.
func abort(c net.Conn) {
	_ = c.SetDeadline(time.Unix(1, 0))
	_ = c.Close()
}

// postRequests turns a request of the host into a connection for the next request of code.
func (r *Installer) postRequests(w http.ResponseWriter, problem func(error)) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		problem(err)
		return
	}
	_ = c.SetWriteDeadline(time.Now().Add(programTime))
	if _, err := io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+guestapi.CodeUpgrade+"\r\n\r\n"); err != nil {
		c.Close()
		return
	}
	_ = c.SetWriteDeadline(time.Time{})
	r.relay.offer(c)
}
