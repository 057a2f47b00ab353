package deputy

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"

	"cellhold/internal/agent/upload"
)

// controlFD is the descriptor of the socket that a deputy shares with the agent.
const controlFD = 3

// Serve answers requests in a deputy until the agent closes the socket.
func Serve(h http.Handler) error {
	f := os.NewFile(controlFD, "control")
	if f == nil {
		return errors.New("the socket to the agent is missing")
	}
	return ServeFile(f, h)
}

// ServeFile is Serve with a given socket, which it closes.
func ServeFile(f *os.File, h http.Handler) error {
	control, err := asConn(f)
	if err != nil {
		return fmt.Errorf("take over the socket: %w", err)
	}
	unix, ok := control.(*net.UnixConn)
	if !ok {
		control.Close()
		return errors.New("the descriptor is not a unix socket")
	}
	server := &http.Server{Handler: upload.Handler(h)}
	defer server.Close()
	err = server.Serve(&listener{control: unix})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// listener accepts the connections that come over the control socket.
type listener struct{ control *net.UnixConn }

func (l *listener) Accept() (net.Conn, error) {
	one, rights := make([]byte, 1), make([]byte, syscall.CmsgSpace(4))
	_, n, _, _, err := l.control.ReadMsgUnix(one, rights)
	if err != nil || n == 0 {
		return nil, net.ErrClosed // the agent has closed its end
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive a connection: %w", errors.Join(err, net.ErrClosed))
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receive a connection: %w", errors.Join(err, net.ErrClosed))
	}
	syscall.CloseOnExec(fds[0])
	return asConn(os.NewFile(uintptr(fds[0]), "connection"))
}

func (l *listener) Close() error   { return l.control.Close() }
func (l *listener) Addr() net.Addr { return l.control.LocalAddr() }
