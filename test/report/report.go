// Command report runs go test and prints its output. At the end it lists every skipped test and the slowest ones. A skip that
// test/skips.txt does not allow fails the run, so no test can disappear unnoticed.
//
//	go run ./test/report [arguments of go test]
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"
)

// slowest is the number of slowest tests to list.
const slowest = 10

func main() {
	allowed, err := readAllowed("test/skips.txt", map[string]bool{
		userOnly: os.Geteuid() != 0,
		raceOnly: slices.Contains(os.Args[1:], "-race"),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	os.Exit(run(os.Args[1:], allowed))
}

// run runs go test and returns the exit status.
func run(args []string, allowed allowlist) int {
	begun := time.Now()
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		return 1
	}
	r := report{w: os.Stdout, output: map[string][]string{}, skips: map[string]string{}}
	readErr := r.read(out)
	err = errors.Join(readErr, cmd.Wait())
	if !r.finish(allowed, time.Since(begun)) || err != nil {
		return 1
	}
	return 0
}

// event is one line of go test -json.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64 // duration in seconds
}

// lasted is the duration of a test.
type lasted struct {
	test    string
	seconds float64
}

// report collects the tests of one run.
type report struct {
	w       io.Writer
	output  map[string][]string // output so far, by package and test
	skips   map[string]string   // reason of the skip, by package and test
	times   []lasted            // durations of tests, without subtests
	closing []string            // go test's line for each package
}

// read reads the output of go test to its end.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				fmt.Fprint(r.w, line) // a message of go, not of a test
			} else {
				r.take(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) take(e event) {
	key := path.Join(e.Package, e.Test)
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "skip":
		if e.Test != "" {
			r.skips[key] = skipReason(r.output[key])
		}
		r.end(e, key)
	case "fail":
		fmt.Fprint(r.w, strings.Join(r.output[key], ""))
		r.end(e, key)
	case "pass":
		r.end(e, key)
	}
}

// end removes a test and records its duration. For a package it records the closing line.
func (r *report) end(e event, key string) {
	if e.Test != "" && !strings.Contains(e.Test, "/") {
		r.times = append(r.times, lasted{key, e.Elapsed})
	}
	if e.Test == "" {
		for _, line := range r.output[key] {
			if closes(line) {
				line = strings.TrimSuffix(line, "\n")
				r.closing = append(r.closing, line)
				if e.Action != "fail" { // a failed package's output was printed before
					fmt.Fprintln(r.w, line)
				}
			}
		}
	}
	delete(r.output, key)
}

func closes(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t") || strings.HasPrefix(line, "?   \t")
}

// skipReason returns the reason of a skip from the output of a test.
func skipReason(output []string) string {
	var words []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			words = append(words, line)
		}
	}
	return strings.Join(words, " ")
}

// finish lists the skips, the slowest tests and go test's closing lines. It reports whether all skips are allowed.
func (r *report) finish(allowed allowlist, took time.Duration) bool {
	good := true
	fmt.Fprintf(r.w, "\n%d skipped tests\n", len(r.skips))
	for _, key := range slices.Sorted(maps.Keys(r.skips)) {
		verdict := allowed.reason(key)
		if verdict == "" {
			verdict, good = "NOT ALLOWED by test/skips.txt", false
		}
		fmt.Fprintf(r.w, "  %s\n    says:    %s\n    allowed: %s\n", key, r.skips[key], verdict)
	}
	slices.SortStableFunc(r.times, func(a, b lasted) int { return cmp.Compare(b.seconds, a.seconds) })
	fmt.Fprintf(r.w, "\nslowest of %d tests\n", len(r.times))
	for _, t := range r.times[:min(slowest, len(r.times))] {
		fmt.Fprintf(r.w, "%8.1f s  %s\n", t.seconds, t.test)
	}
	fmt.Fprintln(r.w)
	for _, line := range r.closing {
		fmt.Fprintln(r.w, line)
	}
	fmt.Fprintf(r.w, "\n%s in all\n", took.Round(time.Second))
	return good
}

// allowlist maps patterns of tests that can be skipped to the reasons.
type allowlist map[string]string

// These words begin lines that apply only to some runs.
const (
	userOnly = "as a plain user, "
	raceOnly = "with the race detector, "
)

// readAllowed reads lines of the form "pattern: reason". # begins a comment. The map applies has the first words of the
// lines that do not apply to all runs, and whether they apply to this run.
func readAllowed(name string, applies map[string]bool) (allowlist, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	all := allowlist{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		use := true
		for words, now := range applies {
			if rest, found := strings.CutPrefix(line, words); found {
				line, use = rest, now
			}
		}
		pattern, reason, ok := strings.Cut(line, ": ")
		if _, err := path.Match(pattern, ""); !ok || err != nil {
			return nil, fmt.Errorf("%s: %q is not of the form \"pattern: reason\"", name, line)
		}
		if use {
			all[pattern] = reason
		}
	}
	return all, nil
}

// reason returns why the test can be skipped, or "".
func (a allowlist) reason(test string) string {
	for pattern, reason := range a {
		if ok, _ := path.Match(pattern, test); ok {
			return reason
		}
	}
	return ""
}
