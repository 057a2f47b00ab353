package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cellhold"
)

// block is one fenced block of a page.
type block struct {
	line     int    // line of its beginning
	language string // "sh", "python", "go" or "ts"
	text     string
	output   string // the text block after the block; empty if the page has none
	why      string // the reason why the block is not run; empty if it runs
}

var (
	fence  = regexp.MustCompile("^ *```(.*)$")
	notRun = regexp.MustCompile(`^ *<!-- not run: (.+) -->$`)
)

// blocksOf returns the sh, python, go and ts blocks of a page, with their outputs.
func blocksOf(page string) (list []block) {
	var now *block
	language, why, indent := "", "", 0
	for i, line := range strings.Split(page, "\n") {
		mark := fence.FindStringSubmatch(line)
		switch {
		case now != nil && mark != nil: // the end of a block
			switch last := len(list) - 1; {
			case slices.Contains([]string{"sh", "python", "go", "ts"}, language):
				list = append(list, *now)
			case language == "text" && last >= 0 && list[last].output == "":
				list[last].output = now.text
			}
			now, why = nil, ""
		case now != nil:
			now.text += line[min(indent, len(line)-len(strings.TrimLeft(line, " "))):] + "\n"
		case mark != nil:
			language, indent = mark[1], strings.Index(line, "`")
			now = &block{line: i + 1, language: language, why: why}
		case notRun.MatchString(line):
			why = notRun.FindStringSubmatch(line)[1]
		}
	}
	return list
}

// docs is a server for the examples of the documents, with the environment that they need.
type docs struct {
	*server
	env      []string
	python   string
	module   string // folder of the Go module
	replaced *strings.Replacer
}

