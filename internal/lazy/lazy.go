// Package lazy compiles regular expressions when they are first used, so that a program start compiles
// none.
package lazy

import (
	"regexp"
	"sync"
)

// Regexp returns a function that compiles expr at its first call, and returns the same pattern at every
// call. The first call panics if expr is not valid.
func Regexp(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
