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

// Channel is one of a kernel's sockets.
type Channel string

// The channels of a kernel. The heartbeat is not used: who asks whether the kernel lives asks the
// process.
const (
	Shell   Channel = "shell"
	IOPub   Channel = "iopub"
	Stdin   Channel = "stdin"
	Control Channel = "control"
)

// ports numbers the channels in the connection file. Over ipc a port is the end of a file name.
var ports = map[Channel]int{Shell: 1, IOPub: 2, Stdin: 3, Control: 4}

const heartbeatPort = 5

// maxSocketPath is what fits into sun_path with its final zero.
const maxSocketPath = 107

// Connection says where a kernel listens and what it signs with.
type Connection struct {
	Key    string // of the signatures; empty means that messages are not signed
	Prefix string // the sockets are Prefix-1 to Prefix-5
}

// NewConnection makes a connection with a fresh key.
func NewConnection(prefix string) Connection {
	return Connection{Key: newID(), Prefix: prefix}
}

// Path is where the kernel listens for a channel.
func (c Connection) Path(ch Channel) string { return c.Prefix + "-" + strconv.Itoa(ports[ch]) }

// otherPath is where it listens if it joins the parts of an address with a colon over ipc too, as
// some kernels do.
func (c Connection) otherPath(ch Channel) string { return c.Prefix + ":" + strconv.Itoa(ports[ch]) }

// Files are all the sockets that a kernel makes. A kernel does not remove them when it ends.
func (c Connection) Files() []string {
	files := make([]string, 0, 2*heartbeatPort)
	for _, joint := range []string{"-", ":"} {
		for n := 1; n <= heartbeatPort; n++ {
			files = append(files, c.Prefix+joint+strconv.Itoa(n))
		}
	}
	return files
}

// WriteFile writes the connection file that a kernel is started with. The file must not exist:
// another name for a file of someone else could stand there. It holds the key, so mode should let
// only the kernel's user read it.
func (c Connection) WriteFile(path string, mode fs.FileMode) error {
	if n := len(c.Prefix) + 2; n > maxSocketPath {
		return fmt.Errorf("write connection file: socket path of %d bytes, a unix socket has at most %d", n, maxSocketPath)
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

// notYet tells a kernel that is still starting from a broken one. A kernel that a signal ends in
// the middle of a handshake also looks like that; Options.Dead tells the two apart.
func notYet(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// newID is 32 random hexadecimal digits: unguessable, and longer than any two can clash.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
