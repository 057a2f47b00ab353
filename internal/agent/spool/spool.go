// Package spool keeps the numbered events of one source until the host has acknowledged them.
//
// A spool has a limit for output. Output without space is dropped, counted and reported. A writer can give a
// Patience: then it waits for space before its output is dropped. Readers call Read with the number of the last
// event that they have.
//
// There is one lock, Spool.mu, held for memory operations only.
package spool

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
)

const (
	// entryCost is the memory of an event in addition to its line: the entry, and the rounding of the
	// allocator. Without it, a million tiny events would use up the memory before the spool is full.
	entryCost = 192
	// lineCost is the largest size of an event's line without its content.
	lineCost = 256
	// reserve is space above the limit that only tracebacks and questions can use. After a flood, the exception
	// that ended it is the most important output. Code that asks for input waits for the answer.
	reserve = 1 << 20
	// forQuestions is the part of the reserve that questions can use. Code can ask without end, and the exception that
	// ends it needs the rest.
	forQuestions = reserve / 2
	// batchBytes bounds one read, except for a single larger event. With this size, a burst costs few
	// system calls, and many readers cost little memory.
	batchBytes = 64 << 10
	// gather is how long output can wait for more output before readers are woken. A short cell then costs
	// one wake-up of this process and of the host instead of three. That matters because both share
	// their CPUs with the kernel. Users do not notice a delay of 5 ms. The end of a cell and the state of the
	// kernel are sent at once, with all output that waits.
	gather = 5 * time.Millisecond
	// gatherBytes bounds the output that waits.
	gatherBytes = 16 << 10
)

// The head of an event always fits into guestapi.MaxHead. If it did not, this would not compile.
const _ = uint(guestapi.MaxHead - lineCost)

// Subject is the kind of object that the events of a spool are about: a cell or a command. It sets the
// field for the id, and the form of stream text.
type Subject string

// The kinds of objects.
const (
	Cell    Subject = "cell"
	Command Subject = "command"
)

// Spool holds the events of one kernel, or of all commands, until the host has acknowledged them. Their
// numbers have no gaps. Its methods are safe for concurrent use.
type Spool struct {
	limit   int64
	subject Subject

	mu      sync.Mutex
	entries []entry
	first   int64 // number of entries[0], or of the next event if there are no entries
	size    int64
	full    bool // output is dropped until half of the limit is free again, so that one long piece is missing, not many short ones
	dropped map[string]*cellhold.OutputDroppedContent
	changed chan struct{} // closed when there are events to read; nil when no reader waits
	space   chan struct{} // closed when there is space again; nil when no writer waits
	closed  bool

	waiting int         // bytes that readers are not woken for yet
	timer   *time.Timer // wakes the readers; nil when it does not run
}

// entry is one event. The text of a stream event can grow until a reader reads it.
type entry struct {
	time time.Time
	of   string // id of the cell or command
	name string // of an open stream
	text []byte // of an open stream
	line []byte // the encoded event, nil while the stream is open
}

// New returns an empty spool with a limit in bytes.
func New(limit int64, subject Subject) *Spool {
	return &Spool{limit: limit, subject: subject, first: 1, dropped: make(map[string]*cellhold.OutputDroppedContent)}
}

// StartAfter makes the numbers of an empty spool begin after seq. So the events of a new kernel continue the numbers
// of an earlier kernel with the same id.
func (s *Spool) StartAfter(seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = seq + 1
}

// Keep adds an event that must not be dropped, and returns its number. The host's requests must bound the number of
// such events.
func (s *Spool) Keep(of string, t cellhold.EventType, content any) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(time.Now(), of, t, Encode(content))
	s.wake()
	return s.last()
}

// Note is Keep for an event of an earlier time, but it does not wake readers at once.
func (s *Spool) Note(of string, t cellhold.EventType, at time.Time, content any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(at, of, t, Encode(content))
}

// Patience is how long a writer waits for space. It waits while the host acknowledges an event at least
// once in For, and until Stop is closed. The zero value does not wait.
type Patience struct {
	For  time.Duration
	Stop <-chan struct{}
}

// Offer adds output when there is space for all of it. It drops the output when patience ends.
func (s *Spool) Offer(of string, t cellhold.EventType, content []byte, p Patience) {
	s.Wait(len(content), p)
	s.Try(of, t, content)
}

// Wait waits until there is space for an event with a content of that size, or patience ends.
func (s *Spool) Wait(content int, p Patience) { s.await(int64(content)+lineCost, p) }

