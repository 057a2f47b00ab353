package specs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const good = `{"argv":["python3"],"display_name":"P","language":"python","metadata":{"a":1}}`

// rootfs writes files below a new root file system.
func rootfs(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const kernels = "usr/local/share/jupyter/kernels/"

func TestTheKernelspecsOfAnImageAreReadWithTheirLogos(t *testing.T) {
	root := rootfs(t, map[string]string{
		kernels + "python3/kernel.json": good, kernels + "python3/logo-svg.svg": "<svg/>", kernels + "python3/kernel.js": "alert(1)",
		"usr/share/jupyter/kernels/python3/kernel.json": `{"argv":["other"],"display_name":"Other"}`,
		"usr/share/jupyter/kernels/bash/kernel.json":    `{"argv":["bash"],"display_name":"B","interrupt_mode":"message"}`,
	})
	all, err := Read(root)
	if err != nil || len(all) != 2 {
		t.Fatalf("got %+v, %v; want bash and python3", all, err)
	}
	if b, p := all[0], all[1]; b.Name != "bash" || b.InterruptMode != "message" || p.Name != "python3" || p.DisplayName != "P" || p.InterruptMode != "signal" || len(p.Logos) != 1 || p.Logos[0] != "logo-svg.svg" {
		t.Errorf("got %+v", all)
	}
	if logo, err := Logo(root, "python3", "logo-svg.svg"); err != nil || string(logo) != "<svg/>" {
		t.Errorf("the logo: got %q, %v", logo, err)
	}
	for _, name := range []string{"kernel.js", "kernel.json", "logo-64x64.png", "../python3/logo-svg.svg"} {
		if b, err := Logo(root, "python3", name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %q, %v; want no such file", name, b, err)
		}
	}
}

func TestAHostileImageShowsNoFilesOfTheHost(t *testing.T) {
	outside := t.TempDir()
	for name, text := range map[string]string{"kernel.json": good, "logo-svg.svg": "secret"} {
		if err := os.WriteFile(filepath.Join(outside, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root := rootfs(t, map[string]string{
		kernels + "large/kernel.json":    `{"argv":["a"],"x":"` + strings.Repeat("x", maxFile) + `"}`,
		kernels + "empty/kernel.json":    `{"argv":[]}`,
		kernels + "long/kernel.json":     `{"argv":["a"],"display_name":"` + strings.Repeat("x", maxText+1) + `"}`,
		kernels + "b ad/kernel.json":     good,
		kernels + "folder/kernel.json/x": "",
		kernels + "python3/kernel.json":  good,
	})
	for _, link := range []struct{ to, at string }{
		{outside, "linked"}, {filepath.Join(outside, "kernel.json"), "file/kernel.json"}, {filepath.Join(outside, "logo-svg.svg"), "python3/logo-svg.svg"},
		{"../../../../../../../../../../../.." + outside, "climbing"},
	} {
		at := filepath.Join(root, kernels, link.at)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(link.to, at); err != nil {
			t.Fatal(err)
		}
	}
	pipe := filepath.Join(root, kernels, "pipe")
	if err := os.Mkdir(pipe, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(pipe, "kernel.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	all, err := Read(root)
	if err != nil || len(all) != 1 || all[0].Name != "python3" {
		t.Errorf("got %+v, %v; want python3 only", all, err)
	}
	if b, err := Logo(root, "python3", "logo-svg.svg"); err == nil {
		t.Errorf("a link out of the image: got %q, want an error", b)
	}
}
