package packages

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"cellhold"
	"cellhold/internal/guestapi"
)

// CodeMode defines the packages that code in a session can install. It never exceeds what callers can install.
type CodeMode string

// The modes, the strictest first. The zero value is CodeOff.
const (
	CodeOff       CodeMode = "off"       // nothing
	CodeAllowlist CodeMode = "allowlist" // only the packages on the allowlist, even if callers can install others
	CodeCallers   CodeMode = "callers"   // what callers can install
)

const (
	// maxCodeLine bounds one line of an answer to code.
	maxCodeLine = 4 << 10
	// maxCodeLines bounds the number of lines.
	maxCodeLines = 200
	// codeRoom bounds the JSON form of the lines of an answer; a character can take six bytes in it. The rest of
	// guestapi.MaxCodeLine is for the error and the structure.
	codeRoom = guestapi.MaxCodeLine - 6*maxCodeLine - 1<<10
)

// PlanOfCode checks a request of code in a session. Code can never install more than a caller.
func (p *Packages) PlanOfCode(r Request, t *Tally) (Plan, error) {
	plan, err := p.plan(r, t)
	if err != nil || len(plan.list) == 0 {
		return plan, err
	}
	return plan, t.add(plan.list)
}

// checkModes returns an error if the modes allow no package at all. It does not depend on the request.
func (p *Packages) checkModes(code bool) error {
	if m := p.o.Policy.Mode; m == "" || m == Off {
		return p.o.Policy.permit(nil)
	}
	if code {
		return p.checkCode(nil)
	}
	return nil
}

// checkCode returns an error if code cannot install a package of the list. For an empty list, it
// checks only the mode.
func (p *Packages) checkCode(list []Requirement) error {
	switch p.o.Code {
	case CodeCallers:
		return nil
	case CodeAllowlist:
		return Policy{Mode: Allowlist, Allow: p.o.Policy.Allow}.permit(list)
	}
	return cellhold.Errorf(cellhold.Denied,
		"The operator of this server does not allow code to install packages (--code-packages off). The session's caller can install them.")
}

// RemovableByCode returns an error if code cannot remove packages.
func (p *Packages) RemovableByCode() error {
	if p.o.Code == CodeAllowlist {
		return nil
	}
	return p.checkCode(nil)
}

// downloads returns a function that reports each file once.
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

// ForCode reports the result of a request to the code that made it, in the words of pip.
func ForCode(report cellhold.Installation, err error) guestapi.CodeDone {
	var d guestapi.CodeDone
	room := codeRoom
	add := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		text = strings.ToValidUTF8(text[:min(len(text), maxCodeLine)], "")
		written, err := json.Marshal(text)
		if size := len(written) + len(","); err == nil && len(d.Lines) < maxCodeLines && size <= room {
			d.Lines, room = append(d.Lines, text), room-size
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
		d.Error = "The packages could not be changed. The server's log has the details."
		if cellhold.KindOf(err) != cellhold.Internal {
			d.Error = sentenceOf(err)
		}
		d.Error = strings.ToValidUTF8(d.Error[:min(len(d.Error), maxCodeLine)], "")
		d.Denied = cellhold.KindOf(err) == cellhold.Denied || errors.Is(err, errNoIndex)
	}
	return d
}
