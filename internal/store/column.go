package store

import (
	"bytes"
	"fmt"

	"cellhold/internal/lazy"
)

// column receives one value of a row. Damage can change the type of a value. Then the column keeps its zero value, and
// the checksum of the row differs.
type column[T int64 | string | []byte] struct{ value T }

// Scan implements sql.Scanner.
func (c *column[T]) Scan(v any) error {
	switch to := any(&c.value).(type) {
	case *int64:
		*to, _ = v.(int64)
	case *string:
		*to, _ = v.(string)
	case *[]byte:
		switch b := v.(type) {
		case []byte:
			*to = bytes.Clone(b) // it belongs to the database
		case string:
			*to = []byte(b)
		}
	}
	return nil
}

var validName = lazy.Regexp(`^[A-Za-z0-9]{1,64}$`)

// nameOf returns the name of a record. A damaged name becomes one that callers can show, and that no other record of the
// session has. n is the number of the record.
func nameOf(name string, n int64) string {
	if validName().MatchString(name) {
		return name
	}
	return fmt.Sprintf("unreadable%d", n)
}
