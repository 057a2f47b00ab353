// Package link carries many byte streams over one pair of pipes. The host process can die at any moment and
// be replaced by another one.
//
// The host calls Attach, the guest calls Listen. Only the host opens streams, and they end with the process
// that opened them. A host that attaches later starts without streams. The package starts no processes,
// does not interpret the streams, and does not authenticate: the process that has the pipes is the host.
//
// The bytes from host to guest are framed, because a host can be killed between any two writes. A frame is at most
// PIPE_BUF long and is written with one write. A pipe takes such a write completely or not at all, so the guest
// always finds the boundaries. The bytes from guest to host need no frames. A new host first sends a RESET frame
// with a random nonce, and the guest echoes the nonce. The host drops all bytes before the echo: the guest sent
// them to the previous host.
//
// The host does not trust the bytes that it reads. The guest trusts the host.
package link

import (
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/hashicorp/yamux"
)

const (
	// maxFrame is PIPE_BUF on Linux: the longest write that a pipe takes atomically.
	maxFrame = 4096
	// frameHeader is one byte of type and two of length, big endian.
	frameHeader = 3
	maxPayload  = maxFrame - frameHeader

	frameData  byte = 1 // a piece of the yamux session
	frameReset byte = 2 // a new host: drop the session, echo this nonce

	// nonceSize is large enough that a guest cannot guess the nonce or send it by chance.
	nonceSize = 32
)

// yamux header fields, fixed by its specification.
const (
	muxHeader   = 12
	muxVersion  = 0
	muxData     = 0
	muxWindow   = 1
	muxFlagSYN  = 1
	muxFlagsAll = 15
	// muxMaxBody is the receive window of a stream. An honest frame is never longer.
	muxMaxBody = 256 << 10
)

var (
	// ErrLost is the error of streams whose link ended while they were open.
	ErrLost = errors.New("link lost")

	errBadFrame = errors.New("malformed frame from the host")
	errBadGuest = errors.New("guest broke the protocol")
)

// muxConfig is the same on both ends.
func muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	// A paused sandbox answers no pings, but it is alive.
	c.EnableKeepAlive = false
	// For the same reason an unanswered open must not end the session.
	c.StreamOpenTimeout = 0
	// StreamCloseTimeout is the time that a closed stream waits for the close of the other end. It is long
	// enough for a busy guest, and short enough that a hostile guest cannot pile up streams.
	c.StreamCloseTimeout = 30 * time.Second
	// ConnectionWriteTimeout is the time that one write can wait for space in the pipe.
	c.ConnectionWriteTimeout = 10 * time.Second
	c.MaxStreamWindowSize = muxMaxBody
	c.LogOutput = io.Discard
	return c
}

// joiner joins the two writes that yamux makes for a data frame, header and body. One write needs half the
// system calls, and wakes the other end half as often.
type joiner struct {
	emit    func([]byte) error
	pending []byte // a data header whose body is still missing
}

// Write is called by one goroutine only, the sender of yamux.
func (j *joiner) Write(p []byte) (int, error) {
	if len(j.pending) == 0 && announcesBody(p) {
		j.pending = append(j.pending, p...)
		return len(p), nil
	}
	piece := p
	if len(j.pending) > 0 {
		j.pending = append(j.pending, p...)
		piece = j.pending
		j.pending = j.pending[:0]
	}
	if err := j.emit(piece); err != nil {
		return 0, err
	}
	return len(p), nil
}

func announcesBody(p []byte) bool {
	return len(p) == muxHeader && p[1] == muxData && binary.BigEndian.Uint32(p[8:]) > 0
}
