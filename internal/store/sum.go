package store

import (
	"cellhold"
	"cellhold/internal/record"
	"encoding/binary"
	"hash/crc32"
)

// Checksums detect changes by the disk; SQLite does not check contents. They also cover the names of a record, to detect a
// record under a wrong name. The table is Castagnoli's, for which processors have instructions.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// eventSum covers every field of an event and its session.
func eventSum(id cellhold.SessionID, e *record.Event) int64 {
	head := make([]byte, 0, 256) // enough for all fields, to avoid allocations
	for _, s := range []string{string(id), string(e.Kernel), subject(e), string(e.Type), e.Boot} {
		head = appendString(head, s)
	}
	for _, n := range []int64{e.Seq, toNanos(e.Time), e.Source} {
		head = binary.AppendVarint(head, n)
	}
	return int64(crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, e.Content))
}

// recordSum covers a record and its names.
func recordSum(record []byte, names ...string) int64 {
	var head []byte
	for _, s := range names {
		head = appendString(head, s)
	}
	return int64(crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, record))
}

// appendString writes the length first, so that different lists of strings never look alike.
func appendString(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}
