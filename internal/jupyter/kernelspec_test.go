package jupyter

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// prefix makes a directory with kernelspecs of the given contents.
func prefix(t *testing.T, kernels map[string]string) string {
	t.Helper()
	p := t.TempDir()
	for name, content := range kernels {
		dir := filepath.Join(specDir(p), name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "kernel.json"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

const pythonSpec = `{"argv":["python","-m","ipykernel_launcher","-f","{connection_file}","--dir={resource_dir}"],
	"display_name":"Python 3","language":"python","metadata":{"debugger":true},"env":{"A":"b"}}`

func TestAKernelspecIsFoundAndItsCommandFilledIn(t *testing.T) {
	first, second := prefix(t, nil), prefix(t, map[string]string{"python3": pythonSpec})
	s, err := FindKernelSpec([]string{"/no/such/prefix", first, second}, "python3")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"python", "-m", "ipykernel_launcher", "-f", "/run/k.json", "--dir=" + filepath.Join(specDir(second), "python3")}
	if d := cmp.Diff(want, s.Command("/run/k.json")); d != "" {
		t.Fatal(d)
	}
	if s.Language != "python" || s.DisplayName != "Python 3" || s.InterruptMode != "signal" || s.Env["A"] != "b" {
		t.Fatalf("got %+v", s)
	}
}

func TestAKernelspecCanHaveAnyMetadata(t *testing.T) {
	for metadata, want := range map[string]string{`{"x":{"y":1}}`: `{"y":1}`, `[]`: "", `"x"`: "", `null`: "", `{"x":null}`: "null"} {
		p := prefix(t, map[string]string{"k": `{"argv":["k"],"metadata":` + metadata + `}`})
		if s, err := FindKernelSpec([]string{p}, "k"); err != nil || string(s.Metadata["x"]) != want {
			t.Errorf("%s: %s %v, want %q", metadata, s.Metadata["x"], err, want)
		}
	}
}

func TestAKernelspecCanHaveACommandForTheStream(t *testing.T) {
	for metadata, want := range map[string][]string{
		`{"cellhold":{"stream":["a","-f","{connection_file}"],"renew":"x"}}`: {"a", "-f", "/run/k.json"},
		`{"cellhold":{"stream":[]}}`:                                         nil,
		`{"cellhold":{"stream":"a"}}`:                                        nil,
		`{"cellhold":{"stream":["a",1]}}`:                                    nil,
		`{"cellhold":{"stream":["a",null]}}`:                                 nil,
		`{"cellhold":{"stream":{"0":"a"}}}`:                                  nil,
		`{"cellhold":{"renew":"x"}}`:                                         nil,
		`{"cellhold":["stream"]}`:                                            nil,
		`{}`:                                                                 nil,
		`[]`:                                                                 nil,
		`{"stream":["a"],"cellhold":{"x":[]}}`:                               nil,
	} {
		p := prefix(t, map[string]string{"k": `{"argv":["k"],"metadata":` + metadata + `}`})
		s, err := FindKernelSpec([]string{p}, "k")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, s.StreamCommand("/run/k.json")); d != "" {
			t.Errorf("%s: %s", metadata, d)
		}
		if d := cmp.Diff([]string{"k"}, s.Command("/run/k.json")); d != "" {
			t.Errorf("%s: %s", metadata, d)
		}
	}
}

func TestTheErrorOfAnUnknownKernelListsTheKnownOnes(t *testing.T) {
	p := prefix(t, map[string]string{"python3": pythonSpec, "bash": `{"argv":["bash"]}`, "broken": `{`})
	for _, name := range []string{"julia", "", "..", "../kernels/python3", "python3/", "/etc", "a\x00b", strings.Repeat("x", 101)} {
		_, err := FindKernelSpec([]string{p}, name)
		unknown, ok := errors.AsType[*UnknownKernelError](err)
		if !ok || unknown.Name != name || !cmp.Equal(unknown.Known, []string{"bash", "broken", "python3"}) {
			t.Fatalf("%q: got %v", name, err)
		}
	}
	var names []string
	for _, s := range KernelSpecs([]string{p, p}) {
		names = append(names, s.Name)
	}
	if d := cmp.Diff([]string{"bash", "python3"}, names); d != "" {
		t.Fatal(d)
	}
}

func TestBadKernelspecsAreErrorsThatNameThem(t *testing.T) {
	p := prefix(t, map[string]string{
		"large":   `{"argv":["` + strings.Repeat("x", maxKernelSpec) + `"]}`,
		"no-argv": `{"language":"x"}`,
		"no-json": `{`,
		"types":   `{"argv":"python"}`,
		"mode":    `{"argv":["x"],"interrupt_mode":"shout"}`,
	})
	pipe := filepath.Join(specDir(p), "pipe")
	if err := os.Mkdir(pipe, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(pipe, "kernel.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"large", "no-argv", "no-json", "types", "mode", "pipe"} {
		_, err := FindKernelSpec([]string{p}, name)
		if _, unknown := errors.AsType[*UnknownKernelError](err); err == nil || unknown || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
