package e2e

import (
	"bytes"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// nodeReport is the part of Node's report in the form of JUnit that the test reads.
type nodeReport struct {
	Cases []struct {
		Name    string      `xml:"name,attr"`
		Seconds string      `xml:"time,attr"`
		Failure *pythonText `xml:"failure"`
		Skipped *pythonText `xml:"skipped"`
	} `xml:"testcase"`
}

// builtTests returns the compiled tests of the package.
func builtTests(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../build/tstests/tests/*.test.js")
	if err != nil || len(files) == 0 {
		t.Fatalf("the tests of the package are not compiled (%v); run: make typescript", err)
	}
	for i, file := range files {
		if files[i], err = filepath.Abs(file); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// The tests of the package cellhold run in Node, against a server with real sandboxes, a package index and a web server.
// Each of them is a subtest here.
func TestTheTypeScriptPackage(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "report.xml")
	args := append([]string{"--test", "--test-reporter=junit", "--test-reporter-destination=" + file}, builtTests(t)...)
	cmd := exec.CommandContext(t.Context(), "node", args...)
	cmd.Dir, cmd.Env = absolute(t, "ts"), packageServer(t)
	out, runErr := cmd.CombinedOutput()
	text, err := os.ReadFile(file)
	var report nodeReport
	if err == nil {
		err = xml.Unmarshal(text, &report)
	}
	if err != nil || len(report.Cases) == 0 {
		t.Fatalf("node ended with %v and no report (%v):\n%s\n%s", runErr, err, out, text)
	}
	failed := false
	for _, c := range report.Cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Logf("%s s", c.Seconds)
			if c.Skipped != nil {
				t.Skip(c.Skipped.Text)
			}
			if c.Failure != nil {
				failed = true
				t.Error(c.Failure.Text)
			}
		})
	}
	if runErr != nil && !failed {
		t.Errorf("node ended with %v:\n%s\n%s", runErr, out, text)
	}
}

// typescriptPlot draws the plot of the demo. Its arguments are the folder of the demo and the file of the plot.
const typescriptPlot = `
import { readdir, readFile } from "node:fs/promises";
import { Session } from "cellhold";
const [, , demo, plot] = process.argv;
const session = await Session.create({ local: true });
let cell;
try {
  await session.files.upload(demo + "/data/penguins.csv");
  for (const name of (await readdir(demo + "/cells")).sort()) {
    const code = await readFile(demo + "/cells/" + name, "utf8");
    cell = await session.run(code.replaceAll("/mnt/data/penguins", "penguins"));
  }
} finally {
  await session.close();
}
await cell.figures[0].save(plot);
`

// tarball builds the npm package, and returns its path.
func tarball(t *testing.T) string {
	t.Helper()
	builtTests(t)
	folder := t.TempDir()
	command(t, nil, absolute(t, "tools/tarball"), absolute(t, "build/ts/dist"), folder)
	return folder + "/cellhold-0.1.0.tgz"
}

// The npm package is all that a new project needs, without a network. It starts a private server from the program. Packages
// of the same sources have the same bytes.
func TestTheNPMPackageDrawsAPlotInANewProject(t *testing.T) {
	t.Parallel()
	var bytesOf [2][]byte
	archives := []string{tarball(t), tarball(t)}
	for i, name := range archives {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		bytesOf[i] = text
	}
	if !bytes.Equal(bytesOf[0], bytesOf[1]) {
		t.Error("two builds of the package differ, want the same bytes")
	}
	project := t.TempDir()
	plot, program := filepath.Join(project, "plot.png"), filepath.Join(project, "plot.mjs")
	for name, text := range map[string]string{"package.json": "{}", "plot.mjs": typescriptPlot} {
		if err := os.WriteFile(filepath.Join(project, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	node := filepath.Dir(lookup(t, "node"))
	env := []string{"PATH=" + filepath.Dir(binary(t)) + ":" + node + ":/usr/bin:/bin", "HOME=" + project, "CELLHOLD_HOME=" + newHome(t)}
	command(t, env, "npm", "install", "--silent", "--offline", "--no-audit", "--no-fund", "--prefix", project, archives[0])
	command(t, env, "node", program, absolute(t, "demo"), plot)
	if text, err := os.ReadFile(plot); err != nil || !bytes.HasPrefix(text, []byte("\x89PNG")) {
		t.Errorf("got a plot of %d bytes, %v; want a PNG", len(text), err)
	}
}

// A page of an allowed site loads the package as a module, and draws the plot of the demo.
func TestAPageInABrowserDrawsAPlot(t *testing.T) {
	t.Parallel()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v; run: make needs-test", err)
	}
	files := http.NewServeMux()
	files.Handle("/demo/", http.StripPrefix("/demo/", http.FileServer(http.Dir("../../demo"))))
	files.Handle("/cellhold/", http.StripPrefix("/cellhold/", http.FileServer(http.Dir("../../build/ts/dist"))))
	files.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!doctype html><script type="importmap">{"imports": {"cellhold": "/cellhold/index.js"}}</script>`)
	})
	site := httptest.NewServer(files)
	t.Cleanup(site.Close)
	s := serve(t, newHome(t), "--origin", site.URL)
	client := clientProgram{[]string{"node", "--input-type=module", "-"}, absolute(t, "test/clients/cellhold_browser.mjs")}
	out, err := client.run(t, site.URL, s.url, s.token, browser)
	if steps := strings.Split(out, "\n"); err != nil || len(steps) != 5 {
		t.Fatalf("the browser: got %v and %d steps:\n%s\nwant 5 steps", err, len(steps), out)
	}
}
