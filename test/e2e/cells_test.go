package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

func TestTwentyConcurrentSessionsHaveTheirOwnVariables(t *testing.T) {
	s := serve(t, newHome(t))
	const sessions, cells = 20, 10
	ids := s.sessions(t, sessions)
	list, err := s.Sessions(t.Context())
	if err != nil || len(list) != sessions {
		t.Fatalf("got %d sessions in the list, %v; want %d", len(list), err, sessions)
	}
	answered := make([]int, sessions)
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() {
			for j := range cells {
				code := fmt.Sprintf("x = globals().get('x', %d) + 1; x", i*1000)
				c, err := s.Execute(t.Context(), id, client.Code{Code: code})
				if want := fmt.Sprint(i*1000 + j + 1); err != nil || text(c) != want {
					t.Errorf("session %d cell %d: got %q (%s, %v), want %s", i, j, text(c), c.Status, err, want)
					continue
				}
				answered[i]++
			}
		})
	}
	wg.Wait()
	total := 0
	for _, n := range answered {
		total += n
	}
	t.Logf("%d of %d cells answered correctly over %d sessions", total, sessions*cells, sessions)
}

func TestAnInfiniteLoopEndsAtItsDeadlineAndKeepsTheVariables(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "x = 42")
	c := s.run(t, id, "while True: pass", 2*time.Second)
	if c.Status != cellhold.StatusTimeout {
		t.Fatalf("the cell ended with %s (%s), want timeout", c.Status, c.Cause)
	}
	if took := c.Ended.Sub(c.Started); took < 2*time.Second || took > 20*time.Second {
		t.Errorf("the cell took %s, want 2s to 20s", took)
	}
	if got := s.must(t, id, "x"); got != "42" {
		t.Errorf("x is %q, want 42", got)
	}
}

func TestAnInterruptStopsTheCellAndKeepsTheVariables(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "x = 42")
	c, err := s.Submit(t.Context(), id, client.Code{Code: "print('begun', flush=True)\nwhile True: pass"})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitText(t, c)
	if err := s.Interrupt(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if c, err = s.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusInterrupted {
		t.Fatalf("the cell ended with %s, %v; want interrupted", c.Status, err)
	}
	if got := s.must(t, id, "x"); got != "42" {
		t.Errorf("x is %q, want 42", got)
	}
}

func TestAKernelThatDiesEndsItsCellWithTheCauseAndIsRestartedOnRequest(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	for _, death := range []struct {
		name, code string
		want       cellhold.CellStatus
	}{
		{"exit", "import os; os._exit(1)", cellhold.StatusExit},
		{"segfault", "import ctypes; ctypes.string_at(0)", cellhold.StatusSignal},
		{"memory bomb", "b = []\nwhile True: b.append(bytearray(32 << 20))", cellhold.StatusOOM},
	} {
		t.Run(death.name, func(t *testing.T) {
			id := s.session(t, client.CreateSession{Limits: cellhold.Limits{Memory: 400 << 20}})
			c := s.run(t, id, death.code, time.Minute)
			if c.Status != death.want || c.Cause == "" {
				t.Fatalf("the cell ended with %s (%q), want %s and a cause", c.Status, c.Cause, death.want)
			}
			x, err := s.Session(t.Context(), id)
			if err != nil || x.State != cellhold.SessionReady || x.Kernels[0].State != cellhold.KernelDead || x.Kernels[0].Cause != death.want {
				t.Errorf("got the session %+v, %v; want a ready one with a dead kernel and its cause", x, err)
			}
			if _, err := s.Execute(t.Context(), id, client.Code{Code: "1"}); cellhold.KindOf(err) != cellhold.Conflict {
				t.Errorf("a cell for a dead kernel: got %v, want kind conflict", err)
			}
			if _, err := s.Restart(t.Context(), id, ""); err != nil {
				t.Fatal(err)
			}
			if got := s.must(t, id, "1 + 1"); got != "2" {
				t.Errorf("after the restart: %q, want 2", got)
			}
		})
	}
}

