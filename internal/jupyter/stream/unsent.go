package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// UnsentSize is the size of the memory that a kernel shares with the agent, in bytes.
const UnsentSize = 1 << 20

const (
	unsentRest    = 64        // offset of the rest of a block in the memory
	unsentRecords = 512 << 10 // offset of the records in the memory
	recordHead    = 8         // bytes of the fields kind, zero, length of the id and length of the data
	// maxPosition bounds positions in the stream, so that a sum of two positions cannot overflow.
	maxPosition = 1 << 50
)

// ErrUnsent marks a memory that a correct kernel would not leave.
var ErrUnsent = errors.New("the memory of unsent output has an invalid form")

// RecordKind is the kind of a record's data.
type RecordKind byte

// The kinds of records.
const (
	StdoutRecord RecordKind = 1
	StderrRecord RecordKind = 2
	FrameRecord  RecordKind = 3
)

// Record is one output in a kernel's queue.
type Record struct {
	Kind    RecordKind
	Request string // id of the request that caused the text; empty for a frame
	Data    []byte // text or one frame, as the kernel wrote it
}

// Unsent is the output that a kernel had queued and not sent when it died. The kernel joins queued output to a
// block, and sends the block.
type Unsent struct {
	Rest    []byte   // the unsent end of a block; it continues the stream
	Records []Record // output that is in no sent block; adjacent text of one request is one record
	Lost    int64    // approximate number of bytes that are neither sent nor in the memory
}

// unsentMarks are the numbers at the beginning of the memory.
type unsentMarks struct {
	End      uint64 // bytes of all records
	Start    uint64 // bytes of the records that are in the block, or were sent
	Before   uint64 // bytes of the records that were sent before the block
	Position uint64 // position of the block in the stream
	Length   uint64 // bytes of the block; 0 if no block was being sent
	RestAt   uint64 // position of the rest in the stream
	Rest     uint64 // bytes of the rest
	Lost     uint64 // 1 if there was no space for a record
}

// ReadUnsent returns the output in the memory of a dead kernel that follows the first read bytes of its stream.
// The result shares memory with the argument, so the caller must change neither.
func ReadUnsent(memory []byte, read int64) (Unsent, error) {
	if len(memory) != UnsentSize || read < 0 {
		return Unsent{}, fmt.Errorf("%w: it has %d bytes, want %d", ErrUnsent, len(memory), UnsentSize)
	}
	var m unsentMarks
	if _, err := binary.Decode(memory, binary.LittleEndian, &m); err != nil {
		return Unsent{}, fmt.Errorf("%w: %w", ErrUnsent, err)
	}
	if err := m.check(); err != nil {
		return Unsent{}, err
	}
	var u Unsent
	var from uint64
	from, u.Rest, u.Lost = m.missing(memory, uint64(read))
	var err error
	u.Records, err = readRecords(memory[unsentRecords+from : unsentRecords+m.End])
	if err != nil {
		return Unsent{}, err
	}
	if m.Lost != 0 && u.Lost == 0 {
		u.Lost = max(1, UnsentSize-unsentRecords-recordHead-int64(m.End)) // the record was larger than the space
	}
	return u, nil
}

// check returns an error if a number leads out of the memory.
func (m *unsentMarks) check() error {
	switch {
	case m.End > UnsentSize-unsentRecords || m.Start > m.End || m.Before > m.Start:
		return fmt.Errorf("%w: records of %d, %d and %d bytes", ErrUnsent, m.Before, m.Start, m.End)
	case m.Position > maxPosition || m.Length > maxPosition:
		return fmt.Errorf("%w: a block of %d bytes at %d", ErrUnsent, m.Length, m.Position)
	case m.RestAt > maxPosition || m.Rest > unsentRecords-unsentRest:
		return fmt.Errorf("%w: a rest of %d bytes at %d", ErrUnsent, m.Rest, m.RestAt)
	case m.Lost > 1:
		return fmt.Errorf("%w: the mark of lost output is %d", ErrUnsent, m.Lost)
	}
	return nil
}

// missing returns the output that is not in the first read bytes of the stream. from is the offset of the first
// missing record. rest continues the stream. lost is the number of bytes that should continue the stream and are
// not in the memory. The caller must have called check.
func (m *unsentMarks) missing(memory []byte, read uint64) (from uint64, rest []byte, lost int64) {
	end := m.Position + m.Length
	switch {
	case m.Length == 0 || read >= end:
		return m.Start, nil, 0
	case read <= m.Position:
		return m.Before, nil, 0
	}
	// A kernel that is killed right after a send has not stored the new rest. Then the stored rest begins with
	// bytes that were sent.
	if m.RestAt < m.Position || m.RestAt > read || m.RestAt+m.Rest != end {
		return m.Start, nil, int64(end - read)
	}
	return m.Start, memory[unsentRest+read-m.RestAt : unsentRest+m.Rest], 0
}

// readRecords splits bytes into records, and joins adjacent text.
func readRecords(b []byte) ([]Record, error) {
	var records []Record
	for len(b) > 0 {
		if len(b) < recordHead {
			return nil, fmt.Errorf("%w: %d bytes after the last record", ErrUnsent, len(b))
		}
		kind, id, data := RecordKind(b[0]), int(binary.LittleEndian.Uint16(b[2:])), int64(binary.LittleEndian.Uint32(b[4:]))
		if kind < StdoutRecord || kind > FrameRecord || b[1] != 0 || int64(len(b)-recordHead-id) < data {
			return nil, fmt.Errorf("%w: a record of kind %d has an id of %d bytes and data of %d bytes, in a space of %d", ErrUnsent, kind, id, data, len(b))
		}
		b = b[recordHead:]
		request, text := b[:id], b[id:id+int(data)]
		b = b[id+int(data):]
		if last := len(records) - 1; last >= 0 && kind != FrameRecord && records[last].Kind == kind && records[last].Request == string(request) {
			records[last].Data = append(records[last].Data, text...)
			continue
		}
		// The capacity is limited, so that an append copies the text and does not change the memory.
		records = append(records, Record{Kind: kind, Request: string(request), Data: text[:len(text):len(text)]})
	}
	return records, nil
}
