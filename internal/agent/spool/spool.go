// Package spool keeps the numbered events of one source until the host has acknowledged them.
//
// It refuses to grow beyond its limit and to wait for a reader: output that finds no room is dropped,
// counted and reported. A writer that can wait asks Room first. Reading after N is the one way to read.
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
	// entryCost is what an event costs beside its line: the entry and what the allocator rounds
	// up. Without it, a million tiny events would not fill the spool and still fill the memory.
	entryCost = 192
	// lineCost is what an event's line has beside its content, at most.
	lineCost = 256
	// errorReserve is room beyond the limit that only tracebacks may use: after a flood, the
	// exception that ended it is what the reader needs most.
	errorReserve = 1 << 20
	// batchBytes is how much one read takes at most, one larger event excepted: enough that a
	// burst costs few system calls, small enough that many readers cost no memory.
	batchBytes = 64 << 10
	// gather is how long output may wait for more before readers are woken. A short cell then costs
	// one wake-up of this process and of the host instead of three, while both share their
	// processors with the kernel; and nobody sees the difference of 5 ms. The end of a cell
	// and the state of the kernel never wait, and take along what does.
	gather = 5 * time.Millisecond
	// gatherBytes is how much output waits at most.
	gatherBytes = 16 << 10
)

// Subject names whom an event is about: a cell or a command. It is the field of the event that has
// the id, and what the text of a stream looks like there.
type Subject string

// The subjects of events.
const (
	Cell    Subject = "cell"
	Command Subject = "command"
)

// Spool holds the events of one kernel, or of all commands, numbered without gaps, until the host has
// acknowledged them. All methods may be called from any goroutine.
type Spool struct {
	limit   int64
	subject Subject

	mu      sync.Mutex
	entries []entry
	first   int64 // number of entries[0], or of the next event when there is none
	size    int64
	full    bool // output is dropped until half of the limit is free again, so that it is dropped in one piece
	dropped map[string]*cellhold.OutputDroppedContent
	changed chan struct{} // closed when there is something to read; nil when nobody waits
	room    chan struct{} // closed when there is room again; nil when nobody waits
	closed  bool

	waiting int         // bytes that readers have not been woken for
	timer   *time.Timer // wakes them; nil when nothing waits
}

// entry is one event. The text of a stream event stays open, and may grow, until a reader takes it.
type entry struct {
	time time.Time
	of   string // id of the cell or command
	name string // of an open stream
	text []byte // of an open stream
	line []byte // the encoded event, nil while the stream is open
}

// New returns an empty spool of that many bytes.
func New(limit int64, subject Subject) *Spool {
	return &Spool{limit: limit, subject: subject, first: 1, dropped: make(map[string]*cellhold.OutputDroppedContent)}
}

// StartAfter lets the numbers of an empty spool begin after that one, in place of 1: they go on where
// those of a spool of the same name ended.
func (s *Spool) StartAfter(seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first = seq + 1
}

// Keep adds an event that may not be dropped, and returns its number. How many there can be is bounded
// by what the host asks for.
func (s *Spool) Keep(of string, t cellhold.EventType, content any) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(time.Now(), of, t, Encode(content))
	s.wake()
	return s.first + int64(len(s.entries)) - 1
}

// Note is Keep for an event of an earlier moment, which readers need not see at once.
func (s *Spool) Note(of string, t cellhold.EventType, at time.Time, content any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(at, of, t, Encode(content))
}

// Patience says how long a writer waits for room: while the host acknowledges something at least once
// in that time, and until Stop is closed. The zero value waits for nothing.
type Patience struct {
	For  time.Duration
	Stop <-chan struct{}
}

