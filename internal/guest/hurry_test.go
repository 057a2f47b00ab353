package guest

import (
	"net"
	"testing"
	"time"
)

func TestHurryEndsAnAnswerWithoutAReader(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := &CodeConn{conn: ours}
	defer c.Close()
	began := time.Now()
	said := make(chan error, 1)
	go func() { said <- c.Say("a") }()
	one := make([]byte, 1)
	if _, err := theirs.Read(one); err != nil { // the write is in progress
		t.Fatal(err)
	}
	c.Hurry()
	if err := <-said; err == nil {
		t.Error("the first line was sent")
	}
	if err := c.Say("b"); err == nil {
		t.Error("another line was sent")
	}
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("the write took %s", took)
	}
}
