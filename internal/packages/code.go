package packages

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"cellhold"
	"cellhold/internal/guestapi"
)

// CodeMode says what code in a session may install, on top of what callers may.
type CodeMode string

// The modes, the strictest first. The zero value is CodeOff.
const (
	CodeOff       CodeMode = "off"       // nothing
	CodeAllowlist CodeMode = "allowlist" // the packages on the list, whatever callers may
	CodeCallers   CodeMode = "callers"   // what callers may
)

const (
	// maxCodeNames bounds the packages that the code of one session can ask for by name. Code is hostile,
	// and each name that it chooses carries some bytes of a session's data to the index.
	maxCodeNames = 300
	// maxCodeLine bounds one line of an answer to code.
	maxCodeLine = 4 << 10
	// maxCodeLines bounds them all.
	maxCodeLines = 200
)

// Tally counts what the code of one session has asked for. Its methods may be called from any goroutine. The zero
// value has counted nothing.
type Tally struct {
	mu    sync.Mutex
	names map[string]bool
}

// add counts the packages of a request, all or none.
func (t *Tally) add(list []Requirement) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := map[string]bool{}
	for _, r := range list {
		if !t.names[r.Name] {
			fresh[r.Name] = true
		}
	}
	if len(t.names)+len(fresh) > maxCodeNames {
		return cellhold.Errorf(cellhold.Exhausted,
			"The code of this session has asked for %d packages, and may ask for %d in all. The session's caller can install more.", len(t.names), maxCodeNames)
	}
	if t.names == nil {
		t.names = map[string]bool{}
	}
	for name := range fresh {
		t.names[name] = true
	}
	return nil
}

// PlanOfCode checks a request that code in a session makes. It gets no more than a caller does.
func (p *Packages) PlanOfCode(r Request, t *Tally) (Plan, error) {
	plan, err := p.Plan(r)
	if err != nil {
		return plan, err
	}
	plan.code = true
	if len(plan.list) == 0 {
		return plan, nil
	}
	if err := p.codeMay(plan.list); err != nil {
		return plan, err
	}
	return plan, t.add(plan.list)
}

// codeMay says why code may not change packages, or nil.
func (p *Packages) codeMay(list []Requirement) error {
	switch p.o.Code {
	case CodeCallers:
		return nil
	case CodeAllowlist:
		return Policy{Mode: Allowlist, Allow: p.o.Policy.Allow}.judge(list)
	}
	return cellhold.Errorf(cellhold.Denied,
		"This server's operator does not allow code to install packages (--code-packages off). The session's caller can install them.")
}

// RemovableByCode says why code may not remove packages, or nil.
func (p *Packages) RemovableByCode() error {
	if p.o.Code == CodeAllowlist {
		return nil
	}
	return p.codeMay(nil)
}

// downloads says each file once.
func downloads(say func(line string)) func(file string, size int64) {
	var mu sync.Mutex
	seen := map[string]bool{}
	return func(file string, size int64) {
		mu.Lock()
		defer mu.Unlock()
		if seen[file] || len(seen) >= maxCodeLines {
			return
		}
		seen[file] = true
		line := "Downloading " + strings.Trim(fmt.Sprintf("%+q", file), `"`)
		if size >= 1<<20 {
			line += fmt.Sprintf(" (%d MB)", size>>20)
		}
		say(line)
	}
}

// ForCode puts what became of a request into the words of pip, for the code that made it.
func ForCode(report cellhold.Installation, err error) guestapi.CodeDone {
	var d guestapi.CodeDone
	add := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); len(d.Lines) < maxCodeLines {
			d.Lines = append(d.Lines, strings.ToValidUTF8(text[:min(len(text), maxCodeLine)], ""))
		}
	}
	for _, p := range report.Present {
		add("Requirement already satisfied: %s (%s)", p.Name, p.Version)
	}
	var come, gone []string
	for _, c := range report.Changes {
		if c.After == "" {
			gone = append(gone, c.Name+"-"+c.Before)
		} else {
			come = append(come, c.Name+"-"+c.After)
		}
	}
	if len(come) > 0 {
		add("Successfully installed %s", strings.Join(come, " "))
	}
	if len(gone) > 0 {
		add("Successfully uninstalled %s", strings.Join(gone, " "))
	}
	for _, w := range report.Warnings {
		add("Note: %s", w)
	}
	if err != nil {
		d.Error = "The packages could not be changed. Look into the server's log."
		if cellhold.KindOf(err) != cellhold.Internal {
			d.Error = sentenceOf(err)
		}
		d.Error = strings.ToValidUTF8(d.Error[:min(len(d.Error), maxCodeLine)], "")
		d.Denied = cellhold.KindOf(err) == cellhold.Denied || errors.Is(err, errNoIndex)
	}
	return d
}
