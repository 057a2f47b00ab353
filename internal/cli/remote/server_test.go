package remote

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheTokenOfTheHomeStaysOnThisMachine(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, TokenFile)
	if err := os.WriteFile(file, []byte("# tokens\nme secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"http://127.0.0.1:5002", "http://127.9.9.9", "http://[::1]:5002", "https://LOCALHOST"} {
		if token, err := homeToken(url, file); token != "secret" || err != nil {
			t.Errorf("%s: got the token %q and %v, want that of the home", url, token, err)
		}
	}
	for _, url := range []string{"https://example.org", "http://10.0.0.1:5002", "http://127.0.0.1.example.org", "http://localhost.example.org", "http://0.0.0.0", "http://:5002"} {
		if _, err := NewClient(url, "", home); err == nil || !strings.Contains(err.Error(), "set CELLHOLD_TOKEN") {
			t.Errorf("%s: got %v, want an error that names CELLHOLD_TOKEN", url, err)
		}
		if _, err := NewClient(url, "other", home); err != nil {
			t.Errorf("%s with a token: %v", url, err)
		}
		if _, err := NewClient(url, "", t.TempDir()); err != nil {
			t.Errorf("%s with an empty home: %v", url, err)
		}
	}
}
