package exchange

import (
	"strconv"
	"time"

	"cellhold"
)

const (
	// maxWait is the longest wait of one request. Proxies and NAT cut longer ones.
	maxWait = 10 * time.Minute
	// maxSeconds is the longest wait that a request can name, one year. It is far below the overflow of a duration.
	maxSeconds = 365 * 24 * 3600
)

// ParseWait reads a Go duration or a number of seconds. An empty text means no wait.
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
