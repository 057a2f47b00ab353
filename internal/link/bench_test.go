package link_test

import (
	"io"
	"testing"
)

// The request and the answer have 300 bytes each, as for one cell.
func BenchmarkPingPong(b *testing.B) {
	f := newFIFOs(b)
	f.echo(b)
	c, err := f.attach(b).Dial(within(b))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 300)
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// Data flows in both directions at once, as when a large file is sent and comes back.
func BenchmarkThroughput(b *testing.B) {
	f := newFIFOs(b)
	f.echo(b)
	c, err := f.attach(b).Dial(within(b))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 1<<20)
	back := make([]byte, len(buf))
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(buf)
			sent <- err
		}()
		if _, err := io.ReadFull(c, back); err != nil {
			b.Fatal(err)
		}
		if err := <-sent; err != nil {
			b.Fatal(err)
		}
	}
}
