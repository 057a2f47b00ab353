package oneshot

import (
	"encoding/base64"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/session/terms"
)

// Limits of one run.
const (
	// MaxRuns is the maximum number of runs in a batch, and MaxParallel of those that run at the same time.
	MaxRuns     = 1000
	MaxParallel = 32

	maxDeadline     = time.Hour
	defaultDeadline = 10 * time.Minute
	testTimeout     = 10 * time.Second // default for each test
	compileTimeout  = 2 * time.Minute

	maxTests    = 500
	maxExpected = 1 << 20
	maxFiles    = 100
	maxPackages = 100
	maxStatus   = 255
)

// plan is a run that was checked.
type plan struct {
	request  cellhold.RunRequest
	language language // not set for a command
	cell     bool     // the code runs in a kernel
	files    []file
	timeout  time.Duration // of the code, or of each test
	most     time.Duration // maximum timeout of the server, for a compiler too
	deadline time.Duration // of the whole run
}

// file is a file that the sandbox gets.
type file struct {
	path    string
	content string
}

// newPlan checks a request. most is the maximum timeout of the server.
func newPlan(q cellhold.RunRequest, most time.Duration) (plan, error) {
	p := plan{request: q, most: most}
	if (q.Code == "") == (q.Command == "") {
		return p, invalid("Send either code or command.")
	}
	if len(q.Code) > guestapi.MaxCode {
		return p, invalid("The code has %d bytes; the limit is %d. Send data as files.", len(q.Code), guestapi.MaxCode)
	}
	if err := p.setMode(); err != nil {
		return p, err
	}
	if err := p.setTimes(); err != nil {
		return p, err
	}
	if err := p.setFiles(); err != nil {
		return p, err
	}
	if err := checkTests(q); err != nil {
		return p, err
	}
	if len(q.Packages) > maxPackages {
		return p, invalid("The run has %d packages; the limit is %d.", len(q.Packages), maxPackages)
	}
	if err := terms.CheckEnv(q.Env); err != nil {
		return p, err
	}
	return p, p.checkCommands()
}

// checkCommands refuses arguments that a program cannot have. Otherwise a test would fail only after the tests before it.
// The arguments of a test are checked without those of the request, which a request could repeat many times.
func (p *plan) checkCommands() error {
	if p.cell {
		return nil
	}
	err := p.commandOf(p.argv(nil)).Check()
	for i, t := range p.request.Tests {
		if err == nil && len(t.Args) > 0 {
			if err = p.commandOf(append(p.language.run[:1:1], t.Args...)).Check(); err != nil {
				return inTest(i, err)
			}
		}
	}
	return err
}

// inTest names the test of an invalid request.
func inTest(i int, err error) error {
	return cellhold.Wrap(cellhold.KindOf(err), err, "Test %d: %s", i, causeOf(err))
}

func invalid(format string, args ...any) error {
	return cellhold.Errorf(cellhold.Invalid, format, args...)
}

// setMode sets the language, and whether the code is a cell.
func (p *plan) setMode() (err error) {
	q := p.request
	if q.Command != "" {
		if q.Language != "" || len(q.Args) > 0 || q.Mode == cellhold.RunCell {
			return invalid("A command takes no language, no args and no mode cell: write them into the line, or send code.")
		}
		return nil
	}
	if p.language, err = findLanguage(q.Language); err != nil {
		return err
	}
	p.language = p.language.of(q.Code)
	needsProgram := q.Stdin != "" || len(q.Args) > 0 || len(q.Tests) > 0
	switch q.Mode {
	case "":
		p.cell = p.language.name == python && !needsProgram
	case cellhold.RunProgram:
	case cellhold.RunCell:
		if p.cell = true; needsProgram {
			return invalid("A cell has no stdin, no args and no tests: remove them, or use the mode program.")
		}
		if p.language.kernel == "" {
			return invalid("Language %s has no kernel: use the mode program.", p.language.name)
		}
	default:
		return invalid("Invalid mode %.20q: use %q or %q.", q.Mode, cellhold.RunCell, cellhold.RunProgram)
	}
	return nil
}

