package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
)

// scripted is a transport that answers each request with the next body. After the last one, requests fail.
type scripted struct {
	bodies []func() io.ReadCloser
	asked  []string
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked = append(s.asked, r.URL.RequestURI())
	if len(s.bodies) == 0 {
		return nil, errors.New("no more bodies")
	}
	body := s.bodies[0]()
	s.bodies = s.bodies[1:]
	context.AfterFunc(r.Context(), func() { body.Close() })
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: body, Request: r}, nil
}

func text(s string) func() io.ReadCloser {
	return func() io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }
}

// silent returns a connection that sends some bytes and then nothing.
func silent(first string) func() io.ReadCloser {
	return func() io.ReadCloser {
		near, far := net.Pipe()
		go func() { _, _ = io.WriteString(far, first) }()
		return near
	}
}

const endOfSession = "id: 3\nevent: session_ended\ndata: {\"seq\":3,\"type\":\"session_ended\"}\n\n"

func TestAWatchReplacesASilentConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{bodies: []func() io.ReadCloser{
			silent(": hello\n\nid: 1\nevent: stream\ndata: {\"seq\":1,\"type\":\"stream\"}\n\n"),
			text("data: {\"seq\":1,\"type\":\"stream\"}\n\nid: 2\nevent: new_sort\ndata: {\"seq\":2,\"type\":\"new_sort\",\"future\":1}\n\nevent: bye\ndata: {\"after\":2}\n\n"),
			text(endOfSession),
		}}
		c, err := New(Options{URL: "http://localhost", HTTP: &http.Client{Transport: s}})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		var seqs []int64
		for e, err := range c.Watch(t.Context(), "s", 0) {
			if err != nil {
				t.Fatal(err)
			}
			seqs = append(seqs, e.Seq)
		}
		if len(seqs) != 3 || seqs[0] != 1 || seqs[1] != 2 || seqs[2] != 3 {
			t.Errorf("got the events %v, want 1, 2 and 3", seqs)
		}
		if took := time.Since(begun); took < silence || took > silence+5*time.Second {
			t.Errorf("the watch took %s, want %s to %s", took, silence, silence+5*time.Second)
		}
		if want := "[/v1/sessions/s/events?after=0 /v1/sessions/s/events?after=1 /v1/sessions/s/events?after=2]"; strings.Join(s.asked, " ") != strings.Trim(want, "[]") {
			t.Errorf("got the requests %v, want %s", s.asked, want)
		}
	})
}

func TestAWatchOfAnUnreachableServerEndsAfterTheRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Options{URL: "http://localhost", HTTP: &http.Client{Transport: &scripted{}}})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		var last error
		for _, err := range c.Watch(t.Context(), "s", 0) {
			last = err
		}
		if cellhold.KindOf(last) != cellhold.Unavailable {
			t.Errorf("the watch ended with %v, want kind unavailable", last)
		}
		if took := time.Since(begun); took > defaultPatience || took < defaultPatience-5*time.Second {
			t.Errorf("the watch took %s, want %s to %s", took, defaultPatience-5*time.Second, defaultPatience)
		}
	})
}

func FuzzReadEvent(f *testing.F) {
	f.Add([]byte(endOfSession))
	f.Add([]byte("data:a\ndata: b\r\n\r\n: x\n\nevent"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bufio.NewReaderSize(strings.NewReader(string(stream)), 16)
		for read := 0; ; read++ {
			n, err := readEvent(r, func() {})
			if err != nil {
				return
			}
			if n.data == nil || read > len(stream) {
				t.Fatalf("event %d of %q is %+v, want data, and fewer events than bytes", read, stream, n)
			}
		}
	})
}
