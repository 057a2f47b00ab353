package kernels

import (
	"context"
	"errors"
	"strings"
)

// exitRefused is the exit status of a kernel that refuses to use its stream, because it was not tested with the
// installed versions.
const exitRefused = 97

// noStream returns the reason why the process could not use its stream. It returns the empty string if the
// process ended for another reason, or was ready once. err is the error of its start.
func (p *process) noStream(ctx context.Context, d processEnd, err error) string {
	switch {
	case !errors.Is(err, ErrStream) || ctx.Err() != nil:
		return ""
	case p.proc == nil || !ended(p.proc):
		return err.Error()
	case p.proc.Exit().Code == exitRefused:
		return "The kernel was not tested with the installed versions: " + lastLine(p.proc.Exit().Output)
	default:
		return d.state.Detail
	}
}

func ended(p Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// lastLine returns the last line of a text, safe to be part of a message.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return Sentence(text[strings.LastIndexByte(text, '\n')+1:])
}