// setTimes sets the timeout and the deadline.
func (p *plan) setTimes() error {
	q := p.request
	for name, s := range map[string]float64{"timeout": q.Timeout, "deadline": q.Deadline} {
		if !(s >= 0 && s <= maxDeadline.Seconds()) { // the negation also refuses NaN
			return invalid("Invalid %s %g: use 0 (the default) to %g seconds.", name, s, maxDeadline.Seconds())
		}
	}
	if p.deadline = seconds(q.Deadline); p.deadline == 0 {
		p.deadline = defaultDeadline
	}
	if p.timeout = seconds(q.Timeout); p.timeout > p.most {
		return invalid("Invalid timeout %s: use 0 (the default) to %s on this server.", p.timeout, p.most)
	}
	if p.timeout == 0 {
		p.timeout = min(p.deadline, p.most)
		if len(q.Tests) > 0 {
			p.timeout = min(testTimeout, p.most)
		}
	}
	return nil
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// setFiles decodes the files. The code is one of them, unless it is a cell.
func (p *plan) setFiles() error {
	q := p.request
	if len(q.Files) > maxFiles {
		return invalid("The run has %d files; the limit is %d. Send an archive as one file, and unpack it with a command.", len(q.Files), maxFiles)
	}
	seen := map[string]bool{}
	if q.Code != "" && !p.cell {
		p.files = append(p.files, file{p.language.file, q.Code})
		seen[path.Join(guestapi.WorkDir, p.language.file)] = true
	}
	for _, f := range q.Files {
		at := f.Path
		if !path.IsAbs(at) {
			at = path.Join(guestapi.WorkDir, at)
		}
		if f.Path == "" || len(f.Path) > guestapi.MaxFilePath || !utf8.ValidString(f.Path) || strings.ContainsRune(f.Path, 0) {
			return invalid("Invalid path %.100q of a file: use 1 to %d bytes of UTF-8 without zero bytes.", f.Path, guestapi.MaxFilePath)
		}
		if slices.Contains(strings.Split(f.Path, "/"), "..") {
			return invalid("Invalid path %.100q of a file: a path cannot contain \"..\".", f.Path)
		}
		if at = path.Clean(at); seen[at] {
			return invalid("The run has two files at %.100q: rename one of them. The code is the file %s.", f.Path, p.language.file)
		}
		seen[at] = true
		content, err := decodeFile(f)
		if err != nil {
			return err
		}
		p.files = append(p.files, file{f.Path, content})
	}
	return nil
}

func decodeFile(f cellhold.RunFile) (string, error) {
	switch f.Encoding {
	case "":
		return f.Content, nil
	case "base64":
		b, err := base64.StdEncoding.DecodeString(f.Content)
		if err != nil {
			return "", invalid("The content of file %.100q is not valid base64: %v.", f.Path, err)
		}
		return string(b), nil
	}
	return "", invalid("Invalid encoding %.20q of file %.100q: use base64, or leave it out for text.", f.Encoding, f.Path)
}

// checkTests refuses tests that cannot run.
func checkTests(q cellhold.RunRequest) error {
	if len(q.Tests) > maxTests {
		return invalid("The run has %d tests; the limit is %d. Send the rest as another run.", len(q.Tests), maxTests)
	}
	if len(q.Tests) > 0 && q.Stdin != "" {
		return invalid("A run with tests has no stdin of its own: send it with each test.")
	}
	for i, t := range q.Tests {
		switch {
		case t.Match != "" && t.Match != cellhold.RunTrimmed && t.Match != cellhold.RunExact:
			return invalid("Invalid match %.20q of test %d: use %q or %q.", t.Match, i, cellhold.RunTrimmed, cellhold.RunExact)
		case t.Stdout != nil && len(*t.Stdout) > maxExpected:
			return invalid("The expected output of test %d has %d bytes; the limit is %d.", i, len(*t.Stdout), maxExpected)
		case t.Exit < 0 || t.Exit > maxStatus:
			return invalid("Invalid exit_code %d of test %d: use 0 to %d.", t.Exit, i, maxStatus)
		case q.Command != "" && len(t.Args) > 0:
			return invalid("Test %d has args, and a command takes none: send code, or stdin.", i)
		}
	}
	return nil
}