func TestOutputsArriveAsFullMIMEBundlesAndTheNotebookOpensInJupyter(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import pandas as pd\ndf = pd.DataFrame({'名前': ['あ', 'ب'], 'n': [1, 2]})")
	table := s.run(t, id, "df")
	if html := string(table.Outputs[0].Data["text/html"]); !strings.Contains(html, "<table") {
		t.Errorf("got the HTML %s, want a <table", html)
	}
	plot := s.run(t, id, "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.title('合計 المجموع योग 😀')\nplt.show()")
	width := 0
	for _, o := range plot.Outputs {
		if o.Type == cellhold.EventDisplayData {
			width = pngWidth(t, o.Data["image/png"])
		}
		if strings.Contains(o.Text, "Glyph") {
			t.Errorf("got the warning %s, want no missing glyph", o.Text)
		}
	}
	if width < 100 {
		t.Errorf("the plot is %d pixels wide, want at least 100: %+v", width, plot.Outputs)
	}
	if c := s.run(t, id, "1 / 0"); c.Status != cellhold.StatusError || c.Outputs[0].ErrorName != "ZeroDivisionError" {
		t.Errorf("1 / 0 ended with %s and %+v, want error and ZeroDivisionError", c.Status, c.Outputs)
	}
	var nb bytes.Buffer
	if err := s.Notebook(t.Context(), id, &nb); err != nil {
		t.Fatal(err)
	}
	validate(t, nb.Bytes())
}

func pngWidth(t *testing.T, raw json.RawMessage) int {
	t.Helper()
	var encoded string
	if err := json.Unmarshal(raw, &encoded); err != nil {
		t.Fatal(err)
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(encoded, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(decoded))
	if err != nil {
		t.Fatal(err)
	}
	return img.Bounds().Dx()
}

// validate opens notebooks with Jupyter's own reader and converter.
func validate(t *testing.T, notebooks ...[]byte) {
	t.Helper()
	python, err := filepath.Abs("../../build/testvenv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	const check = `import sys, warnings, nbformat, nbconvert
warnings.simplefilter("ignore") # of pictures without a description
for path in sys.argv[1:]:
    nb = nbformat.read(path, as_version=4)
    nbformat.validate(nb)
    assert (nb.nbformat, nb.nbformat_minor) == (4, 5), nb
    html, _ = nbconvert.HTMLExporter().from_notebook_node(nb)
    print(len(nb.cells), "cells,", len(html), "bytes of HTML")`
	args := []string{"-c", check}
	for i, nb := range notebooks {
		path := filepath.Join(t.TempDir(), fmt.Sprintf("%d.ipynb", i))
		if err := os.WriteFile(path, nb, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	out, err := exec.Command(python, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("open the notebooks in Jupyter: got %v, want no error\n%s\n%s", err, out, notebooks[len(notebooks)-1])
	}
	t.Logf("%d notebooks open\n%s", len(notebooks), out)
}

func TestOutputFilesAreKeptForLaterSessionsOfTheirUserOnly(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	ann := s.session(t, client.CreateSession{User: "ann"})
	s.must(t, ann, "open('/mnt/data/output/größe 1.txt', 'w').write('42')")
	files, err := s.Files(t.Context(), ann)
	if err != nil || len(files) != 1 || files[0].Path != "größe 1.txt" {
		t.Fatalf("got the output files %v, %v; want größe 1.txt", files, err)
	}
	if err := s.DeleteSession(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	again := s.session(t, client.CreateSession{User: "ann"})
	if got := s.must(t, again, "print(open('/mnt/data/output/größe 1.txt').read(), end='')"); got != "42" {
		t.Errorf("ann's next session reads %q, want 42", got)
	}
	bob := s.session(t, client.CreateSession{User: "bob"})
	if got := s.must(t, bob, "import os; os.listdir('/mnt/data/output')"); got != "[]" {
		t.Errorf("bob sees %s, want %s", got, "[]")
	}
	if c := s.run(t, bob, "open('/mnt/data/x', 'w')"); c.Status != cellhold.StatusError {
		t.Errorf("open /mnt/data/x for writing: got %s, want an error", c.Status)
	}
	if c := s.run(t, bob, "open('/mnt/data/output/big', 'wb').write(bytes(300 << 20))"); !strings.Contains(text(c), "No space left") {
		t.Errorf("write 300 MiB to /mnt/data/output: got %s and %s, want \"No space left\"", c.Status, text(c))
	}
}