// Offer adds output once there is room for all of it, or drops it when patience ends.
func (s *Spool) Offer(of string, t cellhold.EventType, content []byte, p Patience) {
	s.await(int64(len(content))+lineCost, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.limit
	if t == cellhold.EventError {
		limit += errorReserve
	}
	if s.size+int64(len(content))+entryCost > limit || s.full && t != cellhold.EventError {
		s.drop(of, len(content))
		return
	}
	s.add(time.Now(), of, t, content)
}

// Stream adds text to an output: to the last event where that is still open, and to new ones in
// pieces that a reader can hold. What finds no room before patience ends is dropped. The text of a
// cell must be valid UTF-8; that of a command may be any bytes.
func (s *Spool) Stream(of, name, text string, p Patience) {
	for hope := true; text != ""; {
		hope = hope && s.await(lineCost, p)
		s.mu.Lock()
		text = s.fit(of, name, text)
		if text != "" && !hope {
			s.drop(of, len(text))
			text = ""
		}
		s.mu.Unlock()
	}
}

// fit adds as much text as finds room, and returns the rest. The caller holds mu.
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

// open returns the newest event if text of that stream may be added to it.
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

// wakeSoon has the readers woken when enough has gathered, or when it has waited long enough. The
// caller holds mu.
func (s *Spool) wakeSoon(bytes int) {
	s.waiting += bytes
	switch {
	case s.changed == nil: // nobody waits
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

// wake tells the readers that there is something to read. The caller holds mu.
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

// drop counts output that found no room. The marker for it is written by settle, or by ack when
// there is room again.
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

// Lose counts output that never reached us whole.
func (s *Spool) Lose(of string, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(of, int(bytes))
}

// await waits for room for that many bytes for as long as there is hope. When hope is gone it returns
// at once, until half of the spool is free again; output is dropped meanwhile. No writer waits for
// ever. It reports whether there is room.
func (s *Spool) await(bytes int64, p Patience) bool {
	for {
		room, first, dropping := s.roomFor(bytes)
		if room == nil {
			return !dropping
		}
		t := time.NewTimer(p.For)
		select {
		case <-room:
		case <-p.Stop:
			t.Stop()
			return false
		case <-t.C:
			if _, now, _ := s.roomFor(bytes); now == first {
				return false
			}
		}
		t.Stop()
	}
}

// roomFor returns what is closed when there may be room again for that many bytes, with the number of
// the oldest event. It is nil where there is room, and where output is being dropped. An empty spool
// has room for everything: there is nothing to wait for.
func (s *Spool) roomFor(bytes int64) (room <-chan struct{}, first int64, dropping bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.first, true
	}
	if s.full || len(s.entries) == 0 || s.size+bytes+entryCost <= s.limit {
		return nil, s.first, s.full
	}
	if s.room == nil {
		s.room = make(chan struct{})
	}
	return s.room, s.first, false
}

// Settle reports what was dropped of an output. It comes before the end, so that a reader who
// stops there knows that something is missing.
func (s *Spool) Settle(of string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.dropped[of]; d != nil {
		delete(s.dropped, of)
		s.add(time.Now(), of, cellhold.EventOutputDropped, Encode(d))
	}
}

// Ack forgets the events up to that number.
func (s *Spool) Ack(seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int(min(max(seq-s.first+1, 0), int64(len(s.entries))))
	for i := range n {
		s.size -= s.entries[i].size()
		s.entries[i] = entry{} // the array stays for a while; what it held must not
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
	if s.room != nil && s.size <= s.limit/2 {
		close(s.room)
		s.room = nil
	}
}

// Copy returns another spool with the same events, which goes on from here by itself.
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

// Last is the number of the newest event, 0 when there was none.
func (s *Spool) Last() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first + int64(len(s.entries)) - 1
}

// Close ends the readers once they have read everything, and the waiting of writers.
func (s *Spool) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wake()
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// Batch is what one read found: the lines of one or more events, the number of the last of them,
// and when there are none, what to wait for; nil means that there will be no more.
type Batch struct {
	Lines   []byte
	shared  bool // Lines belongs to the spool and must not be written to
	Last    int64
	Changed <-chan struct{}
}

// Read returns the events after that number, as many as fit into a batch. It uses buf if it can.
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

// seal encodes an open stream event; its text does not grow any more.
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

// streamContent encodes the bytes of a stream. What a command writes may be no text: what has a zero
// byte is none either, and would take six bytes for each in JSON.
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

// encodeLine encodes a guestapi.Event and a line feed. It is written by hand because the encoder
// would read a content of megabytes a second time.
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
		b = append(b, of...) // checked to be letters and digits
	}
	b = append(b, `","type":"`...)
	b = append(b, typ...)
	b = append(b, `","content":`...)
	b = append(b, content...)
	return append(b, "}\n"...)
}

// Cut returns the first n bytes of a text, or a little less where a character would be cut.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	// What has no start of a character near the place is no text, and can be cut anywhere.
	for back := range min(n, utf8.UTFMax-1) + 1 {
		if utf8.RuneStart(s[n-back]) {
			return s[:n-back]
		}
	}
	return s[:n]
}

// Encode encodes what must be encodable: our own types, and raw JSON that was decoded before. It
// leaves <, > and & as they are, because nothing here ends in a web page unescaped.
func Encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
