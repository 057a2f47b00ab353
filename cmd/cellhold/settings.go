package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"cellhold/internal/lazy"
)

// envPrefix is the prefix of all variables that are settings.
const envPrefix = "CELLHOLD_"

// othersEnv matches variables with our prefix that are not settings: those of this repository's tests, and those
// that Kubernetes sets if a service of the cluster is called cellhold.
var othersEnv = lazy.Regexp(`^CELLHOLD_(TEST_.*|SERVICE_(HOST|PORT|PORT_.*)|PORT|PORT_[0-9].*)$`)

// settings are the names that the program knows: flags, which are also the names in configuration files, and
// environment variables.
type settings struct {
	flags     []string
	variables []string
}

func settingsOf(app *kong.Application) settings {
	var s settings
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			s.flags = append(s.flags, flag.Name)
			s.variables = append(s.variables, flag.Envs...)
		}
		return next(nil)
	})
	return s
}

// checkEnvironment refuses unknown variables with our prefix. A misspelt limit would otherwise not limit anything.
func (s settings) checkEnvironment(environ []string) error {
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, envPrefix) && !slices.Contains(s.variables, name) && !othersEnv().MatchString(name) {
			return fmt.Errorf("environment: unknown setting %s%s", name, suggestion(name, s.variables))
		}
	}
	return nil
}

// suggestion returns the end of a sentence with the most similar known name, or nothing. If only one known name begins
// with the name, it is that one.
func suggestion(name string, known []string) string {
	if best := nearest(name, known); best != "" {
		return fmt.Sprintf("; did you mean %s?", best)
	}
	return ""
}

// nearest returns the most similar known name, or "".
func nearest(name string, known []string) string {
	longer := slices.DeleteFunc(slices.Clone(known), func(k string) bool { return !strings.HasPrefix(k, name) })
	if len(longer) == 1 && name != "" {
		return longer[0]
	}
	best, least := "", len(name)/3+1 // a name at a greater distance is a different word
	for _, k := range known {
		if d := distance(name, k); d < least || d == least && best == "" {
			best, least = k, d
		}
	}
	return best
}

// distance returns how many letters must be added, removed, replaced or swapped with the next letter to get from a
// to b.
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
