package main

import (
	"cellhold"
	"fmt"
)

// size is a number of bytes, written as 512M or 1GiB.
type size int64

// UnmarshalText reads a size.
func (s *size) UnmarshalText(text []byte) error {
	n, err := cellhold.ParseSize(string(text))
	*s = size(n)
	return err
}

// MarshalText writes the size in the form that UnmarshalText reads.
func (s size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String writes the size in the largest unit that divides it.
func (s size) String() string { return cellhold.FormatSize(int64(s)) }

var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// rounded writes the size with one decimal in a fitting unit.
func (s size) rounded() string {
	for _, u := range units {
		if int64(s) >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(s)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", int64(s))
}
