package jupytertest

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"cellhold/internal/jupyter"
)

// Toy is a small language with one statement per line. A kernel that speaks it keeps its variables from
// cell to cell.
//
//	print TEXT           write TEXT and a newline to stdout
//	warn TEXT            write TEXT and a newline to stderr
//	set NAME VALUE       set a variable
//	get NAME             show the variable as the result; NameError if there is none
//	add NAME N           add a number to a variable
//	result TEXT          show TEXT as the result
//	display MIME DATA    show DATA under a MIME type
//	error NAME MESSAGE   fail with an exception; later lines do not run
//	input NAME PROMPT    ask for a line and keep it in a variable
//	sleep DURATION       wait, such as 50ms; an interrupt ends it with KeyboardInterrupt
//	loop                 wait for an interrupt
//	stubborn             wait, and ignore interrupts; only the end of the kernel ends it
//	exit N               end the kernel with status N, without a message
//	kill [N]             end the kernel by signal N (9), without a message
//	late TEXT            print TEXT after the cell's idle status
//	flood N              send N display_data messages
//	big N                send one stream message of N bytes
//	queue TEXT           print TEXT, but only queue it: it arrives when the kernel dies, over a stream
//	overflow N           queue N bytes
//	blurt TEXT           print TEXT even if the request is silent
//	rekey KEY SESSION    use a new key and a new session id from now on
//	tamper HOW           make every later rekey hang, raise (an error), lie (do nothing) or die
//	forge                send a false idle status in the middle of the cell
//	ask N SIZE           ask N questions of SIZE bytes without waiting for answers
//	odd HOW              send a message whose header is large (HOW is large), or not UTF-8 (HOW is bytes)
//	noidle, noreply      do not send the idle status or the reply
//
// Empty lines and lines that begin with #, %, import or from do nothing, so that a preamble for Python can
// run. Everything else is a SyntaxError.
func Toy() Script { return ToyWith(new(Variables)) }

// ToyWith is Toy with given variables.
func ToyWith(variables *Variables) Script {
	return func(c *Cell) {
		for line := range strings.Lines(c.Code) {
			word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			statement := toy[word]
			if statement == nil {
				if word != "" && !strings.HasPrefix(word, "#") && !strings.HasPrefix(word, "%") {
					c.Fail("SyntaxError", fmt.Sprintf("%q is not a word of this language", word))
					return
				}
				continue
			}
			first, second, _ := strings.Cut(rest, " ")
			if !statement(toyLine{c, variables, rest, first, second}) {
				return
			}
		}
	}
}

// Variables are the variables of one kernel that speaks Toy. The zero value has none. The methods are safe
// for concurrent use.
type Variables struct {
	mu sync.Mutex
	of map[string]string
}

// Clone returns a copy.
func (v *Variables) Clone() *Variables {
	v.mu.Lock()
	defer v.mu.Unlock()
	return &Variables{of: maps.Clone(v.of)}
}

func (v *Variables) get(name string) (value string, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	value, ok = v.of[name]
	return value, ok
}

func (v *Variables) set(name, value string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of == nil {
		v.of = make(map[string]string)
	}
	v.of[name] = value
}

// toyLine is one statement to run.
type toyLine struct {
	*Cell
	vars                *Variables
	rest, first, second string
}

// toy maps each word to its statement. A statement returns false to end the cell. Unknown words are errors,
// so import needs an entry.
var toy = map[string]func(toyLine) bool{
	"import":   func(toyLine) bool { return true },
	"from":     func(toyLine) bool { return true },
	"print":    func(l toyLine) bool { l.Stream("stdout", l.rest+"\n"); return true },
	"warn":     func(l toyLine) bool { l.Stream("stderr", l.rest+"\n"); return true },
	"result":   func(l toyLine) bool { l.Result(l.rest); return true },
	"set":      func(l toyLine) bool { l.vars.set(l.first, l.second); return true },
	"get":      toyLine.get,
	"add":      toyLine.add,
	"display":  func(l toyLine) bool { l.Display(l.first, l.second); return true },
	"error":    func(l toyLine) bool { l.Fail(l.first, l.second); return false },
	"input":    toyLine.input,
	"sleep":    toyLine.sleep,
	"loop":     func(l toyLine) bool { return l.wait(nil) },
	"stubborn": func(l toyLine) bool { <-l.Killed(); return false },
	"exit":     func(l toyLine) bool { l.Exit(l.number(1)); return false },
	"kill":     func(l toyLine) bool { l.Kill(syscall.Signal(l.number(9))); return false },
	"late":     func(l toyLine) bool { l.After(func() { l.Stream("stdout", l.rest+"\n") }); return true },
	"flood":    toyLine.flood,
	"big":      func(l toyLine) bool { l.Stream("stdout", strings.Repeat("x", l.number(1))); return true },
	"queue":    func(l toyLine) bool { l.Queue(l.rest + "\n"); return true },
	"overflow": func(l toyLine) bool { l.Queue(strings.Repeat("x", l.number(1<<20))); return true },
	"blurt":    func(l toyLine) bool { l.Send("stream", streamContent("stdout", l.rest+"\n")); return true },
	"rekey":    toyLine.rekey,
	"tamper":   func(l toyLine) bool { l.vars.set("tamper", l.first); return true },
	"forge":    func(l toyLine) bool { l.Send("status", map[string]string{"execution_state": "idle"}); return true },
	"ask":      toyLine.ask,
	"odd":      toyLine.odd,
	"noidle":   func(l toyLine) bool { l.NoIdle = true; return true },
	"noreply":  func(l toyLine) bool { l.NoReply = true; return true },
}

