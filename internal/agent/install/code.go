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

// Code in the sandbox asks for packages on a socket; pip and uv of the stock image do. Its request is passed
// to the host on a connection that the host has opened, and the host's lines are passed back. Nothing is
// decided here. Every byte of a program is hostile, and so are its silence and its leaving: a request is
// one line, one is with the host at a time, and each wait ends.

const (
	// maxPrograms bounds the programs that ask at once; more wait in the socket's queue. Each may hold
	// MaxCodeRequest.
	maxPrograms = 4
	// programTime bounds the writing of a program's request.
	programTime = 10 * time.Second
	// hostTime is how long a request waits for a host that is not there, such as one that restarts.
	hostTime = 15 * time.Second
)

// noHost is what a program is told when no host comes.
const noHost = "The server does not take requests for packages at the moment. Try again, or install it over the API."

// desk is where requests of code and connections of the host meet.
type desk struct {
	offers chan net.Conn // capacity 1: the host's newest connection
	turn   chan struct{} // capacity 1: held by the request that is with the host
}

func newDesk() *desk { return &desk{offers: make(chan net.Conn, 1), turn: make(chan struct{}, 1)} }

// offer keeps a connection of the host for the next request, in place of an older one: the host keeps one,
// so the older one is of a host that died.
func (d *desk) offer(c net.Conn) {
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

// ServeCode takes requests of code until the context ends or the listener fails, and returns when none is
// under way. It closes the listener. It may be called once.
func (r *Room) ServeCode(ctx context.Context, ln net.Listener) {
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
			r.desk.serve(ctx, c)
		})
	}
}

// serve serves one program.
func (d *desk) serve(ctx context.Context, c net.Conn) {
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
	defer cancel() // ends the look below
	run.Go(func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(c, 1)) // returns when the program has left, or says more
		cancel()
	})
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return
	}
	if err := d.pass(ctx, c, line); errors.Is(err, errNobody) {
		tell(c, noHost)
	}
}

var errNobody = errors.New("no connection of a host")

// pass gives a request to the host and its lines to the program. A connection on which the host says nothing
// is one of a host that died; the next one may be alive.
func (d *desk) pass(ctx context.Context, program net.Conn, line []byte) error {
	waiting, cancel := context.WithTimeoutCause(ctx, hostTime, errNobody)
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

// talk carries one request. begun says whether the host has answered anything: then nobody else is asked.
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

// readLine reads one line, with its end, of at most that many bytes.
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

// tell answers a program in the host's place.
func tell(program net.Conn, sentence string) {
	line, err := json.Marshal(guestapi.CodeLine{Done: &guestapi.CodeDone{Error: sentence}})
	if err != nil {
		return
	}
	_ = program.SetWriteDeadline(time.Now().Add(programTime))
	_, _ = program.Write(append(line, '\n')) // fails when the program has left
}

// abort ends a connection at once; a read of a stream of the link would go on after its Close.
func abort(c net.Conn) {
	_ = c.SetDeadline(time.Unix(1, 0))
	_ = c.Close()
}

// postRequests turns a request of the host into a connection for the next request of code.
func (r *Room) postRequests(w http.ResponseWriter, problem func(error)) {
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
	r.desk.offer(c)
}
