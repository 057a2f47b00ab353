package kernels

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// traceNote is the space for the note about missing lines of a traceback.
const traceNote = 1 << 10

// A message of a kernel cannot have more levels than an event. If it could, this would not compile.
const _ = uint(guestapi.MaxLevels - jupyter.MaxLevels)

var errStrange = errors.New("unknown kind of output")

// output turns a message of the kernel into an event of a cell. Only the fields that the type defines are
// passed on. It waits for space in the spool as long as p says.
func output(s *spool.Spool, cell string, m jupyter.Message, p spool.Patience) error {
	raw := validUTF8(m.Content)
	if m.Dropped > 0 && m.Header.MsgType == string(cellhold.EventStream) {
		s.Lose(cell, m.Dropped) // the text was too long to be read
		return nil
	}
	switch t := cellhold.EventType(m.Header.MsgType); t {
	case cellhold.EventStream:
		var c cellhold.StreamContent
		if err := json.Unmarshal(raw, &c); err != nil || c.Name != "stdout" && c.Name != "stderr" {
			return errors.Join(errStrange, err)
		}
		s.Stream(cell, c.Name, c.Text, p)
	case cellhold.EventDisplayData, cellhold.EventUpdateDisplayData, cellhold.EventExecuteResult:
		c, err := display(t, raw, m.Dropped)
		if err != nil {
			return err
		}
		s.Offer(cell, t, c, p)
	case cellhold.EventError:
		var c cellhold.ErrorContent
		if err := json.Unmarshal(raw, &c); err != nil {
			return errors.Join(errStrange, err)
		}
		s.Offer(cell, t, marshal(shorten(c)), p)
	case cellhold.EventClearOutput:
		var c cellhold.ClearOutputContent
		if err := json.Unmarshal(raw, &c); err != nil {
			return errors.Join(errStrange, err)
		}
		s.Offer(cell, t, marshal(c), p)
	default:
		return errStrange
	}
	return nil
}

// isOutput reports whether messages of a type are output of a cell.
func isOutput(msgType string) bool {
	switch cellhold.EventType(msgType) {
	case cellhold.EventStream, cellhold.EventDisplayData, cellhold.EventUpdateDisplayData,
		cellhold.EventExecuteResult, cellhold.EventError, cellhold.EventClearOutput:
		return true
	}
	return false
}

// display encodes a MIME bundle, or returns raw if it can be passed on as it is. A bundle that is too large, here or
// when it was read, is replaced by a note.
func display(t cellhold.EventType, raw []byte, dropped int64) ([]byte, error) {
	if dropped == 0 && isPlain(t, raw) {
		return raw, nil
	}
	return encodeDisplay(t, raw, dropped)
}

func encodeDisplay(t cellhold.EventType, raw []byte, dropped int64) ([]byte, error) {
	var c cellhold.DisplayContent
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, errors.Join(errStrange, err)
	}
	if t != cellhold.EventExecuteResult {
		c.ExecutionCount = 0
	}
	if c.Transient != nil && (c.Transient.DisplayID == "" || len(c.Transient.DisplayID) > guestapi.MaxName) {
		c.Transient = nil
	}
	if c.Metadata == nil {
		c.Metadata = map[string]json.RawMessage{}
	}
	if dropped > 0 && len(c.Data) == 0 {
		return tooLarge(c, dropped), nil
	}
	if c.Data == nil {
		return nil, fmt.Errorf("%w: display without data", errStrange)
	}
	nameless := withoutLongNames(c.Data)
	withoutLongNames(c.Metadata)
	if nameless && len(c.Data) == 0 {
		c.Data["text/plain"] = marshal(fmt.Sprintf("[An output was left out, because the name of its type is too long; the limit is %d bytes.]", guestapi.MaxName))
	}
	c.Data, c.Metadata = few(c.Data), few(c.Metadata)
	if b := marshal(c); len(b) <= guestapi.MaxContent {
		return b, nil
	}
	return tooLarge(c, int64(len(raw))), nil
}

// withoutLongNames removes the entries of a bundle whose names are too long, and reports whether there were any.
func withoutLongNames(bundle map[string]json.RawMessage) bool {
	all := len(bundle)
	maps.DeleteFunc(bundle, func(name string, _ json.RawMessage) bool { return len(name) > guestapi.MaxName })
	return len(bundle) < all
}

// few returns the first keys of a bundle, MIME types first.
func few(bundle map[string]json.RawMessage) map[string]json.RawMessage {
	const most = guestapi.MaxTypes
	if len(bundle) <= most {
		return bundle
	}
	keys := slices.SortedFunc(maps.Keys(bundle), func(a, b string) int {
		isType := func(key string) int { return min(strings.Count(key, "/"), 1) }
		return cmp.Or(isType(b)-isType(a), strings.Compare(a, b))
	})
	kept := make(map[string]json.RawMessage, most)
	for _, key := range keys[:most] {
		kept[key] = bundle[key]
	}
	return kept
}

func tooLarge(c cellhold.DisplayContent, size int64) []byte {
	note := fmt.Sprintf("[An output of %d bytes was left out; the limit is %d bytes.]", size, guestapi.MaxContent)
	c.Data = map[string]json.RawMessage{"text/plain": marshal(note)}
	c.Metadata = map[string]json.RawMessage{}
	return marshal(c)
}

// shorten keeps the beginning of an exception's name and value, and both ends of its traceback. The ends show
// where the failing code was called, and the reason.
func shorten(c cellhold.ErrorContent) cellhold.ErrorContent {
	c.Name, c.Value = spool.Cut(c.Name, guestapi.MaxErrorText), spool.Cut(c.Value, guestapi.MaxErrorText)
	if c.Traceback == nil {
		c.Traceback = []string{}
	}
	lines, all := c.Traceback, 0
	size := func(i int) int { return len(lines[i]) + guestapi.TracebackLine }
	for i := range lines {
		lines[i] = middle(lines[i], guestapi.MaxTraceback/2)
		all += size(i)
	}
	if all <= guestapi.MaxTraceback {
		return c
	}
	const most = guestapi.MaxTraceback - traceNote
	space, end := most, len(lines)
	for ; end > 0 && space-size(end-1) >= most/3; end-- {
		space -= size(end - 1)
	}
	start := 0
	for ; start < end && space >= size(start); start++ {
		space -= size(start)
	}
	note := fmt.Sprintf("[... %d lines of the traceback left out]", end-start)
	c.Traceback = slices.Concat(lines[:start], []string{note}, lines[end:])
	return c
}

// middle returns s if it has at most n bytes. Otherwise it returns about n bytes: the beginning and the end
// of s.
func middle(s string, n int) string {
	if len(s) <= n {
		return s
	}
	head, tail := spool.Cut(s, n/2), len(s)-n/2
	for ; !utf8.RuneStart(s[tail]) && tail < len(s)-1; tail++ {
	}
	return fmt.Sprintf("%s… %d bytes left out …%s", head, tail-len(head), s[tail:])
}

// marshal encodes a value that always can be encoded.
func marshal(v any) []byte { return spool.Encode(v) }

// validUTF8 replaces bytes that are not UTF-8. JSON does not allow them, but decoders pass them through.
func validUTF8(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return bytes.ToValidUTF8(b, []byte("\uFFFD"))
}

// Sentence makes a foreign text safe to be part of a message: one line, printable and short.
func Sentence(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.TrimSpace(s)
	const most = guestapi.MaxInfoText - 1 // and one character
	if short := spool.Cut(s, most); short != s {
		return short + "…"
	}
	return s
}
