package contender

import (
	"bytes"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// pretended starts a fake contender without kernels.
func pretended(t *testing.T) *Driver {
	t.Helper()
	drivers, err := filepath.Abs("../drivers")
	if err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("testdata/pretended.py")
	if err != nil {
		t.Fatal(err)
	}
	d, err := StartDriver(Python{Program: "python3", Env: []string{"PYTHONPATH=" + drivers, "PYTHONDONTWRITEBYTECODE=1"}, Dir: t.TempDir()}, script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestAContendersProgramAnswersManyRequestsAtOnce(t *testing.T) {
	d := pretended(t)
	var all sync.WaitGroup
	for _, code := range []string{"a", "b", "plot", "c", "d"} {
		all.Go(func() {
			s, err := d.Open(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			out, err := s.Run(t.Context(), code)
			if err != nil || out.Text != strings.ToUpper(code) || bytes.Equal(out.PNG, []byte("\x89PNG")) != (code == "plot") {
				t.Errorf("%s: got %q, a picture of %d bytes, %v", code, out.Text, len(out.PNG), err)
			}
			if took, err := s.Time(t.Context(), code, 3); err != nil || len(took) != 3 || took[0] <= 0 {
				t.Errorf("%s took %v, %v", code, took, err)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestErrorsAndTheEndOfAContendersProgramAreReported(t *testing.T) {
	d := pretended(t)
	s, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context(), "raise"); err == nil || err.Error() != "ValueError: as asked" {
		t.Errorf("code that raises gave %v", err)
	}
	if _, err := s.Run(t.Context(), "die"); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("a program that died gave %v", err)
	}
	if _, err := s.Run(t.Context(), "a"); err == nil {
		t.Error("a dead program answers")
	}
}
