package exchange

import (
	"strconv"
	"time"

	"cellhold"
)

const (
	// maxWait is the longest wait of one request. Proxies and NAT break connections that wait longer.
	maxWait = 10 * time.Minute
	// maxSeconds is the maximum for a wait that is a number of seconds: one year. A larger number could overflow a
	// time.Duration. A wait such as "10000h" can be longer than a year.
	maxSeconds = 365 * 24 * 3600
)

// ParseWait reads a Go duration or a number of seconds. An empty text means no wait. The result is at most maxWait.
func ParseWait(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= 0 && n <= maxSeconds) { // the negation also refuses NaN
			return 0, cellhold.Errorf(cellhold.Invalid, "Invalid wait %.40q: use a duration such as 30s, or seconds.", text)
		}
		d = time.Duration(n * float64(time.Second))
	}
	if d < 0 {
		return 0, cellhold.Errorf(cellhold.Invalid, "Invalid wait %.40q: it must not be negative.", text)
	}
	return min(d, maxWait), nil
}
