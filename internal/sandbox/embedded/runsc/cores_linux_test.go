package runsc

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
)

// configured returns an open configuration with this text.
func configured(t *testing.T, text string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return "--spec-fd=" + strconv.Itoa(int(f.Fd()))
}

func TestASandboxProcessIsToldTheProcessorsOfItsConfiguration(t *testing.T) {
	n := strconv.Itoa(runtime.NumCPU()) // all processors, so that the test does not change its own process
	flag := configured(t, `{"annotations": {"cellhold.cores": "`+n+`"}}`)
	want := []string{"runsc-sandbox", "--root=/x", "boot", "--cpu-num", n, flag, "--total-memory", "1", "s"}
	for name, args := range map[string][]string{
		"gVisor's number is replaced":     {"runsc-sandbox", "--root=/x", "boot", flag, "--cpu-num", "64", "--total-memory", "1", "s"},
		"without a control group":         {"runsc-sandbox", "--root=/x", "boot", flag, "--total-memory", "1", "s"},
		"a process that starts once more": want,
	} {
		before := slices.Clone(args)
		if got, err := withCores(args); err != nil || !slices.Equal(got, want) || !slices.Equal(args, before) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, args := range map[string][]string{
		"no configuration": {"runsc-sandbox", "boot", "s"},
		"no annotation":    {"runsc-sandbox", "boot", configured(t, `{}`), "s"},
		"no number":        {"runsc-sandbox", "boot", configured(t, `{"annotations": {"cellhold.cores": "0"}}`), "s"},
		"no JSON":          {"runsc-sandbox", "boot", configured(t, `x`), "s"},
	} {
		if got, err := withCores(args); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}
