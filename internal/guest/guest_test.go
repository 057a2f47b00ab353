package guest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
)

// clientOf returns a client whose agent is the handler.
func clientOf(t *testing.T, h http.HandlerFunc) *guest.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := guest.New(guest.Options{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.Listener.Addr().String())
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAnEndlessAnswerIsCutOff(t *testing.T) {
	endless := func(prefix string, chunk []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte(prefix))
			for r.Context().Err() == nil {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}
	}
	zeros := bytes.Repeat([]byte("0"), 64<<10)
	c := clientOf(t, endless(`{"seq":`, zeros))
	for _, err := range c.Kernel("k").Events(t.Context(), 0) {
		if cellhold.KindOf(err) != cellhold.Internal {
			t.Errorf("events: %v, want internal", err)
		}
	}
	if _, err := c.Info(t.Context()); cellhold.KindOf(err) != cellhold.Internal {
		t.Errorf("info: %v, want internal", err)
	}
	if err := c.Kernel("k").Interrupt(t.Context(), ""); err != nil {
		t.Errorf("interrupt: %v; want no error, because the body of its answer is not used", err)
	}
	c = clientOf(t, endless("[", []byte(strings.Repeat("{},", 1000))))
	if _, err := c.Files(t.Context()); cellhold.KindOf(err) != cellhold.Internal {
		t.Errorf("files: %v, want internal", err)
	}
}

func TestEndlessHeadersAndRedirectsAreRefused(t *testing.T) {
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
	})
	if _, err := c.Info(t.Context()); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Errorf("headers: %v", err)
	}
	calls := 0
	c = clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		http.Redirect(w, r, "http://169.254.169.254/", http.StatusTemporaryRedirect)
	})
	if err := c.Kernel("k").Execute(t.Context(), guestapi.Execute{}); err == nil || calls != 1 {
		t.Errorf("redirect: %v after %d calls, want an error after one", err, calls)
	}
}

func TestAnErrorAnswerHasAKindAndAMessage(t *testing.T) {
	for status, want := range map[int]cellhold.Kind{
		400: cellhold.Invalid, 404: cellhold.NotFound, 409: cellhold.Conflict, 413: cellhold.Exhausted, 500: cellhold.Internal,
	} {
		c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			w.Write([]byte("{\"error\":\"No\\nway\\u001b[31m\"}"))
		})
		err := c.Kernel("k").Restart(t.Context())
		var e *cellhold.Error
		if !errors.As(err, &e) || e.Kind != want || e.Message != "No way [31m" {
			t.Errorf("%d: %v, want %s", status, err, want)
		}
	}
}

func TestAnotherVersionIsUnsupported(t *testing.T) {
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`{"version":99,"boot":"b"}`)) })
	if _, err := c.Info(t.Context()); cellhold.KindOf(err) != cellhold.Unsupported {
		t.Errorf("%v, want unsupported", err)
	}
}

// agentOf returns a client of an agent with that version of the protocol. The agent answers only /v1/info.
func agentOf(t *testing.T, version int) *guest.Client {
	return clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/info" {
			http.NotFound(w, r) // like a router with an unknown path
			return
		}
		fmt.Fprintf(w, `{"version":%d,"boot":"b","kernels":[{"id":"k","state":"idle","last":7}]}`, version)
	})
}

func TestAnAgentOfThePreviousVersionIsSupported(t *testing.T) {
	c := agentOf(t, guestapi.Version-1)
	if info, err := c.Info(t.Context()); err != nil || info.Version != guestapi.Version-1 || info.Kernels[0].Last != 7 {
		t.Errorf("%+v %v, want its state", info, err)
	}
}

func TestAnAgentBeforeThePreviousVersionIsUnsupported(t *testing.T) {
	if _, err := agentOf(t, 3).Kernel("k").OpenWire(t.Context()); cellhold.KindOf(err) != cellhold.Unsupported {
		t.Errorf("a wire: %v, want unsupported", err)
	}
	c := agentOf(t, 2)
	if _, err := c.Renew(t.Context(), guestapi.Renew{Timeout: time.Second}); cellhold.KindOf(err) != cellhold.Unsupported {
		t.Errorf("renew: %v, want unsupported", err)
	}
	if _, err := c.Kernel("k").Prepare(t.Context(), guestapi.Prepare{Timeout: time.Second}); cellhold.KindOf(err) != cellhold.Unsupported {
		t.Errorf("prepare: %v, want unsupported", err)
	}
}

func TestTheAnswerOfARenewalIsChecked(t *testing.T) {
	for _, answer := range []string{
		`{"version":3,"boot":""}`, `{"version":3,"boot":"b","kernels":[{"id":"../k","state":"idle"}]}`, `{"version":9,"boot":"b"}`, `[]`,
		`{"version":3,"boot":"b","kernels":[` + strings.Repeat(" ", 1<<20) + `]}`,
	} {
		c := clientOf(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, answer) })
		if info, err := c.Renew(t.Context(), guestapi.Renew{Timeout: time.Second}); err == nil {
			t.Errorf("%.60s became %+v", answer, info)
		}
	}
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"error":"`+strings.Repeat("\\u001b", 900)+`"}`)
	})
	if p, err := c.Kernel("k").Prepare(t.Context(), guestapi.Prepare{Timeout: time.Second}); err != nil || strings.ContainsRune(p.Error, 0x1b) {
		t.Errorf("%q %v, want no control sequences", p.Error, err)
	}
}

func TestEventsEndWhenTheLinkBreaksOrTheContextEnds(t *testing.T) {
	const event = `{"seq":3,"cell":"c1","type":"stream","content":{"name":"stdout","text":"x"}}` + "\n"
	broken := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, event+`{"seq":4,`)
	})
	var got []int64
	for e, err := range broken.Kernel("k").Events(t.Context(), 2) {
		if err == nil {
			got = append(got, e.Seq)
		} else if cellhold.KindOf(err) != cellhold.Unavailable {
			t.Errorf("the end is %v, want unavailable", err)
		}
	}
	if len(got) != 1 || got[0] != 3 {
		t.Errorf("events %v, want 3", got)
	}

	silent := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, event)
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, err := range silent.Kernel("k").Events(ctx, 0) {
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the end is %v, want canceled", err)
		}
		cancel()
	}
}

func TestFilesAreSentAndReadWithTheirSizes(t *testing.T) {
	var body []byte
	var length int64
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			length = r.ContentLength
			body, _ = io.ReadAll(r.Body)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		io.WriteString(w, "much more than was asked for")
	})
	for _, content := range []string{"a,b\n1,2\n", ""} {
		if err := c.WriteFile(t.Context(), "dir/a.csv", strings.NewReader(content), int64(len(content))); err != nil {
			t.Fatal(err)
		}
		if string(body) != content || length != int64(len(content)) {
			t.Errorf("sent %q of length %d, want %q", body, length, content)
		}
	}
	r, err := c.ReadFile(t.Context(), "x", 4)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "much" {
		t.Errorf("%q %v, want 4 bytes", b, err)
	}
	if _, err := c.ReadFile(t.Context(), "../x", 4); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("a path that leads out: %v", err)
	}
}
