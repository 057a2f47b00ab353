package fake

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/agent/command"
)

// Spawner runs fake commands. The first word selects the command:
//
//	echo WORDS   writes the words and a line feed to stdout; warn writes to stderr
//	cat          copies its input
//	bytes N      writes N bytes, cycling through all 256 values
//	exit N       exits with N
//	wait         runs until a signal comes
//	stubborn     runs until SIGKILL comes
//	size         with a terminal: writes its size, and again after each change, until input comes
//	write F WORDS   writes the words to a file
//	python3 F    runs the lines of a file as commands, until one exits with a status other than 0; - is
//	             the input. bash does the same.
//
// The programs missing and rustc do not exist. A semicolon separates commands. The exit status is that of the last command.
type Spawner struct {
	Dir string // directory of relative file names
}

var _ command.Spawner = Spawner{}

// Spawn starts a fake command.
func (w Spawner) Spawn(s command.Spec) (command.Process, error) {
	line := s.Line
	if line == "" {
		line = strings.Join(s.Args, " ")
	}
	if name, _, _ := strings.Cut(line, " "); name == "missing" || name == "rustc" {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	p := &pretended{dir: w.Dir, terminal: s.Terminal, done: make(chan struct{}), signals: make(chan syscall.Signal, 64), resized: make(chan cellhold.Terminal, 64)}
	var err error
	var out, warn *os.File
	if p.stdin, p.in, err = os.Pipe(); err != nil {
		return nil, err
	}
	if out, p.stdout, err = os.Pipe(); err != nil {
		return nil, err
	}
	p.outputs = []command.Output{{Name: "stdout", Reader: out}}
	if s.Terminal == nil {
		if warn, p.stderr, err = os.Pipe(); err != nil {
			return nil, err
		}
		p.outputs = append(p.outputs, command.Output{Name: "stderr", Reader: warn})
	} else {
		p.stderr = p.stdout
	}
	go p.run(line) // Kill closes its input and sends SIGKILL, so run ends; Kill does not wait for the end
	return p, nil
}

// fakePID is the process id of all fake commands.
const fakePID = 1000

// pretended is a fake process.
type pretended struct {
	dir                       string
	in, stdin, stdout, stderr *os.File
	outputs                   []command.Output
	terminal                  *cellhold.Terminal
	signals                   chan syscall.Signal
	resized                   chan cellhold.Terminal
	done                      chan struct{}
	once                      sync.Once
	code                      int
	sig                       syscall.Signal
}

func (p *pretended) run(line string) {
	code := 0
	for part := range strings.SplitSeq(line, ";") {
		code = p.step(strings.Fields(part))
	}
	p.end(code, 0)
}

// end ends the process. The first call sets the exit status.
func (p *pretended) end(code int, sig syscall.Signal) {
	p.once.Do(func() {
		p.code, p.sig = code, sig
		p.stdin.Close()
		p.stdout.Close()
		if p.stderr != p.stdout {
			p.stderr.Close()
		}
		close(p.done)
	})
}

func (p *pretended) step(words []string) (code int) {
	if len(words) == 0 {
		return 0
	}
	number := 0
	if len(words) > 1 {
		number, _ = strconv.Atoi(words[1])
	}
	switch words[0] {
	case "echo":
		fmt.Fprintln(p.stdout, strings.Join(words[1:], " "))
	case "warn":
		fmt.Fprintln(p.stderr, strings.Join(words[1:], " "))
	case "cat":
		_, _ = io.Copy(p.stdout, p.stdin)
	case "bytes":
		w := bufio.NewWriter(p.stdout)
		for i := range number {
			_ = w.WriteByte(byte(i))
		}
		_ = w.Flush()
	case "write":
		if err := os.WriteFile(filepath.Join(p.dir, words[1]), []byte(strings.Join(words[2:], " ")+"\n"), 0o644); err != nil {
			return 1
		}
	case "python3", "bash":
		return p.script(words[1])
	case "exit":
		return number
	case "wait", "stubborn":
		p.await(words[0] == "stubborn")
	case "size":
		p.size()
	}
	return 0
}

// script runs the lines of a file as commands.
func (p *pretended) script(name string) (code int) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(p.stdin)
	} else {
		text, err = os.ReadFile(filepath.Join(p.dir, name))
	}
	if err != nil {
		fmt.Fprintln(p.stderr, err)
		return 2
	}
	for line := range strings.Lines(string(text)) {
		if code = p.step(strings.Fields(line)); code != 0 {
			return code
		}
	}
	return 0
}

func (p *pretended) await(stubborn bool) {
	for sig := range p.signals {
		if !stubborn || sig == syscall.SIGKILL {
			p.end(0, sig)
			return
		}
	}
}

func (p *pretended) size() {
	input := make(chan struct{})
	go func() { // ends with the input, which Kill closes
		defer close(input)
		_, _ = p.stdin.Read(make([]byte, 1))
	}()
	size := *p.terminal
	for {
		fmt.Fprintln(p.stdout, size.Rows, size.Cols)
		select {
		case size = <-p.resized:
		case <-input:
			return
		}
	}
}

// PID returns the same id for all commands.
func (p *pretended) PID() int { return fakePID }

func (p *pretended) Input() io.WriteCloser     { return p.in }
func (p *pretended) Outputs() []command.Output { return p.outputs }
func (p *pretended) Done() <-chan struct{}     { return p.done }

func (p *pretended) Exit() (code int, sig syscall.Signal) { return p.code, p.sig }

func (p *pretended) Signal(sig syscall.Signal) error {
	select {
	case p.signals <- sig:
	default: // nothing receives signals
	}
	return nil
}

func (p *pretended) Resize(t cellhold.Terminal) error {
	select {
	case p.resized <- t:
	case <-time.After(time.Second):
	}
	return nil
}

func (p *pretended) Kill() {
	p.end(0, syscall.SIGKILL)
	_ = p.Signal(syscall.SIGKILL)
}
