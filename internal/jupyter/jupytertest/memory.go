package jupytertest

import (
	"encoding/binary"
	"slices"
	"sync"

	"cellhold/internal/jupyter/stream"
)

// Memory is what a kernel shares with the agent, so that its last output survives its death. It does what unsent.py
// of the stock image does. Its methods are safe for concurrent use.
type Memory struct {
	mu         sync.Mutex
	bytes      []byte
	end, start uint64
}

// The offsets of the numbers in a Memory, and of the parts after them.
const (
	memoryEnd      = 0
	memoryRestAt   = 40
	memoryRestSize = 48
	memoryLost     = 56
	memoryRest     = 64
	memoryRecords  = 512 << 10
)

// NewMemory returns an empty memory.
func NewMemory() *Memory { return &Memory{bytes: make([]byte, stream.UnsentSize)} }

// Bytes returns a copy of the memory.
func (m *Memory) Bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.bytes)
}

// Set changes the number at an offset, as broken kernels do.
func (m *Memory) Set(at int, number uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(at, number)
}

func (m *Memory) set(at int, numbers ...uint64) {
	for i, n := range numbers {
		binary.LittleEndian.PutUint64(m.bytes[at+8*i:], n)
	}
}

// Add adds a record. If there is no space, it notes that output is lost.
func (m *Memory) Add(kind stream.RecordKind, request, data string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := binary.LittleEndian.AppendUint16([]byte{byte(kind), 0}, uint16(len(request)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = append(append(b, request...), data...)
	at := memoryRecords + int(m.end)
	if at+len(b) > len(m.bytes) {
		m.set(memoryLost, 1)
		return
	}
	copy(m.bytes[at:], b)
	m.end += uint64(len(b))
	m.set(memoryEnd, m.end)
}

// Begin notes that all records are in a block, which is sent from now on.
func (m *Memory) Begin(position, length int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.start
	m.start = m.end
	m.set(memoryEnd, m.end, m.start, before, uint64(position), uint64(length))
}

// Keep keeps the rest of the block, which cannot be sent now.
func (m *Memory) Keep(position int, rest []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	copy(m.bytes[memoryRest:memoryRecords], rest)
	m.set(memoryRestAt, uint64(position), uint64(len(rest)))
}

// Done forgets the block, which was sent.
func (m *Memory) Done() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.start == m.end {
		m.start, m.end = 0, 0
	}
	m.set(memoryEnd, m.end, m.start, m.start, 0, 0, 0, 0, 0)
}
