package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cellhold/client"
)

func TestTheStockImageWorksAfterExportAndImport(t *testing.T) {
	t.Parallel()
	stock, home, archive := imageHome(t), emptyHome(t), filepath.Join(t.TempDir(), "image.tar")
	cellhold := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), binary(t), args...).CombinedOutput()
		if err != nil {
			t.Fatalf("cellhold %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	cellhold("--home", stock, "image", "export", "python", archive)
	cellhold("--home", home, "image", "import", archive)
	if list := cellhold("--home", home, "image", "ls"); !strings.Contains(list, "\npython:latest ") || !strings.Contains(list, "which says it was made from the recipe python") {
		t.Errorf("the images are\n%s\nwant python:latest with its claimed recipe", list)
	}
	s := templated(t, home, "--warm=1")
	s.awaitReady(t, 1)
	id := s.session(t, client.CreateSession{})
	if got := s.oneLine(t, id, loaded); got != warm {
		t.Errorf("loaded is %s, want %s", got, warm)
	}
	if _, early := s.sandboxes(t); early == 0 {
		t.Error("got 0 warm sandboxes, want at least 1")
	}
	if got := s.oneLine(t, id, "import os, socket\nprint(os.path.realpath('/content'), socket.gethostbyname(socket.gethostname()))"); got != "/workspace 127.0.0.1" {
		t.Errorf("the folder and the address are %s, want %s", got, "/workspace 127.0.0.1")
	}
	if got := strings.TrimSpace(s.line(t, id, "python3 -c 'import pip; print(pip.__name__)'; id -un")); got != "pip\nuser" {
		t.Errorf("a command prints %q, want %q", got, "pip\nuser")
	}
}