// Try adds output if there is space for all of it now, and returns the number of its event. Otherwise it drops the
// output and returns 0.
func (s *Spool) Try(of string, t cellhold.EventType, content []byte) (seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	question := t == cellhold.EventInputRequest
	reserved := question || t == cellhold.EventError
	limit := s.limit
	switch {
	case question:
		limit += forQuestions
	case reserved:
		limit += reserve
	}
	if s.size+int64(len(content))+entryCost > limit || s.full && !reserved {
		s.drop(of, len(content))
		return 0
	}
	s.full = s.full || s.size+int64(len(content))+entryCost > s.limit // so that the next output does not wait again
	s.add(time.Now(), of, t, content)
	if question {
		s.wake() // a person waits for it
	}
	return s.last()
}

// Stream adds text to an output: to the last event if that is still open, and to new events of limited
// size. Text without space at the end of patience is dropped. The text of a cell must be valid UTF-8; that
// of a command can be any bytes.
func (s *Spool) Stream(of, name, text string, p Patience) {
	for space := true; text != ""; {
		space = space && s.await(lineCost, p)
		s.mu.Lock()
		text = s.fit(of, name, text)
		if text != "" && !space {
			s.drop(of, len(text))
			text = ""
		}
		s.mu.Unlock()
	}
}

// fit adds as much text as there is space for, and returns the rest. The caller must hold mu.
func (s *Spool) fit(of, name, text string) (rest string) {
	for len(text) > 0 {
		if s.full || s.size+entryCost >= s.limit {
			return text
		}
		piece := Cut(text, guestapi.MaxStream)
		text = text[len(piece):]
		if last := s.open(of, name); last != nil && len(last.text)+len(piece) <= guestapi.MaxStream {
			last.text = append(last.text, piece...)
			s.size += int64(len(piece))
			continue
		}
		s.push(entry{of: of, name: name, text: []byte(piece)})
	}
	return ""
}

// open returns the newest event if text of that stream can be added to it.
func (s *Spool) open(of, name string) *entry {
	if len(s.entries) == 0 {
		return nil
	}
	last := &s.entries[len(s.entries)-1]
	if last.line != nil || last.of != of || last.name != name {
		return nil
	}
	return last
}

func (s *Spool) add(at time.Time, of string, t cellhold.EventType, content []byte) {
	at = at.UTC()
	s.push(entry{time: at, of: of, line: s.encodeLine(s.first+int64(len(s.entries)), at, of, t, content)})
}

func (s *Spool) push(e entry) {
	if e.time.IsZero() {
		e.time = time.Now().UTC()
	}
	s.entries = append(s.entries, e)
	s.size += e.size()
	s.wakeSoon(int(e.size()))
}

// wakeSoon wakes the readers when enough output has gathered, or has waited long enough. The caller must
// hold mu.
func (s *Spool) wakeSoon(bytes int) {
	s.waiting += bytes
	switch {
	case s.changed == nil: // no reader waits
	case s.waiting >= gatherBytes:
		s.wake()
	case s.timer == nil:
		s.timer = time.AfterFunc(gather, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.wake()
		})
	}
}

// wake wakes the readers. The caller must hold mu.
func (s *Spool) wake() {
	s.waiting = 0
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// drop counts output without space. Settle reports it, or Ack when there is space again.
func (s *Spool) drop(of string, bytes int) {
	s.full = s.size > s.limit/2
	d := s.dropped[of]
	if d == nil {
		d = new(cellhold.OutputDroppedContent)
		s.dropped[of] = d
	}
	d.Bytes += int64(bytes)
	d.Messages++
}

// Lose counts output that was lost before it reached the spool.
func (s *Spool) Lose(of string, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(of, int(bytes))
}

// await waits until there is space for bytes, within patience, and reports whether there is space. After a failure
// the caller drops output. From then on await fails at once, until half of the spool is free again. So no writer
// waits forever.
func (s *Spool) await(bytes int64, p Patience) bool {
	for {
		space, first, dropping := s.spaceFor(bytes)
		if space == nil {
			return !dropping
		}
		t := time.NewTimer(p.For)
		select {
		case <-space:
		case <-p.Stop:
			t.Stop()
			return false
		case <-t.C:
			if _, now, _ := s.spaceFor(bytes); now == first {
				return false
			}
		}
		t.Stop()
	}
}

// spaceFor returns a channel that is closed when there may be space again, and the number of the oldest
// event. The channel is nil if there is space, and while output is being dropped. An empty spool has space
// for everything, because a wait would not help.
func (s *Spool) spaceFor(bytes int64) (space <-chan struct{}, first int64, dropping bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.first, true
	}
	if s.full || len(s.entries) == 0 || s.size+bytes+entryCost <= s.limit {
		return nil, s.first, s.full
	}
	if s.space == nil {
		s.space = make(chan struct{})
	}
	return s.space, s.first, false
}

// Settle reports the dropped output of an object. The report comes before the end, so that a reader that
// stops at the end knows that output is missing.
func (s *Spool) Settle(of string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.dropped[of]; d != nil {
		delete(s.dropped, of)
		s.add(time.Now(), of, cellhold.EventOutputDropped, Encode(d))
	}
}

