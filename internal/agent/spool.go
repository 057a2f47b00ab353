package agent

import (
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

// spool holds the events of one kernel, numbered without gaps, until the host has acknowledged
// them. Beyond its limit it drops output and counts it; it never waits for a reader.
type spool struct {
	limit int64

	mu      sync.Mutex
	entries []entry
	first   int64 // number of entries[0], or of the next event when there is none
	size    int64
	full    bool // output is dropped until half of the limit is free again, so that it is dropped in one piece
	dropped map[cellhold.CellID]*cellhold.OutputDroppedContent
	changed chan struct{} // closed when there is something to read; nil when nobody waits
	closed  bool

	waiting int         // bytes that readers have not been woken for
	timer   *time.Timer // wakes them; nil when nothing waits
}

// entry is one event. The text of a stream event stays open, and may grow, until a reader takes it.
type entry struct {
	time time.Time
	cell cellhold.CellID
	name string // of an open stream
	text []byte // of an open stream
	line []byte // the encoded event, nil while the stream is open
}

func newSpool(limit int64) *spool {
	return &spool{limit: limit, first: 1, dropped: make(map[cellhold.CellID]*cellhold.OutputDroppedContent)}
}

// keep adds an event that may not be dropped. Their number is bounded by what the host asks for.
func (s *spool) keep(cell cellhold.CellID, t cellhold.EventType, content any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(cell, t, marshal(content))
	if t != cellhold.EventCellStarted {
		s.wake()
	}
}

// offer adds output if there is room.
func (s *spool) offer(cell cellhold.CellID, t cellhold.EventType, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.limit
	if t == cellhold.EventError {
		limit += errorReserve
	}
	if s.size+int64(len(content))+entryCost > limit || s.full && t != cellhold.EventError {
		s.drop(cell, len(content))
		return
	}
	s.add(cell, t, content)
}

// stream adds text to the output of a cell: to the last event where that is still open, and to
// new ones in pieces that a reader can hold. The text must be valid UTF-8.
func (s *spool) stream(cell cellhold.CellID, name, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(text) > 0 {
		if s.full || s.size+entryCost >= s.limit {
			s.drop(cell, len(text))
			return
		}
		piece := cut(text, guestapi.MaxStream)
		text = text[len(piece):]
		if last := s.open(cell, name); last != nil && len(last.text)+len(piece) <= guestapi.MaxStream {
			last.text = append(last.text, piece...)
			s.size += int64(len(piece))
			continue
		}
		s.push(entry{cell: cell, name: name, text: []byte(piece)})
	}
}

// open returns the newest event if text of that stream may be added to it.
func (s *spool) open(cell cellhold.CellID, name string) *entry {
	if len(s.entries) == 0 {
		return nil
	}
	last := &s.entries[len(s.entries)-1]
	if last.line != nil || last.cell != cell || last.name != name {
		return nil
	}
	return last
}

func (s *spool) add(cell cellhold.CellID, t cellhold.EventType, content []byte) {
	now := time.Now().UTC()
	s.push(entry{time: now, cell: cell, line: encodeLine(s.first+int64(len(s.entries)), now, cell, t, content)})
}

func (s *spool) push(e entry) {
	if e.time.IsZero() {
		e.time = time.Now().UTC()
	}
	s.entries = append(s.entries, e)
	s.size += e.size()
	s.wakeSoon(int(e.size()))
}

// wakeSoon has the readers woken when enough has gathered, or when it has waited long enough. The
// caller holds mu.
func (s *spool) wakeSoon(bytes int) {
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
func (s *spool) wake() {
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
func (s *spool) drop(cell cellhold.CellID, bytes int) {
	s.full = s.size > s.limit/2
	d := s.dropped[cell]
	if d == nil {
		d = new(cellhold.OutputDroppedContent)
		s.dropped[cell] = d
	}
	d.Bytes += int64(bytes)
	d.Messages++
}

// lose counts output that never reached us whole.
func (s *spool) lose(cell cellhold.CellID, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(cell, int(bytes))
}

// settle reports what was dropped of a cell. It comes before the cell's end, so that a reader who
// stops there knows that something is missing.
func (s *spool) settle(cell cellhold.CellID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.dropped[cell]; d != nil {
		delete(s.dropped, cell)
		s.add(cell, cellhold.EventOutputDropped, marshal(d))
	}
}

// ack forgets the events up to that number.
func (s *spool) ack(seq int64) {
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
		for cell, d := range s.dropped {
			s.add(cell, cellhold.EventOutputDropped, marshal(d))
		}
		clear(s.dropped)
	}
}

// last is the number of the newest event, 0 when there was none.
func (s *spool) last() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first + int64(len(s.entries)) - 1
}

// close ends the readers once they have read everything.
func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wake()
}

// batch is what one read found: the lines of one or more events, the number of the last of them,
// and when there are none, what to wait for; nil means that there will be no more.
type batch struct {
	lines   []byte
	shared  bool // lines belongs to the spool and must not be written to
	last    int64
	changed <-chan struct{}
}

// read returns the events after that number, as many as fit into a batch. It uses buf if it can.
func (s *spool) read(after int64, buf []byte) batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := batch{lines: buf[:0], last: max(after, s.first-1)}
	for {
		i := b.last - s.first + 1
		if i >= int64(len(s.entries)) {
			break
		}
		line := s.seal(int(i))
		if len(b.lines) == 0 && len(line) > batchBytes {
			return batch{lines: line, shared: true, last: b.last + 1}
		}
		if len(b.lines)+len(line) > batchBytes {
			break
		}
		b.lines = append(b.lines, line...)
		b.last++
	}
	if len(b.lines) == 0 && !s.closed {
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		b.changed = s.changed
	}
	return b
}

// seal encodes an open stream event; its text does not grow any more.
func (s *spool) seal(i int) []byte {
	e := &s.entries[i]
	if e.line == nil {
		s.size -= e.size()
		content := marshal(cellhold.StreamContent{Name: e.name, Text: string(e.text)})
		e.line = encodeLine(s.first+int64(i), e.time, e.cell, cellhold.EventStream, content)
		e.text = nil
		s.size += e.size()
	}
	return e.line
}

func (e *entry) size() int64 { return int64(len(e.line)) + int64(len(e.text)) + entryCost }

// encodeLine encodes a guestapi.Event and a line feed. It is written by hand because the encoder
// would read a content of megabytes a second time.
func encodeLine(seq int64, t time.Time, cell cellhold.CellID, typ cellhold.EventType, content []byte) []byte {
	b := make([]byte, 0, len(content)+128)
	b = append(b, `{"seq":`...)
	b = strconv.AppendInt(b, seq, 10)
	b = append(b, `,"time":"`...)
	b = t.AppendFormat(b, time.RFC3339Nano)
	if cell != "" {
		b = append(b, `","cell":"`...)
		b = append(b, cell...) // checked to be letters and digits
	}
	b = append(b, `","type":"`...)
	b = append(b, typ...)
	b = append(b, `","content":`...)
	b = append(b, content...)
	return append(b, "}\n"...)
}

// cut returns the first n bytes of a text, or a little less where a character would be cut.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
