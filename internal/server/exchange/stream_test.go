package exchange

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// wrapped is a ResponseWriter that wraps another one, as handlers of other libraries need it.
type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestAReaderOfALargeRecordMustBeSteady: a reader of 20 KiB/s could keep memory of the server's budget for a minute.
func TestAReaderOfALargeRecordMustBeSteady(t *testing.T) {
	for name, test := range map[string]struct {
		size int
		wrap func(http.ResponseWriter) http.ResponseWriter
		slow bool
	}{
		"large":   {smallRecord + 1, func(w http.ResponseWriter) http.ResponseWriter { return w }, true},
		"wrapped": {smallRecord + 1, func(w http.ResponseWriter) http.ResponseWriter { return wrapped{wrapped{w}} }, true},
		"small":   {smallRecord, func(w http.ResponseWriter) http.ResponseWriter { return wrapped{w} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var failed error
				pacedRead(t, func(w http.ResponseWriter, r *http.Request) {
					w = test.wrap(w)
					out, _ := NewStream(r.Context(), w)
					defer out.Close()
					failed = out.Send(test.size, func() error {
						_, err := w.Write(make([]byte, 1<<20))
						return err
					})
				}, always(20<<10))
				wantSteady(t, failed, test.slow)
				if test.slow && !errors.Is(failed, ErrLeft) {
					t.Errorf("Send: got %v, want ErrLeft", failed)
				}
			})
		})
	}
}

// TestASignOfLifeDoesNotInterruptAPart: the reader reads the part over several intervals.
func TestASignOfLifeDoesNotInterruptAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inPart := false
		pacedRead(t, func(w http.ResponseWriter, r *http.Request) {
			out, _ := NewStream(r.Context(), w)
			defer out.Close()
			out.KeepAlive(time.Second, func() error {
				if inPart {
					t.Error("a sign of life was written in the middle of a part")
				}
				_, err := io.WriteString(w, ".")
				return err
			})
			if err := out.Send(smallRecord+1, func() error {
				inPart = true
				defer func() { inPart = false }()
				_, err := w.Write(make([]byte, 1<<20))
				return err
			}); err != nil {
				t.Error(err)
			}
		}, always(256<<10))
	})
}

func TestAStreamEndsWhenASignOfLifeFindsNoReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cause error
		var took time.Duration
		begun := time.Now()
		pacedRead(t, func(w http.ResponseWriter, r *http.Request) {
			out, ctx := NewStream(context.WithoutCancel(r.Context()), w)
			defer out.Close()
			out.KeepAlive(time.Second, func() error {
				_, err := w.Write(make([]byte, 64<<10))
				return err
			})
			<-ctx.Done()
			cause, took = context.Cause(ctx), time.Since(begun)
		}, always(10))
		if !errors.Is(cause, ErrLeft) || !errors.Is(cause, os.ErrDeadlineExceeded) || took > 2*steadyTime {
			t.Errorf("got the cause %v after %s, want ErrLeft within %s", cause, took, 2*steadyTime)
		}
	})
}
