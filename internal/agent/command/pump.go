package command

import (
	"context"
	"time"
	"unicode/utf8"

	"cellhold/internal/agent/spool"
)

const (
	// pumpBytes is the amount that is read at once: half the capacity of a pipe.
	pumpBytes = 32 << 10
	// runePatience is the time that the beginning of a character waits for the rest. If the rest never
	// comes, the reader of the output still gets the bytes.
	runePatience = 20 * time.Millisecond
	// lastBytes bounds the output that is read after the end of the process while a child still writes. The
	// process's own last output is in the pipe, which holds at most 1 MiB.
	lastBytes = 1 << 20
)

// pump reads one output and puts it into the spool.
type pump struct {
	command *command
	out     Output
	buf     []byte
	held    int // bytes of an incomplete character, at the beginning of buf
	late    int // bytes read after the end of the process
}

// run reads until the output has ended, and returns true. It returns false if the process has ended and no more
// output of the process comes, but a child keeps the output open.
func (p *pump) run(ctx context.Context) (ended bool) {
	for {
		over := p.setDeadline()
		n, err := p.out.Read(p.buf[p.held:])
		p.put(ctx, p.held+n, err != nil)
		if over {
			p.late += n
		}
		switch {
		case ctx.Err() != nil:
			return true
		case err == nil && p.late < lastBytes:
		case err == nil:
			return false
		case !isTimeout(err):
			return true // the end, which is an error for a terminal
		case over:
			return false
		}
	}
}

// setDeadline bounds the next read if it must not wait forever, and reports whether the process has ended.
// command.run closes exited before it sets its deadline. setDeadline sets its own deadline before it checks exited.
// So a deadline for the time after the end always takes effect.
func (p *pump) setDeadline() (over bool) {
	var deadline time.Time
	if p.held > 0 {
		deadline = time.Now().Add(runePatience)
	}
	_ = p.out.SetReadDeadline(deadline)
	select {
	case <-p.command.exited:
		_ = p.out.SetReadDeadline(time.Now().Add(p.command.commands.options.Timing.Quiet))
		return true
	default:
		return false
	}
}

// put passes on the first n bytes of the buffer. An incomplete character at the end waits for its rest,
// unless flush is set.
func (p *pump) put(ctx context.Context, n int, flush bool) {
	whole := n
	if !flush {
		whole -= unfinished(p.buf[:n])
	}
	if whole > 0 {
		c := p.command.commands
		patience := spool.Patience{For: c.options.Timing.Reader, Stop: ctx.Done()}
		c.events().Stream(string(p.command.id), p.out.Name, string(p.buf[:whole]), patience)
	}
	p.held = copy(p.buf, p.buf[whole:n])
}

// unfinished returns the number of bytes at the end that begin a character.
func unfinished(b []byte) int {
	for n := 1; n <= min(len(b), utf8.UTFMax-1); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// isTimeout reports whether a read ended at its deadline.
func isTimeout(err error) bool {
	t, ok := err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}
