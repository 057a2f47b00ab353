package repl

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"

	"cellhold"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/output"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// maxLine is the limit of a line of the input in bytes. The server takes code up to 4 MiB.
const maxLine = 4 << 20

// Lines reads lines of an input, and stops waiting when a context ends.
type Lines = lines

type lines struct {
	in  *bufio.Reader
	fd  int // of the input; -1 if it is no file
	out *os.File
}

// NewLines returns a reader of lines.
func NewLines(in io.Reader) *Lines { return newLines(in) }

func newLines(in io.Reader) *lines {
	l := &lines{in: bufio.NewReaderSize(in, 64<<10), fd: -1}
	if f, ok := in.(*os.File); ok {
		l.fd = int(f.Fd())
	}
	return l
}

// next returns the next line without its end.
func (l *lines) next(ctx context.Context) (string, error) {
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
func (l *lines) wait(ctx context.Context) error {
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

// Ask prints a question of input(), and returns the answer. The typed text of a password is not shown.
func Ask(ctx context.Context, p *output.Printer, l *Lines, q cellhold.InputRequestContent) (string, error) {
	prompt := q.Prompt
	if q.Password {
		if restore, ok := hidden(l.fd); ok {
			defer func() {
				restore()
				_, _ = p.Out.WriteString("\n")
			}()
		}
	}
	if _, err := p.Out.WriteString(prompt); err != nil {
		return "", err
	}
	return l.next(ctx)
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

// saveTerminal returns a function that restores the present state of a terminal.
func saveTerminal(in io.Reader) (restore func()) {
	f := console.InputTerminal(in)
	if f == nil {
		return func() {}
	}
	state, err := term.GetState(int(f.Fd()))
	if err != nil {
		return func() {}
	}
	return func() { _ = term.Restore(int(f.Fd()), state) }
}

// plain reads code without a line editor: from a pipe, or from a terminal that cannot move its cursor. Each line of a
// terminal is a cell. All lines of a pipe are pieces of code that end at an empty line.
type plain struct {
	lines    *lines
	out      io.Writer
	terminal bool
}

func (p *plain) code(ctx context.Context, prompt string) (string, error) {
	if p.terminal {
		if _, err := io.WriteString(p.out, prompt); err != nil {
			return "", err
		}
		return p.lines.next(ctx)
	}
	var code strings.Builder
	for {
		line, err := p.lines.next(ctx)
		switch {
		case err == io.EOF && code.Len() > 0:
			return code.String(), nil
		case err != nil:
			return "", err
		case line == "" && code.Len() > 0 || code.Len() == 0 && strings.HasPrefix(line, "%"):
			return code.String() + line, nil
		}
		code.WriteString(line + "\n")
	}
}
