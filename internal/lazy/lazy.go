// Package lazy compiles patterns when they are first used, so that a start of the program compiles none.
package lazy

import (
	"regexp"
	"sync"
)

// Regexp returns a function that compiles expr at its first call, and returns the same pattern from then
// on. It panics at that call if expr is not valid.
func Regexp(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
