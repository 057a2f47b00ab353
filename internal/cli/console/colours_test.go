package console

import (
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns a terminal to write to.
func terminal(t *testing.T) *os.File {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	return theirs
}

func TestColoursNeedATerminalAndAreTurnedOffByNO_COLOR(t *testing.T) {
	tty := terminal(t)
	for _, test := range []struct {
		out     io.Writer
		environ []string
		want    bool
	}{
		{tty, nil, true},
		{tty, []string{"NO_COLOR="}, true}, // the standard: only a value that is not empty counts
		{tty, []string{"NO_COLOR=1"}, false},
		{&strings.Builder{}, nil, false},
	} {
		terminal := &Terminal{Environ: test.environ}
		if got := terminal.Colours(test.out); got != test.want {
			t.Errorf("%T with %q: got %t, want %t", test.out, test.environ, got, test.want)
		}
	}
}
