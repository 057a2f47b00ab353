package picture

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// queryTime limits the wait for the answer of a terminal. Most answer within 50 ms, also over a slow connection.
const queryTime = 300 * time.Millisecond

// Detect returns the protocol of a terminal, and whether it is a pane of tmux. First the environment decides. If it names
// no protocol, Detect asks the terminal. Keys that are typed within this time are lost. getenv returns a variable of the
// environment.
func Detect(in, out *os.File, getenv func(string) string) (Protocol, bool) {
	tmux := getenv("TMUX") != ""
	if !tmux { // the variables of the outer terminal are visible in tmux too, but tmux draws
		if p := named(getenv); p != None {
			return p, false
		}
	}
	if in == nil || out == nil || getenv("TERM") == "dumb" {
		return None, tmux
	}
	return answered(ask(in, out, tmux)), tmux
}

// named returns the protocol of a terminal that the environment names.
func named(getenv func(string) string) Protocol {
	program, kind := getenv("TERM_PROGRAM"), getenv("TERM")
	switch {
	case getenv("KITTY_WINDOW_ID") != "" || strings.Contains(kind, "kitty") || program == "ghostty" || strings.Contains(kind, "ghostty"):
		return Kitty
	case program == "iTerm.app" || program == "WezTerm" || getenv("LC_TERMINAL") == "iTerm2":
		return ITerm
	}
	return None
}

// The questions to a terminal. All terminals answer the second one, so its answer ends the wait.
const (
	kittyQuestion  = "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
	deviceQuestion = "\x1b[c"
)

// ask sends the questions, and returns what the terminal sent until the last answer or the deadline.
func ask(in, out *os.File, tmux bool) string {
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return ""
	}
	defer func() { _ = term.Restore(int(in.Fd()), state) }()
	question := kittyQuestion + deviceQuestion
	if tmux {
		question = deviceQuestion // tmux does not know kitty's protocol
	}
	if _, err := out.WriteString(question); err != nil {
		return ""
	}
	var got []byte
	for until := time.Now().Add(queryTime); !device.Match(got) && len(got) < 1<<10; {
		left := time.Until(until)
		if left <= 0 {
			break
		}
		ready := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, int(left.Milliseconds())+1)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			break
		}
		buf := make([]byte, 256)
		n, err = unix.Read(int(in.Fd()), buf)
		if err != nil || n <= 0 {
			break
		}
		got = append(got, buf[:n]...)
	}
	return string(got)
}

// device is the answer to deviceQuestion. Its numbers are features; 4 is sixel.
var device = regexp.MustCompile("\x1b\\[\\?([0-9;]*)c")

// answered returns the protocol that the answers of a terminal allow.
func answered(got string) Protocol {
	m := device.FindStringSubmatch(got)
	switch {
	case strings.Contains(got, "\x1b_Gi=31;OK"):
		return Kitty
	case m != nil && slices.Contains(strings.Split(m[1], ";"), "4"):
		return Sixel
	}
	return None
}
