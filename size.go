package cellhold

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeUnits are the units of sizes, the largest first.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// ParseSize returns the number of bytes of a text such as 512M or 2GiB. K, M, G and T are powers of 1024, also with
// iB or B. A number without a unit, or with B, is in bytes. Any other text is an error.
func ParseSize(text string) (int64, error) {
	number := strings.TrimRight(text, "KMGTiBkmgtb ")
	unit := strings.ToUpper(strings.TrimSpace(text[len(number):]))
	factor := int64(0)
	if unit == "" || unit == "B" {
		factor = 1
	}
	for _, u := range sizeUnits {
		if unit == u.name[:1] || unit == u.name[:1]+"B" || unit == strings.ToUpper(u.name) {
			factor = u.bytes
		}
	}
	value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || factor == 0 || !(value >= 0) || value*float64(factor) >= math.MaxInt64 {
		return 0, fmt.Errorf("invalid size %.40q: use a number of bytes, or a text such as 512MiB or 2GiB", text)
	}
	return int64(value * float64(factor)), nil
}

// FormatSize returns a number of bytes in the largest unit that divides it, in a form that ParseSize reads.
func FormatSize(n int64) string {
	for _, u := range sizeUnits {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// size is a number of bytes in JSON: a number, or a text that ParseSize reads.
type size int64

// UnmarshalJSON reads a size in both forms.
func (s *size) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return json.Unmarshal(raw, (*int64)(s))
	}
	n, err := ParseSize(text)
	*s = size(n)
	return err
}

// UnmarshalJSON reads limits whose sizes are numbers of bytes or texts such as "2GiB".
func (l *Limits) UnmarshalJSON(raw []byte) error {
	type plain Limits // the fields of Limits, without this method
	v := struct {
		*plain
		Memory *size `json:"memory"`
		Disk   *size `json:"disk"`
		Tmp    *size `json:"tmp"`
		Output *size `json:"output"`
	}{plain: (*plain)(l), Memory: (*size)(&l.Memory), Disk: (*size)(&l.Disk), Tmp: (*size)(&l.Tmp), Output: (*size)(&l.Output)}
	return json.Unmarshal(raw, &v)
}