// newDocs starts the server, a package index, and a web server that answers as example.org.
func newDocs(t *testing.T) *docs {
	t.Helper()
	index, web, home := newPyPI(t), newInternetFixture(t), newHome(t)
	index.wheel(t, "tabulate", "0.9.0", nil)
	index.wheel(t, "humanize", "4.15.0", nil)
	data := filepath.Join(home, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "birds.csv"), []byte("kind,kg\nAdelie,3.7\nGentoo,5.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	flags := web.flags("--no-templates=false", "--package-index", index.index(), "--max-egress", "allowlist", "--egress-host", "*.example.org")
	d := &docs{server: serve(t, home, flags...)}
	d.awaitTemplate(t, "ready", func(x cellhold.Template) bool { return x.State == cellhold.TemplateReady })

	bin := t.TempDir()
	link(t, binary(t), filepath.Join(bin, "cellhold"))
	// This curl fails if the server refuses a request. Then the script and the test fail too.
	curl := "#!/bin/sh\nexec " + lookup(t, "curl") + " --fail-with-body -sS \"$@\"\n"
	err := os.WriteFile(filepath.Join(bin, "curl"), []byte(curl), 0o755)
	if err != nil {
		t.Fatal(err)
	}
	d.python = pythonWithRequests(t)
	if d.module, err = filepath.Abs("../.."); err != nil {
		t.Fatal(err)
	}
	d.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TOKEN="+d.token, "CELLHOLD_TOKEN="+d.token,
		"CELLHOLD_HOME="+home, "CELLHOLD_URL="+d.url, "CELLHOLD_PACKAGE_INDEX="+index.index(),
		"CELLHOLD_EGRESS_PORT="+web.port, "CELLHOLD_EGRESS_RESOLVER="+web.names, "CELLHOLD_EGRESS_ALLOW_ADDRESS=127.0.0.1/32")
	d.replaced = strings.NewReplacer("http://localhost:5002", d.url, "localhost:5002", strings.TrimPrefix(d.url, "http://"),
		"http://www.example.org", "http://www.example.org:"+web.port)
	return d
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func lookup(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// pythonWithRequests returns a Python that has the library requests: from the tests' environment, or from this
// machine.
func pythonWithRequests(t *testing.T) string {
	t.Helper()
	venv, err := filepath.Abs("../../build/testvenv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	for _, python := range []string{venv, "/usr/bin/python3", "python3"} {
		if exec.Command(python, "-c", "import requests").Run() == nil {
			return python
		}
	}
	t.Fatal("no Python with requests; run: make build/testvenv/.done")
	return ""
}

// script joins the blocks that run to one script. The sh and go blocks come first, in order. Then come the
// Python blocks as one program, so that a block can use the names of earlier blocks. Each ts block is a module of its own.
func (d *docs) script(blocks []block) string {
	var shell, program, modules strings.Builder
	var lines []string
	for _, b := range blocks {
		at := fmt.Sprintf("line %d", b.line)
		switch {
		case b.why != "":
		case b.language == "python":
			fmt.Fprintf(&program, "print(%q, flush=True)\n%s\n", "\n"+mark+at, b.text)
		case b.language == "ts":
			fmt.Fprintf(&modules, "cat > line%d.mts <<'END OF TYPESCRIPT'\n%sEND OF TYPESCRIPT\n", b.line, b.text)
			lines = append(lines, fmt.Sprint(b.line))
		case b.language == "go": // a program, compiled in this module
			fmt.Fprintf(&shell, "printf '\\n%s%s\\n'\ncat > main.go <<'END OF GO'\n%sEND OF GO\n(program=$PWD/main.go; cd '%s'; go run \"$program\")\n", mark, at, b.text, d.module)
		default:
			fmt.Fprintf(&shell, "printf '\\n%s%s\\n'\n%s\n", mark, at, b.text)
		}
	}
	text := "set -eu -o pipefail\n" + shell.String()
	if program.Len() > 0 {
		text += d.pythonFor(program.String()) + " - <<'END OF PYTHON'\n" + program.String() + "END OF PYTHON\n"
	}
	if len(lines) > 0 {
		text += modules.String() + d.compiled(lines)
	}
	return d.replaced.Replace(text)
}

// compiled returns the part of a script that compiles modules with strict types and runs them, one after the other. They
// see the package cellhold.
func (d *docs) compiled(lines []string) string {
	tools := filepath.Join(d.module, "build/tstools/node_modules")
	return "mkdir -p node_modules/cellhold\ncp '" + d.module + "/ts/package.json' node_modules/cellhold\n" +
		"ln -s '" + d.module + "/build/ts/dist' node_modules/cellhold/dist\n" +
		"'" + tools + "/.bin/tsc' --strict --target es2022 --module nodenext --types node --typeRoots '" + tools + "/@types' line*.mts\n" +
		"node --input-type=module -e 'for (const line of [" + strings.Join(lines, ", ") + "]) {\n" +
		"  console.log(`\n" + mark + "line ${line}`)\n  await import(`${process.cwd()}/line${line}.mjs`)\n}'\n"
}

// pythonFor returns the Python that runs a program: the one with the package cellhold if the program imports it.
func (d *docs) pythonFor(program string) string {
	if !strings.Contains(program, "import cellhold") {
		return d.python
	}
	return "PYTHONPATH=" + filepath.Join(d.module, "python/src") + " " + filepath.Join(d.module, "build/pyvenv/bin/python")
}

// mark starts a line of the output. The rest of the line names the block whose output follows.
const mark = "### "

// outputs splits the output of a script at its marks.
func outputs(out string) map[string]string {
	all := map[string]string{}
	for _, part := range strings.Split("\n"+out, "\n"+mark)[1:] {
		at, text, _ := strings.Cut(part, "\n")
		all[at] = text
	}
	return all
}

// check runs a page and compares the outputs that the page shows.
func (d *docs) check(t *testing.T, blocks []block, env ...string) {
	cmd := exec.CommandContext(t.Context(), "bash", "-c", d.script(blocks))
	cmd.Env, cmd.Dir = append(slices.Clone(d.env), env...), t.TempDir()
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the script of the page ended with %v, want exit status 0\n%s\n%s", err, out, &problems)
	}
	all := outputs(string(out))
	for _, b := range blocks {
		at := fmt.Sprintf("line %d", b.line)
		if got := all[at]; b.why == "" && !shows(b.output, got) {
			t.Errorf("the block at %s prints:\n%s\nwant:\n%s", at, got, b.output)
		}
	}
}

// shows reports whether an output matches the page. "…" stands for any text.
func shows(want, got string) bool {
	parts := strings.Split(strings.TrimSpace(want), "…")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	ok, err := regexp.MatchString(`(?s)^\s*`+strings.Join(parts, ".*")+`\s*$`, strings.TrimSpace(got))
	return err == nil && (ok || strings.TrimSpace(want) == "")
}

func TestTheExamplesOfTheDocumentsRun(t *testing.T) {
	t.Parallel()
	pages := []string{"../../README.md", "../../python/README.md", "../../ts/README.md"}
	for _, folder := range []string{"tutorial", "how-to"} {
		found, err := filepath.Glob("../../docs/" + folder + "/*.md")
		if err != nil || len(found) == 0 {
			t.Fatalf("no pages in docs/%s (%v)", folder, err)
		}
		pages = append(pages, found...)
	}
	d := newDocs(t)
	t.Run("pages", func(t *testing.T) { // waits for the parallel tests of the pages, because the server must run until then
		for _, page := range pages {
			name := strings.TrimSuffix(filepath.Base(page), ".md")
			if page == pages[1] || page == pages[2] {
				name = filepath.Base(filepath.Dir(page)) + "-README"
			}
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			blocks := blocksOf(string(text))
			for _, b := range blocks {
				if b.why != "" {
					t.Logf("%s:%d is not run: %s", strings.TrimPrefix(page, "../../"), b.line, b.why)
				}
			}
			if !slices.ContainsFunc(blocks, func(b block) bool { return b.why == "" }) {
				continue
			}
			var env []string
			if page == pages[0] {
				env = []string{"CELLHOLD_URL="} // here `cellhold run` must work without a server
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				d.check(t, blocks, env...)
			})
		}
	})
}

func TestBlocksAndOutputsOfAPageAreParsedAndCompared(t *testing.T) {
	page := "Text\n\n  ```sh\n  a\n   b\n  ```\n\n```text\n1\n…\n```\n\n<!-- not run: it never ends -->\n```sh\nb\n```\n\n```json\n{}\n```\n\n```python\nc\n```\n"
	want := []block{{3, "sh", "a\n b\n", "1\n…\n", ""}, {14, "sh", "b\n", "", "it never ends"}, {22, "python", "c\n", "", ""}}
	if got := fmt.Sprint(blocksOf(page)); got != fmt.Sprint(want) {
		t.Errorf("the blocks are %v, want %v", got, want)
	}
	for _, test := range []struct {
		want, got string
		same      bool
	}{{"", "x", true}, {"1\n…\n3", "1\n2\n3\n", true}, {"1", "2", false}, {"a … c", "a b c", true}} {
		if shows(test.want, test.got) != test.same {
			t.Errorf("shows(%q, %q) is %v", test.want, test.got, !test.same)
		}
	}
}
