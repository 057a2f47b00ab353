// Package connections limits the number of connections of a listener, so that a server with too many clients keeps the
// descriptors that its sessions need. It reads no request.
package connections

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// most is the largest limit. Each connection needs memory too.
	most = 16384
	// answerTime is the longest time for the answer to one refused connection.
	answerTime = time.Second
	// answers is the number of refused connections that get an answer at the same time. Others are only closed.
	answers = 64
)

// Most returns the number of connections for a process that can open files descriptors: half of them, because sessions
// and the database need the others. The result is at least 8.
func Most(files uint64) int {
	return int(max(8, min(files/2, most)))
}

// MostNow returns Most of the limit of this process.
func MostNow() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return Most(1024) // the usual limit
	}
	return Most(limit.Cur)
}

// Limit returns a listener that keeps at most n connections. It answers further ones with refusal, a complete HTTP
// answer, and closes them. An empty refusal only closes them. refused gets the number of connections at each refusal; it
// must be fast. Close of the listener waits for answers that are being written.
func Limit(ln net.Listener, n int, refusal string, refused func(open int)) net.Listener {
	return &limited{Listener: ln, most: int64(n), refusal: refusal, refused: refused, answering: make(chan struct{}, answers)}
}

type limited struct {
	net.Listener
	most      int64
	open      atomic.Int64
	refusal   string
	refused   func(open int)
	answering chan struct{}
	mu        sync.Mutex // guards closed, and the beginning of an answer
	closed    bool
	writing   sync.WaitGroup
}

// Accept returns the next connection within the limit.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if open := l.open.Add(1); open > l.most {
			l.open.Add(-1)
			l.refused(int(open - 1))
			l.refuse(c)
			continue
		}
		return &counted{Conn: c, from: l}, nil
	}
}

// Close closes the listener, and waits for the answers to refused connections.
func (l *limited) Close() error {
	err := l.Listener.Close()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.writing.Wait()
	return err
}

func (l *limited) refuse(c net.Conn) {
	if l.refusal == "" {
		c.Close()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		return
	}
	select {
	case l.answering <- struct{}{}:
		l.writing.Go(func() {
			defer func() { <-l.answering }()
			answer(c, l.refusal)
		})
	default:
		c.Close()
	}
}

// answer sends the refusal. It reads the request first: the close of a connection with unread data would be a reset, and
// the client would lose the answer.
func answer(c net.Conn, refusal string) {
	defer c.Close()
	if c.SetDeadline(time.Now().Add(answerTime)) != nil {
		return
	}
	var request [4096]byte
	if _, err := c.Read(request[:]); err != nil {
		return
	}
	fmt.Fprint(c, refusal)
}

// counted is a connection within the limit.
type counted struct {
	net.Conn
	from   *limited
	closed atomic.Bool
}

// Close closes the connection and makes room for another one.
func (c *counted) Close() error {
	if c.closed.CompareAndSwap(false, true) {
		defer c.from.open.Add(-1)
	}
	return c.Conn.Close()
}

// CloseWrite sends the end of the data, if the connection can. Servers need it for the end of an answer.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
