package console

import (
	"cellhold"
	"fmt"
)

// Size is a number of bytes, written as 512M or 1GiB.
type Size int64

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := cellhold.ParseSize(string(text))
	*s = Size(n)
	return err
}

// MarshalText writes the size in the form that UnmarshalText reads.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the size in the largest unit that divides it.
func (s Size) String() string { return cellhold.FormatSize(int64(s)) }

var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// Rounded writes the size with one decimal in a fitting unit.
func (s Size) Rounded() string {
	for _, u := range units {
		if int64(s) >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(s)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", int64(s))
}
