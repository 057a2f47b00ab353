package link_test

import (
	"io"
	"testing"
)

// BenchmarkPingPong sends 300 bytes and reads 300 bytes, as one cell does.
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

// BenchmarkThroughput sends and reads data at the same time.
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
