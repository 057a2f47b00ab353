package main

import (
	"bytes"
	"cellhold/internal/cli/console"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// completed returns the words that are offered after a line.
func completed(t *testing.T, line string) []string {
	t.Helper()
	t.Setenv("COMP_LINE", line)
	var out, problems bytes.Buffer
	if status := command(nil, nil, &out, &problems); status != console.ExitOK || problems.Len() > 0 {
		t.Errorf("%q: exit status %d, messages %q; want 0 and none", line, status, &problems)
	}
	words := strings.Fields(out.String())
	slices.Sort(words)
	return words
}

func TestWordsAreCompleted(t *testing.T) {
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"sessions":[{"id":"s2345672345672345","state":"ready"},{"id":"s7777777777777777","state":"ended"},{"id":"$(touch x)","state":"ready"}]}`)
	}))
	defer hs.Close()
	defer func(was time.Duration) { completionPatience = was }(completionPatience)
	completionPatience = time.Minute // a busy machine is slower than a person accepts
	t.Chdir(t.TempDir())
	t.Setenv("CELLHOLD_HOME", t.TempDir())
	if err := os.WriteFile("code.py", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	server, id := "--url "+hs.URL+" --token t ", "s2345672345672345"
	for line, want := range map[string][]string{
		"cellhold sess":                            {"session"},
		"cellhold session r":                       {"resume", "rm", "rollback"},
		"cellhold session ls --qu":                 {"--quiet"},
		"cellhold session " + server + "show ":     {id},
		"cellhold session show " + server:          {id}, // the values of the flags of session are not arguments of show
		"cellhold session rm " + server + id + " ": {id},
		"cellhold session show s":                  nil, // without the token
		"cellhold cp " + server + "s":              {id + ":"},
		"cellhold cp " + server + "c":              {"code.py"},
		"cellhold cell text --stream std":          {"stderr", "stdout"},
		"cellhold completion ":                     {"bash", "fish", "zsh"},
		"cellhold image rm ":                       nil,
		"cellhold run c":                           {"code.py"},
		"cellhold nonsense ":                       nil,
	} {
		if got := completed(t, line); !slices.Equal(got, want) && !(len(want) == 0 && !slices.ContainsFunc(got, sessionID().MatchString)) {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func TestNamesThatAShellWouldRunAreNotOffered(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("CELLHOLD_HOME", t.TempDir())
	for _, name := range []string{"r;touch run;#.csv", "$(touch run)", "`touch run`", "r\nrun", "r run", "r&run", "r'run", "r\"run", `r\run`, "r\x1b[2J", "r*", "rot.csv"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll("d/$(touch run)", 0o700); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string][]string{
		"cellhold run r":   {"rot.csv"},
		"cellhold run $":   nil,
		"cellhold run ":    {"./", "d/", "rot.csv"},
		"cellhold run d/":  {"d/"},
		"cellhold cp r":    {"rot.csv"},
		"cellhold cp d/$(": nil,
	} {
		if got := completed(t, line); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func TestACompletionDoesNotWaitForASlowServer(t *testing.T) {
	gaveUp := make(chan struct{})
	hs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(gaveUp)
	}))
	defer hs.Close()
	if got := completed(t, "cellhold session show --url "+hs.URL+" "); len(got) > 0 {
		t.Errorf("got %q, want nothing", got)
	}
	<-gaveUp
	if completionPatience > 500*time.Millisecond {
		t.Errorf("a completion waits %v, want at most 500ms", completionPatience)
	}
}

func TestTheManualPageHasEachCommandAndStatus(t *testing.T) {
	var out, problems bytes.Buffer
	if status := command([]string{"man"}, nil, &out, &problems); status != console.ExitOK {
		t.Fatalf("exit status %d: %s", status, &problems)
	}
	page := out.String()
	if !strings.HasPrefix(page, ".TH CELLHOLD 1 ") {
		t.Errorf("got a page that begins with %.40q", page)
	}
	for _, n := range leaves(model(t).Node) {
		if first, _, _ := strings.Cut(n.Help, "."); !strings.Contains(page, first[:min(20, len(first))]) {
			t.Errorf("the page has no %s", n.FullPath())
		}
	}
	for _, s := range console.Statuses {
		if !strings.Contains(page, s.Meaning[:min(10, len(s.Meaning))]) && !strings.Contains(s.Meaning, "`") {
			t.Errorf("the page has no status %d", s.Code)
		}
	}
}
