package guest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"cellhold"
	"cellhold/internal/guestapi"
)

const (
	// eventLevels is the depth of an event's own fields: the event, its content, and the maps and lists in the
	// content.
	eventLevels = 3
	// maxElements bounds the elements in these levels: the lines of a traceback, and the entries of some maps.
	maxElements = guestapi.MaxTraceback/guestapi.TracebackLine + 4*guestapi.MaxTypes
	// maxSkipped bounds a line that is read only to find its end, as a multiple of the limit of lines.
	maxSkipped = 4
)

// eventSource is a source of events: a kernel, or all commands of a sandbox.
type eventSource struct {
	maxLine int // bytes of one event
	// checks has a function for each type that a guest can send. It decodes the content and encodes only the fields of
	// the type. Its error is the reason for a refusal, as the end of a sentence.
	checks map[cellhold.EventType]func(json.RawMessage) (json.RawMessage, error)
	// names reports whether the event has the id of a cell or a command, if its type needs one. It removes other ids.
	names func(*guestapi.Event) bool
	// note returns the type and the content that replace a refused event. size is the number of bytes that were read of
	// it. Without a type, the event is skipped.
	note func(t cellhold.EventType, why string, size int) (cellhold.EventType, any)
}

// kernelEvents is the source of a kernel's events.
var kernelEvents = eventSource{maxLine: guestapi.MaxEvent, checks: kernelChecks, names: namesCell, note: cellNote}

func namesCell(e *guestapi.Event) bool {
	isState := e.Type == cellhold.EventKernelState
	if !validCell(e.Cell, isState) {
		return false
	}
	if e.Command = ""; isState {
		e.Cell = ""
	}
	return true
}

// cellNote replaces an output by a note, so that readers see that it is missing. The end of a cell stays an end, so that
// the cell does not run for ever.
func cellNote(t cellhold.EventType, why string, _ int) (cellhold.EventType, any) {
	switch t {
	case cellhold.EventKernelState: // no cell shows it
		return "", nil
	case cellhold.EventCellDone:
		return t, cellhold.CellDoneContent{Status: cellhold.StatusError, Cause: "The agent's report of the end was refused, because " + why + "."}
	}
	text, err := encode("[An output was left out, because " + why + ".]")
	if err != nil {
		return "", nil
	}
	return cellhold.EventDisplayData, wholeDisplay(&cellhold.DisplayContent{
		Data: map[string]json.RawMessage{plain: text}, Metadata: map[string]json.RawMessage{}})
}

// tooMany returns the reason for the refusal of an event that exceeds a bound.
func tooMany(what string, n, limit int) error {
	return fmt.Errorf("it has %d %s; the limit is %d", n, what, limit)
}

// parse checks the line of an event with a number above after. A note replaces an event that the host refuses. If not
// even a note is possible, the event has only its number, without a type. So the numbers rise, and no reader asks for
// the same event again. The error is guestapi.ErrForm if the line has no number above after. If the line was too long,
// whole is false, and line is its beginning.
func (s *eventSource) parse(line []byte, whole bool, after int64) (guestapi.Event, error) {
	e, why := s.decode(line, whole)
	if why != nil {
		e = readHead(line)
	}
	if e.Seq == 0 {
		return guestapi.Event{}, invalidForm("an event that is not the expected JSON")
	}
	if e.Seq <= after {
		return guestapi.Event{}, invalidForm(fmt.Sprintf("event %d after event %d", e.Seq, after))
	}
	if !s.names(&e) {
		return guestapi.Event{Seq: e.Seq}, nil
	}
	if check := s.checks[e.Type]; why == nil && check == nil {
		why = errors.New("its type is unknown")
	} else if why == nil {
		e.Content, why = check(e.Content)
	}
	e.Time = plausible(e.Time)
	if why != nil {
		return s.leaveOut(e, why, len(line))
	}
	return e, nil
}

var errDeep = fmt.Errorf("it has more than %d levels", guestapi.MaxLevels)

// decode decodes an event. If the event exceeds a bound, it returns the reason for a refusal.
func (s *eventSource) decode(line []byte, whole bool) (e guestapi.Event, why error) {
	if !whole {
		return e, fmt.Errorf("it has more than %d bytes", s.maxLine)
	}
	const around = 1 // the level of the event
	levels, ok := scan(line, eventLevels, maxElements)
	switch {
	case levels > maxLevels:
		return e, errDeep
	case !ok:
		return e, fmt.Errorf("it has more than %d elements", maxElements)
	case json.Unmarshal(line, &e) != nil:
		return guestapi.Event{}, errContent
	case levels > guestapi.MaxLevels+around && e.Type != cellhold.EventKernelState:
		return guestapi.Event{}, errDeep
	}
	return e, nil
}

// leaveOut returns the note that replaces a refused event.
func (s *eventSource) leaveOut(e guestapi.Event, why error, size int) (guestapi.Event, error) {
	t, content := s.note(e.Type, why.Error(), size)
	if t == "" {
		return guestapi.Event{Seq: e.Seq}, nil
	}
	var err error
	e.Type = t
	e.Content, err = encode(content)
	return e, err
}

// readHead reads the fields of an event before its content. It is for events whose content must not be decoded. If the
// fields are not valid, the number of the event is 0.
func readHead(line []byte) (e guestapi.Event) {
	in := json.NewDecoder(bytes.NewReader(line[:min(len(line), guestapi.MaxHead)]))
	if begin, err := in.Token(); err != nil || begin != json.Delim('{') {
		return e
	}
	var ignored json.RawMessage // the time is not important enough to refuse the event
	fields := map[string]any{"seq": &e.Seq, "time": &ignored, "cell": &e.Cell, "command": &e.Command, "type": &e.Type}
	for {
		name, err := in.Token()
		if name == "content" {
			return e
		}
		field, ok := name.(string)
		if to := fields[field]; err != nil || !ok || to == nil || in.Decode(to) != nil {
			return guestapi.Event{}
		}
	}
}

// readLine reads one line. If the line is longer than limit, it returns only the beginning, and whole is false. Its
// memory grows with the bytes that arrive. The line is valid until the next read.
func readLine(r *bufio.Reader, limit int) (line []byte, whole bool, err error) {
	var long []byte
	size := 0
	for {
		part, err := r.ReadSlice('\n')
		size += len(part)
		switch {
		case err == nil && size == len(part):
			return part, size <= limit, nil
		case size <= limit:
			long = append(long, part...)
		case size > maxSkipped*limit:
			return nil, false, invalidForm("an event without an end")
		case len(long) < guestapi.MaxHead:
			long = append(long, part...)
		default:
			long = bytes.Clone(long[:guestapi.MaxHead])
		}
		if err == nil {
			return long, size <= limit, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, false, lineError(err)
		}
	}
}
