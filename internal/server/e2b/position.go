package e2b

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"cellhold"
)

// position is the place of a sandbox in a list. A position also has a meaning after its sandbox has ended, so it can be
// the token of the page that follows.
type position struct {
	created int64 // Unix time in nanoseconds
	id      cellhold.SessionID
}

// newestFirst compares two positions in a list whose first sandbox is the newest one.
func (p position) newestFirst(q position) int {
	return cmp.Or(cmp.Compare(q.created, p.created), cmp.Compare(p.id, q.id))
}

// String returns the position as a token.
func (p position) String() string { return fmt.Sprintf("%d-%s", p.created, p.id) }

func readPosition(token string) (position, error) {
	created, id, _ := strings.Cut(token, "-")
	at, err := strconv.ParseInt(created, 10, 64)
	if err != nil {
		return position{}, cellhold.Errorf(cellhold.Invalid, "Invalid %s %.100q: use the value of the header %s.", tokenParam, token, nextHeader)
	}
	return position{at, cellhold.SessionID(id)}, nil
}
