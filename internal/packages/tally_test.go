package packages

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/packages/index"
)

// folderPackages returns Packages that installs from a folder. The folder has the packages a0 to a9: wheels of ten
// bytes.
func folderPackages(t *testing.T, o Options) (p *Packages, dir string) {
	t.Helper()
	dir = t.TempDir()
	for i := range 10 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("a%d-1-py3-none-any.whl", i)), []byte("0123456789"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if o.Index, err = index.New(index.Options{Sources: []index.Source{{Folder: dir}}}); err != nil {
		t.Fatal(err)
	}
	if p, err = New(o); err != nil {
		t.Fatal(err)
	}
	return p, dir
}

// isRefusal reports whether an error has the kind exhausted, and names the limit and the remedy.
func isRefusal(err error, limit string) bool {
	return cellhold.KindOf(err) == cellhold.Exhausted && strings.Contains(err.Error(), limit) && strings.Contains(err.Error(), "The session's caller can install more.")
}

func TestRequestsOfCodeAreLimitedByNamesVersionsExtrasHashesAndRepetitions(t *testing.T) {
	p, _ := folderPackages(t, Options{Policy: Policy{Mode: Open}, Code: CodeCallers})
	for name, test := range map[string]struct {
		requirement func(i int) string
		good        int // number of accepted requests
		limit       string
	}{
		"names":       {func(i int) string { return fmt.Sprintf("n%d", i) }, 300, "the limit is 300"},
		"versions":    {func(i int) string { return fmt.Sprintf("a==%d", i) }, 300, "the limit is 300"},
		"extras":      {func(i int) string { return fmt.Sprintf("a[x%d]", i) }, 300, "the limit is 300"},
		"hashes":      {func(i int) string { return fmt.Sprintf("a==1 --hash=sha256:%064x", i) }, 300, "the limit is 300"},
		"repetitions": {func(i int) string { return fmt.Sprintf("a==%d", i%2) }, 2000, "the limit is 2000"},
	} {
		var tally Tally
		for i := range test.good {
			if _, err := p.PlanOfCode(Request{Requirements: []string{test.requirement(i)}}, &tally); err != nil {
				t.Fatalf("%s: request %d: got %v, want no error", name, i, err)
			}
		}
		if _, err := p.PlanOfCode(Request{Requirements: []string{test.requirement(test.good)}}, &tally); !isRefusal(err, test.limit) {
			t.Errorf("%s: the first request above the limit: got %v, want kind exhausted, %q and the remedy", name, err, test.limit)
		}
	}
}

func TestATallyStartsWithTheCountsOfItsParent(t *testing.T) {
	var parent, child Tally
	var list []Requirement
	for i := range maxCodeNames {
		list = append(list, Requirement{Name: fmt.Sprint("n", i)})
	}
	if err := parent.add(list[1:]); err != nil {
		t.Fatal(err)
	}
	child.Inherit(&parent)
	if err := child.add(list[:1]); err != nil {
		t.Fatal(err)
	}
	if err := child.add([]Requirement{{Name: "another"}}); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("the child with its parent's names: got %v, want kind exhausted", err)
	}
	if err := parent.add([]Requirement{{Name: "another"}}); err != nil {
		t.Errorf("the parent below the limit: got %v, want no error", err)
	}
}

// asker is a sandbox whose installer sends some requests and then fails.
type asker struct {
	paths    []string
	asks     chan guestapi.Question
	answered chan int
}

func ask(paths ...string) *asker {
	return &asker{paths, make(chan guestapi.Question), make(chan int)}
}

func (a *asker) InstallPackages(ctx context.Context, _ guestapi.Install) (guestapi.Installed, error) {
	out := guestapi.Installed{Failure: guestapi.InstallRefused, Log: "no"}
	for i, path := range a.paths {
		select {
		case a.asks <- guestapi.Question{ID: int64(i + 1), Path: path}:
			<-a.answered
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
	return out, nil
}

func (a *asker) NextAsk(ctx context.Context) (guestapi.Question, bool, error) {
	select {
	case q := <-a.asks:
		return q, true, nil
	case <-ctx.Done():
		return guestapi.Question{}, false, ctx.Err()
	}
}

func (a *asker) AnswerAsk(_ context.Context, _ int64, status int, _ string, _ int64, body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	a.answered <- status
	return err
}

func (*asker) LookPackages(context.Context, guestapi.Install) (guestapi.Installed, error) {
	panic("unexpected call")
}

func TestRequestsOfAnAgentForCodeAreLimited(t *testing.T) {
	p, _ := folderPackages(t, Options{Policy: Policy{Mode: Open}, Code: CodeCallers})
	pages := []string{"simple/a0/", "simple/a1/"}
	file := []string{"simple/a0/", "file/0/a0-1-py3-none-any.whl"}
	for name, test := range map[string]struct {
		before index.Taken
		paths  []string
		limit  string // empty if the requests are answered; then the installer fails with kind invalid
	}{
		"two pages left":        {index.Taken{Pages: 2998}, pages, ""},
		"one page left":         {index.Taken{Pages: 2999}, pages, "packages; the limit is 3000"},
		"an unknown page":       {index.Taken{Pages: 2999}, []string{"simple/x/", "simple/x/"}, "packages; the limit is 3000"},
		"a file left":           {index.Taken{Files: 19_999}, file, ""},
		"no file left":          {index.Taken{Files: 20_000}, file, "files; the limit is 20000"},
		"ten bytes left":        {index.Taken{Bytes: 16<<30 - 10}, file, ""},
		"nine bytes left":       {index.Taken{Bytes: 16<<30 - 9}, file, "the limit is 16384 MiB"},
		"no page after a limit": {index.Taken{Bytes: 16<<30 + 1}, pages[:1], "the limit is 16384 MiB"},
	} {
		tally := Tally{took: test.before}
		plan, err := p.PlanOfCode(Request{Requirements: []string{"a0"}}, &tally)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = p.Install(t.Context(), ask(test.paths...), plan)
		if test.limit != "" && !isRefusal(err, test.limit) || test.limit == "" && cellhold.KindOf(err) != cellhold.Invalid {
			t.Errorf("%s: got %v, want kind exhausted with %q, or without a limit kind invalid", name, err, test.limit)
		}
	}
	plan, err := p.Plan(Request{Requirements: []string{"a0"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err = p.Install(t.Context(), ask(file...), plan); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("a caller's request without limits: got %v, want kind invalid from the installer", err)
	}
}
