package record

import (
	"fmt"
	"strings"

	"cellhold"
)

// SandboxID returns the id of the nth sandbox of a session. All ids have the same length.
func SandboxID(id cellhold.SessionID, n int) string { return fmt.Sprintf("%s-%04x", id, n) }

// SessionOf returns the session that a sandbox was made for. It is no session if the sandbox was made before its session.
func SessionOf(sandbox string) cellhold.SessionID {
	return cellhold.SessionID(sandbox[:max(strings.LastIndexByte(sandbox, '-'), 0)])
}

// NextSandboxID returns the id of the sandbox after last.
func NextSandboxID(id cellhold.SessionID, last string) string {
	n := 0
	if i := strings.LastIndexByte(last, '-'); i >= 0 {
		fmt.Sscanf(last[i+1:], "%x", &n)
	}
	return SandboxID(id, (n+1)&0xffff)
}