func (l toyLine) get() bool {
	v, ok := l.vars.get(l.first)
	if !ok {
		l.Fail("NameError", fmt.Sprintf("name '%s' is not defined", l.first))
		return false
	}
	l.Result(v)
	return true
}

func (l toyLine) add() bool {
	v, _ := l.vars.get(l.first)
	a, err := strconv.Atoi(v)
	b, err2 := strconv.Atoi(l.second)
	if err != nil || err2 != nil {
		l.Fail("ValueError", "add needs a variable that holds a number, and a number")
		return false
	}
	l.vars.set(l.first, strconv.Itoa(a+b))
	return true
}

// rekey sets the key and the session id, unless earlier code ran tamper.
func (l toyLine) rekey() bool {
	tamper, _ := l.vars.get("tamper")
	switch tamper {
	case "hang":
		return l.wait(nil)
	case "raise":
		l.Fail("RuntimeError", "no new key")
		return false
	case "lie":
		return true
	case "die":
		l.Exit(1)
		return false
	}
	l.k.mu.Lock()
	defer l.k.mu.Unlock()
	l.k.key, l.k.session = l.first, l.second
	return true
}

func (l toyLine) input() bool {
	v, err := l.Input(l.second)
	if err == ErrInterrupted {
		l.Fail("KeyboardInterrupt", "")
	} else if err != nil {
		l.Fail("StdinNotImplementedError", err.Error())
	}
	l.vars.set(l.first, v)
	return err == nil
}

func (l toyLine) sleep() bool {
	d, err := time.ParseDuration(l.first)
	if err != nil {
		l.Fail("ValueError", err.Error())
		return false
	}
	return l.wait(time.After(d))
}

// wait waits until end receives, and returns true. After an interrupt or the end of the kernel it returns false.
func (l toyLine) wait(end <-chan time.Time) bool {
	select {
	case <-end:
		return true
	case <-l.Interrupted():
		l.Fail("KeyboardInterrupt", "")
	case <-l.Killed():
	}
	return false
}

func (l toyLine) flood() bool {
	for i := range l.number(1000) {
		select {
		case <-l.Interrupted():
			l.Fail("KeyboardInterrupt", "")
			return false
		case <-l.Killed():
			return false
		default:
			l.Display("text/plain", strconv.Itoa(i))
		}
	}
	return true
}

func (l toyLine) ask() bool {
	size, _ := strconv.Atoi(l.second)
	for range l.number(1) {
		l.Ask(strings.Repeat("?", size))
	}
	return true
}

// odd sends a message that only code with a fault or a bad intention sends.
func (l toyLine) odd() bool {
	header := map[string]string{
		"large": `{"msg_type":"odd","username":"` + strings.Repeat("<", 15<<10) + `"}`, // JSON encoders of Go write six bytes for each <
		"bytes": "{\"msg_type\":\"odd\",\"msg_id\":\"1\",\"username\":\"" + strings.Repeat("\xff.", 2<<10) + "\"}",
	}[l.first]
	l.Forge(jupyter.Message{
		Channel: jupyter.IOPub, Header: jupyter.Header{MsgType: "odd"}, RawHeader: []byte(header), Content: []byte("{\"text\":\"\xfe\"}"),
	})
	return true
}

// number returns the first argument, or fallback if the argument is not a number.
func (l toyLine) number(fallback int) int {
	if n, err := strconv.Atoi(l.first); err == nil {
		return n
	}
	return fallback
}
