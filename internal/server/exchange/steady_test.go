package exchange

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// pacedRead requests an answer, and reads it at a rate in bytes per second. It returns the number of bytes until the
// answer ends or the server disconnects.
func pacedRead(t *testing.T, h http.HandlerFunc, rate func(read int64) int64) (read int64) {
	t.Helper()
	done := make(chan struct{}) // closed when the handler has returned
	conn, end := serve(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		h(w, r)
	})
	defer end()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	const steps = 10 // of a second
	for {
		wait(time.Second / steps)
		n, err := io.CopyN(io.Discard, res.Body, rate(read)/steps)
		read += n
		if err != nil {
			<-done
			return read
		}
	}
}

// always is the rate of a steady reader.
func always(rate int64) func(int64) int64 { return func(int64) int64 { return rate } }

// wantSteady checks the first error of the writes of a handler.
func wantSteady(t *testing.T, err error, slow bool) {
	t.Helper()
	if slow && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write: got %v, want os.ErrDeadlineExceeded", err)
	} else if !slow && err != nil {
		t.Errorf("Write: got %v, want nil", err)
	}
}

func TestAReaderBelowTheRateOfASteadyAnswerIsDisconnected(t *testing.T) {
	const size = 32 << 20 // the largest cell
	for name, reader := range map[string]struct {
		rate int64
		slow bool
	}{"20 KiB/s": {20 << 10, true}, "100 KiB/s": {100 << 10, true}, "128 KiB/s": {128 << 10, false}, "200 KiB/s": {200 << 10, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var failed error
				begun := time.Now()
				read := pacedRead(t, func(w http.ResponseWriter, _ *http.Request) {
					defer Steady(w)()
					_, failed = w.Write(make([]byte, size))
				}, always(reader.rate))
				wantSteady(t, failed, reader.slow)
				// A reader that is slower must not have more time than one that reads at the rate and is then steadyTime late.
				if most := steadyTime + time.Duration(read+writePiece)*time.Second/steadyRate; time.Since(begun) > most {
					t.Errorf("the reader of %d bytes had %s, want at most %s", read, time.Since(begun), most)
				}
			})
		})
	}
}

func TestAFastReaderSavesNoTimeForALaterPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const fast, most = 64 << 20, 80 << 20
		var failed error
		read := pacedRead(t, func(w http.ResponseWriter, _ *http.Request) {
			defer Steady(w)()
			_, failed = w.Write(make([]byte, most))
		}, func(read int64) int64 {
			if read < fast {
				return fast
			}
			return 20 << 10
		})
		wantSteady(t, failed, true)
		if read > fast+8<<20 {
			t.Errorf("the reader got %d bytes after it became slow", read-fast)
		}
	})
}

func TestASteadyReaderDoesNotPayForTheWaitsOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed error
		pacedRead(t, func(w http.ResponseWriter, _ *http.Request) {
			defer Steady(w)()
			for i := 0; i < 10 && failed == nil; i++ {
				_, failed = w.Write(make([]byte, 1<<20))
				wait(time.Minute)
			}
		}, always(steadyRate))
		wantSteady(t, failed, false)
	})
}

// TestTheTimeIsSharedByTheSteadyParts: each part alone is short enough for a reader of 20 KiB/s.
func TestTheTimeIsSharedByTheSteadyParts(t *testing.T) {
	for name, test := range map[string]struct {
		pause time.Duration // of the server between the parts, without memory of the budget
		slow  bool
	}{"one after the other": {0, true}, "with pauses": {time.Minute, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var failed error
				pacedRead(t, func(w http.ResponseWriter, _ *http.Request) {
					for i := 0; i < 10 && failed == nil; i++ {
						end := Steady(w)
						if _, failed = w.Write(make([]byte, 256<<10)); failed == nil {
							failed = http.NewResponseController(w).Flush()
						}
						end()
						wait(test.pause)
					}
				}, always(20<<10))
				wantSteady(t, failed, test.slow)
			})
		})
	}
}

// TestAFlushOfASteadyPartCounts: the end of each part stays in the buffer, and the reader reads it as late as possible.
func TestAFlushOfASteadyPartCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed error
		pacedRead(t, func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < 100 && failed == nil; i++ {
				end := Steady(w)
				if _, failed = w.Write(make([]byte, 1000)); failed == nil {
					failed = http.NewResponseController(w).Flush()
				}
				end()
			}
		}, always(500))
		wantSteady(t, failed, true)
	})
}