// Ack forgets the events up to seq.
func (s *Spool) Ack(seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int(min(max(seq-s.first+1, 0), int64(len(s.entries))))
	for i := range n {
		s.size -= s.entries[i].size()
		s.entries[i] = entry{} // release the memory at once; the array itself stays for a while
	}
	s.entries = s.entries[n:]
	s.first += int64(n)
	if s.full && s.size <= s.limit/2 {
		s.full = false
		for of, d := range s.dropped {
			s.add(time.Now(), of, cellhold.EventOutputDropped, Encode(d))
		}
		clear(s.dropped)
	}
	if s.space != nil && s.size <= s.limit/2 {
		close(s.space)
		s.space = nil
	}
}

// Copy returns an independent spool with the same events.
func (s *Spool) Copy() *Spool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.entries {
		s.seal(i)
	}
	c := New(s.limit, s.subject)
	c.entries, c.first, c.size, c.full = slices.Clone(s.entries), s.first, s.size, s.full
	for of, d := range s.dropped {
		again := *d
		c.dropped[of] = &again
	}
	return c
}

// Last returns the number of the newest event, or 0 if there was none.
func (s *Spool) Last() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last()
}

// last is Last for a caller that holds mu.
func (s *Spool) last() int64 { return s.first + int64(len(s.entries)) - 1 }

// Close ends the readers when they have read everything, and ends the waits of writers.
func (s *Spool) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wake()
	if s.space != nil {
		close(s.space)
		s.space = nil
	}
}

// Batch is the result of one read: the lines of one or more events, and the number of the last one. Without
// events it has a channel to wait for; nil means that no more events follow.
type Batch struct {
	Lines   []byte
	shared  bool // Lines belongs to the spool and must not be modified
	Last    int64
	Changed <-chan struct{}
}

// Read returns the events after a number, as many as fit into a batch. It uses buf if it can.
func (s *Spool) Read(after int64, buf []byte) Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := Batch{Lines: buf[:0], Last: max(after, s.first-1)}
	for {
		i := b.Last - s.first + 1
		if i >= int64(len(s.entries)) {
			break
		}
		line := s.seal(int(i))
		if len(b.Lines) == 0 && len(line) > batchBytes {
			return Batch{Lines: line, shared: true, Last: b.Last + 1}
		}
		if len(b.Lines)+len(line) > batchBytes {
			break
		}
		b.Lines = append(b.Lines, line...)
		b.Last++
	}
	if len(b.Lines) == 0 && !s.closed {
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		b.Changed = s.changed
	}
	return b
}

// seal encodes an open stream event. Its text no longer grows.
func (s *Spool) seal(i int) []byte {
	e := &s.entries[i]
	if e.line == nil {
		s.size -= e.size()
		e.line = s.encodeLine(s.first+int64(i), e.time, e.of, cellhold.EventStream, s.streamContent(e))
		e.text = nil
		s.size += e.size()
	}
	return e.line
}

// streamContent encodes the bytes of a stream. A command can write bytes that are not text. Output that contains a
// zero byte also counts as not text, because JSON would need six bytes for each zero.
func (s *Spool) streamContent(e *entry) []byte {
	c := cellhold.StreamContent{Name: e.name}
	if s.subject == Command && (!utf8.Valid(e.text) || bytes.IndexByte(e.text, 0) >= 0) {
		c.Data = e.text
	} else {
		c.Text = string(e.text)
	}
	return Encode(c)
}

func (e *entry) size() int64 { return int64(len(e.line)) + int64(len(e.text)) + entryCost }

// encodeLine encodes a guestapi.Event and a line feed. It does not use the JSON encoder, which would read a
// content of megabytes a second time.
func (s *Spool) encodeLine(seq int64, t time.Time, of string, typ cellhold.EventType, content []byte) []byte {
	b := make([]byte, 0, len(content)+128)
	b = append(b, `{"seq":`...)
	b = strconv.AppendInt(b, seq, 10)
	b = append(b, `,"time":"`...)
	b = t.AppendFormat(b, time.RFC3339Nano)
	if of != "" {
		b = append(b, `","`...)
		b = append(b, s.subject...)
		b = append(b, `":"`...)
		b = append(b, of...) // only letters and digits, checked before
	}
	b = append(b, `","type":"`...)
	b = append(b, typ...)
	b = append(b, `","content":`...)
	b = append(b, content...)
	return append(b, "}\n"...)
}

// Cut returns the first n bytes of a text, or fewer so that no character is cut.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	// Without a start of a character near n, the text is not UTF-8 and can be cut anywhere.
	for back := range min(n, utf8.UTFMax-1) + 1 {
		if utf8.RuneStart(s[n-back]) {
			return s[:n-back]
		}
	}
	return s[:n]
}

// Encode encodes a value that always can be encoded: types of this project, and raw JSON that was decoded
// before. It does not escape <, > and &, because no web page gets them unescaped.
func Encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
