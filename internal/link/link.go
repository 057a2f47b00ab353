// Package link carries many byte streams over one pair of pipes whose host end may die at any
// moment and be replaced by another process.
//
// The host calls Attach, the guest calls Listen. Streams are opened by the host only and end
// with the process that opened them; a host that attaches later starts afresh. The package
// starts no processes, knows nothing of what the streams carry, and does not authenticate:
// whoever holds the pipes is the host.
//
// The bytes from host to guest are framed, because a host may be killed between any two writes:
// a frame is at most PIPE_BUF long and written by one write, which a pipe takes whole or not at
// all, so the guest always finds the boundaries. The bytes from guest to host need no frames.
// After every RESET the guest echoes the nonce in it, and a new host throws away all it reads
// before that nonce: what the guest was still saying to its predecessor.
//
// The host trusts nothing that it reads. The guest trusts the host.
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

	// nonceSize makes it hopeless for a guest to guess or contain the nonce by chance.
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
	// muxMaxBody is the receive window of a stream; no honest frame is longer.
	muxMaxBody = 256 << 10
)

var (
	// ErrLost is returned by streams whose link ended while they were open.
	ErrLost = errors.New("link lost")

	errBadFrame = errors.New("malformed frame from the host")
	errBadGuest = errors.New("guest broke the protocol")
)

// muxConfig is the same on both ends.
func muxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	// A paused sandbox answers no pings, and is not dead.
	c.EnableKeepAlive = false
	// For the same reason an unanswered open must not end the session.
	c.StreamOpenTimeout = 0
	// How long a closed stream waits for the other end's close before it is forgotten. Long
	// enough for a busy guest, short enough that a hostile one cannot pile them up.
	c.StreamCloseTimeout = 30 * time.Second
	// How long one write may wait for room in the pipe.
	c.ConnectionWriteTimeout = 10 * time.Second
	c.MaxStreamWindowSize = muxMaxBody
	c.LogOutput = io.Discard
	return c
}

// joiner joins the two writes that yamux makes of a data frame, header and body, into one:
// half the system calls, and half the wake-ups of the other end.
type joiner struct {
	emit    func([]byte) error
	pending []byte // a data header whose body has not come yet
}

// Write is called by one goroutine only, yamux's sender.
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
