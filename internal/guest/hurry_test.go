package guest

import (
	"net"
	"testing"
	"time"
)

func TestAnAnswerThatNobodyReadsEndsSoonOnceItHasToHurry(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := &CodeConn{conn: ours}
	defer c.Close()
	began := time.Now()
	said := make(chan error, 1)
	go func() { said <- c.Say("a") }()
	one := make([]byte, 1)
	if _, err := theirs.Read(one); err != nil { // the writing is under way
		t.Fatal(err)
	}
	c.Hurry()
	if err := <-said; err == nil {
		t.Error("it was said")
	}
	if err := c.Say("b"); err == nil {
		t.Error("another line was said")
	}
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("it took %s", took)
	}
}
