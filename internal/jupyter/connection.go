package jupyter

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// Channel is the name of one of a kernel's channels. Over ZeroMQ each channel has a socket.
type Channel string

// The channels of a kernel. The heartbeat is not used: the process itself shows whether the kernel is
// alive.
const (
	Shell   Channel = "shell"
	IOPub   Channel = "iopub"
	Stdin   Channel = "stdin"
	Control Channel = "control"
)

// ports numbers the channels in the connection file. With ipc, a port is the end of a file name.
var ports = map[Channel]int{Shell: 1, IOPub: 2, Stdin: 3, Control: 4}

const heartbeatPort = 5

// maxSocketPath is the limit of sun_path without its final zero.
const maxSocketPath = 107

// Connection has the addresses on which a kernel listens, and its key.
type Connection struct {
	Key    string // key of the signatures; empty means that messages are not signed
	Prefix string // the sockets are Prefix-1 to Prefix-5
}

// NewConnection returns a connection with a new key.
func NewConnection(prefix string) Connection {
	return Connection{Key: newID(), Prefix: prefix}
}

// Path returns the socket path of a channel.
func (c Connection) Path(ch Channel) string { return c.Prefix + "-" + strconv.Itoa(ports[ch]) }

// otherPath returns the socket path of a channel for kernels that join address and port with a colon, as over TCP.
func (c Connection) otherPath(ch Channel) string { return c.Prefix + ":" + strconv.Itoa(ports[ch]) }

// Files returns all socket paths of a kernel. A kernel does not remove its sockets when it ends.
func (c Connection) Files() []string {
	files := make([]string, 0, 2*heartbeatPort)
	for _, joint := range []string{"-", ":"} {
		for n := 1; n <= heartbeatPort; n++ {
			files = append(files, c.Prefix+joint+strconv.Itoa(n))
		}
	}
	return files
}

// WriteFile writes the connection file of a kernel. The file must not exist, because the path could be a
// link to another file. It contains the key, so mode should allow only the kernel's user to read it.
func (c Connection) WriteFile(path string, mode fs.FileMode) error {
	if n := len(c.Prefix) + 2; n > maxSocketPath {
		return fmt.Errorf("write connection file: the socket path has %d bytes; the limit is %d", n, maxSocketPath)
	}
	b, err := json.Marshal(map[string]any{
		"transport":        "ipc",
		"ip":               c.Prefix,
		"shell_port":       ports[Shell],
		"iopub_port":       ports[IOPub],
		"stdin_port":       ports[Stdin],
		"control_port":     ports[Control],
		"hb_port":          heartbeatPort,
		"signature_scheme": "hmac-sha256",
		"key":              c.Key,
	})
	if err != nil {
		return fmt.Errorf("write connection file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write connection file: %w", err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write connection file: %w", err)
	}
	return nil
}

// notYet distinguishes a kernel that is still starting from a broken one. A kernel that a signal ends
// during a handshake also looks like one that is starting; Options.Dead detects that.
func notYet(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// newID returns 32 random hexadecimal digits, which cannot be guessed and never repeat.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
