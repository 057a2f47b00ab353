package egress

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
)

// After an upgrade, a connection carries another protocol than HTTP, in which the gate cannot find a host. A server that
// continues to read HTTP there would answer for every site at its address. So the gate passes only the upgrade to
// WebSocket. Then it passes only frames, and masks their content with keys of its own, which the program cannot foresee.
// So the program cannot write a request.

const (
	websocketName    = "websocket"
	websocketVersion = "13"
	// websocketMark is the text that RFC 6455 appends to the key of a handshake.
	websocketMark = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	// websocketKey is the number of bytes in the key of a handshake.
	websocketKey = 16
)

// limitUpgrade removes the header Upgrade from a request, unless the request is a correct handshake of WebSocket. Without
// the header, a server answers in HTTP.
func limitUpgrade(q *http.Request) {
	h := q.Header
	key, err := base64.StdEncoding.DecodeString(h.Get("Sec-WebSocket-Key"))
	if q.Method == http.MethodGet && q.ProtoAtLeast(1, 1) && q.ContentLength == 0 && len(h["Upgrade"]) == 1 &&
		strings.EqualFold(h.Get("Upgrade"), websocketName) && len(h["Sec-Websocket-Key"]) == 1 && err == nil && len(key) == websocketKey && h.Get("Sec-WebSocket-Version") == websocketVersion {
		return
	}
	h.Del("Upgrade")
	h.Del("HTTP2-Settings")
}

// errUpgrade is the refusal of an answer that changes the protocol.
const errUpgrade denied = "The host changed the protocol of the connection, but not by a handshake of WebSocket."

// confirmUpgrade refuses an answer that changes the protocol, unless it completes a handshake of WebSocket. After the
// handshake, the program can send only frames.
func (r *relay) confirmUpgrade(answer *http.Response) error {
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil
	}
	asked := answer.Request.Header
	sum := sha1.Sum([]byte(asked.Get("Sec-WebSocket-Key") + websocketMark))
	body, ok := answer.Body.(io.ReadWriteCloser)
	if !ok || !strings.EqualFold(asked.Get("Upgrade"), websocketName) || !strings.EqualFold(answer.Header.Get("Upgrade"), websocketName) ||
		answer.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		r.a.setRefused(string(errUpgrade))
		return errUpgrade
	}
	answer.Body = &frames{ReadWriteCloser: body, extended: answer.Header.Get("Sec-WebSocket-Extensions") != "", refuse: r.a.setRefused}
	return nil
}

// Bits and codes in the header of a frame.
const (
	frameFinal    = 0x80
	frameExtended = 0x40 // an extension such as compression was used
	frameUnknown  = 0x30
	frameCode     = 0x0f
	frameMasked   = 0x80
	frameLength   = 0x7f

	codeContinue = 0
	codeText     = 1
	codeBinary   = 2
	codeClose    = 8
	codePong     = 10

	shortHeader = 2 + 4     // with the key of the mask
	maxHeader   = 2 + 8 + 4 // with a length of 8 bytes
	maxControl  = 125       // bytes of content in a control frame
)

// frames is a connection to a host after a handshake of WebSocket. All writes to it must be frames of a client.
type frames struct {
	io.ReadWriteCloser
	extended bool             // the two ends agreed on an extension
	refuse   func(why string) // records why the connection is ended

	header  []byte // of the current frame, as far as it was read
	left    uint64 // bytes of content that are missing in the current frame
	mask    [4]byte
	at      int  // index in mask of the next byte
	message bool // a message has begun whose last frame is missing
	closed  bool // the program has sent the frame that closes the connection
}

var errFrame = errors.New("the data is not a frame of a WebSocket client")

// Write writes frames with other masks. A frame can be spread over several calls.
func (f *frames) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+maxHeader)
	var bad error
	for rest := p; len(rest) > 0 && bad == nil; {
		if f.left > 0 {
			n := int(min(f.left, uint64(len(rest))))
			for _, b := range rest[:n] {
				out = append(out, b^f.mask[f.at])
				f.at = (f.at + 1) % len(f.mask)
			}
			f.left, rest = f.left-uint64(n), rest[n:]
			continue
		}
		f.header, rest = append(f.header, rest[0]), rest[1:]
		out, bad = f.begin(out)
	}
	if bad != nil {
		f.refuse("After the handshake of WebSocket, the program sent other data than frames.")
	}
	if _, err := f.ReadWriteCloser.Write(out); err != nil || bad != nil {
		return 0, errors.Join(bad, err)
	}
	return len(p), nil
}

// begin checks the bytes of a header that were read so far. If the header is complete, begin appends it to out, with a
// new mask.
func (f *frames) begin(out []byte) ([]byte, error) {
	if err := f.check(); err != nil || len(f.header) < shortHeader {
		return out, err
	}
	size := shortHeader
	length := uint64(f.header[1] & frameLength)
	switch length {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if len(f.header) < size {
		return out, nil
	}
	wide, theirs := f.header[2:size-len(f.mask)], f.header[size-len(f.mask):]
	if len(wide) > 0 {
		length = binary.BigEndian.Uint64(append(make([]byte, 8-len(wide)), wide...))
	}
	if length > 1<<62 {
		return out, errFrame
	}
	var ours [4]byte
	_, _ = rand.Read(ours[:]) // never fails, by its own documentation
	out = append(append(out, f.header[:size-len(ours)]...), ours[:]...)
	for i := range ours {
		f.mask[i] = ours[i] ^ theirs[i]
	}
	f.at, f.left, f.header = 0, length, f.header[:0]
	return out, nil
}

// check checks the first two bytes of a header, as far as they were read.
func (f *frames) check() error {
	first := f.header[0]
	code, final := first&frameCode, first&frameFinal != 0
	switch len(f.header) {
	case 1:
		control := code >= codeClose
		switch {
		case f.closed || first&frameUnknown != 0 || code > codePong || code > codeBinary && !control:
			return errFrame
		case first&frameExtended != 0 && (!f.extended || control || code == codeContinue):
			return errFrame
		case control && !final, !control && (code == codeContinue) != f.message:
			return errFrame
		}
		f.closed = code == codeClose
		if !control {
			f.message = !final
		}
	case 2:
		if f.header[1]&frameMasked == 0 || code >= codeClose && f.header[1]&frameLength > maxControl {
			return errFrame
		}
	}
	return nil
}
