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

// streamCloseTimeout is the time that a closed stream waits for the close of the other end. It is long
// enough for a busy guest, and short enough that a hostile guest cannot pile up streams. A stream that is closed only for
// writes has no such limit. Tests shorten the time.
var streamCloseTimeout = 30 * time.Second

// writeTimeout is the time that one write can wait for space in the pipe. Tests shorten it.
var writeTimeout = 10 * time.Second

// yamux header fields, fixed by its specification.
const (
	muxHeader   = 12
	muxVersion  = 0
	muxData     = 0
	muxWindow   = 1
	muxFlagSYN  = 1
	muxFlagFIN  = 4
	muxFlagRST  = 8
	muxFlagsAll = 15
	muxFlagsEnd = muxFlagFIN | muxFlagRST // no data follows on the stream
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
	c.StreamCloseTimeout = streamCloseTimeout
	c.ConnectionWriteTimeout = writeTimeout
	c.MaxStreamWindowSize = muxMaxBody
	c.LogOutput = io.Discard
	return c
}
