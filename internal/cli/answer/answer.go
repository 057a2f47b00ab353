// Package answer reads lines of a person or a program: answers to questions of input(), and code without a line editor.
//
// A wait for a line ends when its context ends. The package does not interpret the lines.
package answer

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"

	"cellhold"

	"golang.org/x/sys/unix"
)

// maxLine is the limit of a line of the input in bytes. The server takes code up to 4 MiB.
const maxLine = 4 << 20

// Lines reads lines of an input. One goroutine at a time can use it.
type Lines struct {
	in *bufio.Reader
	fd int // of the input; -1 if it is no file
}

// NewLines returns a reader of lines.
func NewLines(in io.Reader) *Lines {
	l := &Lines{in: bufio.NewReaderSize(in, 64<<10), fd: -1}
	if f, ok := in.(*os.File); ok {
		l.fd = int(f.Fd())
	}
	return l
}

// Next returns the next line without its end. The error is io.EOF at the end of the input.
func (l *Lines) Next(ctx context.Context) (string, error) {
	var line strings.Builder
	for line.Len() < maxLine {
		if err := l.wait(ctx); err != nil {
			return "", err
		}
		part, err := l.in.ReadSlice('\n')
		line.Write(part)
		switch {
		case err == nil:
			return strings.TrimRight(line.String(), "\r\n"), nil
		case err == io.EOF && line.Len() > 0:
			return line.String(), nil
		case err != bufio.ErrBufferFull:
			return "", err
		}
	}
	return "", cellhold.Errorf(cellhold.Invalid, "A line of the input has more than %d bytes.", maxLine)
}

// wait returns when the input has data or has ended, or when ctx ends.
func (l *Lines) wait(ctx context.Context) error {
	if l.in.Buffered() > 0 || l.fd < 0 {
		return ctx.Err()
	}
	var wake [2]int
	if err := unix.Pipe2(wake[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return err
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(wake[1], []byte{0}) // the pipe is empty, so this succeeds
	})
	defer func() {
		if !stop() {
			<-woken
		}
		_ = unix.Close(wake[0])
		_ = unix.Close(wake[1])
	}()
	for {
		fds := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}, {Fd: int32(wake[0]), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err == unix.EINTR {
			continue
		} else if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return nil
	}
}

// Read returns the answer to a question of input(). If hide is true, a terminal does not show the typed text.
func (l *Lines) Read(ctx context.Context, hide bool) (string, error) {
	if hide {
		if restore, ok := hidden(l.fd); ok {
			defer restore()
		}
	}
	return l.Next(ctx)
}

// hidden switches the echo of a terminal off.
func hidden(fd int) (restore func(), ok bool) {
	if fd < 0 {
		return nil, false
	}
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, false
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	if unix.IoctlSetTermios(fd, unix.TCSETS, &silent) != nil {
		return nil, false
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }, true
}
