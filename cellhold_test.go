// The rules of the project, checked by a test. Each exception is one line here, with its reason.
package cellhold_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// imports has, for each package, the packages of the project that it can import, and the reason for the limit.
// Paths are relative to the module.
var imports = map[string]struct {
	allowed string
	reason  string
}{
	".":                                 {"", "all packages import it"},
	"client":                            {".", "it runs in the programs of callers"},
	"bench":                             {". bench/contender bench/report", "it measures from the view of a user"},
	"bench/contender":                   {". client", "it uses each contender through its usual client"},
	"bench/report":                      {"", "it computes figures, and measures nothing"},
	"demo":                              {". client", "it acts as a user of the server"},
	"internal/agent":                    {". internal/guestapi internal/agent/spool internal/agent/kernels internal/agent/command internal/agent/forward internal/agent/upload internal/rawio", "it runs next to hostile code; less code is safer"},
	"internal/agent/kernels":            {". internal/guestapi internal/jupyter internal/agent/spool internal/agent/wire", "it runs next to hostile code; less code is safer"},
	"internal/agent/command":            {". internal/guestapi internal/agent/spool", "it runs next to hostile code; less code is safer"},
	"internal/agent/deputy":             {"internal/guestapi internal/agent/upload", "it passes requests on without reading them"},
	"internal/agent/wire":               {". internal/guestapi internal/jupyter internal/jupyter/stream", "it passes messages on, and does not know the kernel"},
	"internal/agent/upload":             {"", "it reads bodies without looking at them"},
	"internal/agent/spool":              {". internal/guestapi", "it stores events and does not know their source"},
	"internal/agent/written":            {". internal/guestapi internal/agent/files/notify", "it lists written files, and does not know cells"},
	"internal/command":                  {". internal/guestapi internal/record", "it gets its link and its journal as small interfaces"},
	"internal/guest":                    {". internal/guestapi internal/jupyter/stream internal/memory", "it takes a dial function, so it needs no sandbox"},
	"internal/guestapi":                 {".", "it is a contract without behaviour"},
	"internal/builds":                   {"", "it stores and finds files, and knows no program"},
	"internal/guestbin":                 {"internal/builds", "it contains one file"},
	"internal/runnerbin":                {"internal/builds", "it contains one file"},
	"internal/image":                    {".", "it creates directories, and knows no sandbox"},
	"internal/jupyter":                  {"internal/jupyter/sendqueue internal/jupyter/stream internal/jupyter/zmtp", "it is a protocol that other programs could use"},
	"internal/jupyter/sendqueue":        {"", "it sends bytes without reading them"},
	"internal/jupyter/stream":           {"internal/jupyter/sendqueue internal/rawio", "it carries messages without reading them"},
	"internal/jupyter/zmtp":             {"internal/jupyter/sendqueue internal/rawio", "it is a protocol that other programs could use"},
	"internal/kernel":                   {". internal/guestapi internal/memory internal/notebook internal/outputs internal/record", "it gets its link as a small interface"},
	"internal/exclusive":                {"", "it holds keys, and does not know the work"},
	"internal/link":                     {"", "it carries bytes over a pair of pipes"},
	"internal/mcp":                      {". client", "it uses a server like any other program, so that the tools work the same everywhere"},
	"internal/memory":                   {".", "it counts bytes, and does not know their content"},
	"internal/oneshot":                  {". internal/attachment internal/exclusive internal/guestapi internal/memory internal/outputs internal/packages internal/session internal/session/terms", "it gets its sessions from a function, and uses them as any caller does"},
	"internal/outputs":                  {".", "it encodes cells and events, and does not know their source"},
	"internal/notebook":                 {". internal/outputs", "it turns cells into a file"},
	"internal/rawio":                    {"", "it makes system calls on a descriptor"},
	"internal/sandbox":                  {"", "a driver needs no other package"},
	"internal/sandbox/embedded":         {"internal/sandbox internal/sandbox/embedded/cgroup internal/sandbox/embedded/process internal/sandbox/embedded/runner internal/sandbox/embedded/snapshots internal/link", "a driver that knows sessions cannot be swapped"},
	"internal/sandbox/warm":             {"internal/sandbox", "it wraps a driver, and knows no guest"},
	"internal/sandbox/fake":             {". internal/sandbox internal/agent internal/agent/kernels internal/agent/command internal/agent/files internal/jupyter internal/jupyter/jupytertest internal/jupyter/stream", "it is the only driver that is also the guest"},
	"images":                            {"", "it holds the files that images are built from, and no code that uses them"},
	"internal/agent/install":            {". internal/guestapi", "it gets its processes as a function, and needs no kernel"},
	"internal/packages":                 {". internal/guestapi internal/packages/index", "it decides what can be installed, and knows no session"},
	"internal/packages/index":           {".", "it talks to package indexes, and knows no guest"},
	"internal/agent/process":            {". internal/agent/kernels internal/agent/command internal/guestapi internal/jupyter internal/jupyter/stream", "it starts the real processes of kernels and commands"},
	"internal/agent/forward":            {"internal/guestapi", "it runs next to hostile code; less code is safer"},
	"internal/egress":                   {". internal/guestapi", "it gets its connections as a function, and knows no sessions"},
	"internal/server":                   {". client internal/attachment internal/command internal/history internal/mcp internal/notebook internal/oneshot internal/outputs internal/packages internal/registry internal/session internal/server/article internal/server/connections internal/server/docs internal/server/download internal/server/exchange internal/server/guard internal/server/inside internal/server/introspection internal/server/runs internal/session/terms internal/server/e2b internal/server/e2b/access internal/server/envd internal/server/jupyter internal/server/ports", "it calls sessions; the session decides"},
	"internal/server/article":           {". internal/packages internal/registry internal/session internal/notebook internal/outputs internal/server/docs internal/server/exchange internal/server/fastapi", "it is a second API for the same sessions"},
	"internal/server/connections":       {"", "it counts connections, and reads no request"},
	"internal/server/download":          {". internal/attachment", "it sends files, and knows no route"},
	"internal/server/exchange":          {". internal/memory", "it has the code that all routes share, and knows no route"},
	"internal/server/guard":             {". internal/server/exchange", "it decides which callers are allowed, without the content of a request"},
	"internal/server/ports":             {". internal/session internal/server/e2b/access internal/server/exchange", "it gets its connections from a function, and trusts no program behind them"},
	"internal/server/runs":              {". internal/oneshot internal/server/exchange", "it calls runs; package oneshot decides"},
	"internal/server/inside":            {"client internal/server/exchange", "it calls routes as a client does, and knows none of them"},
	"internal/server/introspection":     {". internal/server/exchange internal/session", "it asks kernels through a session"},
	"internal/server/docs":              {"", "it renders an OpenAPI document"},
	"internal/server/fastapi":           {"", "it imitates the errors of FastAPI"},
	"internal/session":                  {". internal/attachment internal/command internal/egress internal/guest internal/guestapi internal/history internal/kernel internal/lazy internal/memory internal/mirror internal/notebook internal/packages internal/record internal/sandbox internal/session/displays internal/session/idle internal/session/notes internal/session/paths internal/session/refold internal/session/snapshots internal/session/states internal/session/terms internal/session/undo internal/wire", "it alone connects the record of a session with its sandbox"},
	"internal/session/displays":         {". internal/notebook internal/outputs internal/record", "it gets cells as functions, and knows no session"},
	"internal/session/notes":            {"", "it updates a file, and does not know the content"},
	"internal/session/snapshots":        {". internal/sandbox", "it stores snapshots, and does not know sessions"},
	"internal/registry":                 {". internal/egress internal/exclusive internal/mirror internal/packages internal/record internal/sandbox internal/session internal/session/idle internal/session/paths internal/session/snapshots internal/session/terms", "it manages sessions, and does not know their sandboxes"},
	"internal/session/idle":             {". internal/record", "it decides from facts about a session, and needs no session"},
	"internal/session/paths":            {"internal/record", "it has the paths of files"},
	"internal/session/refold":           {". internal/notebook internal/record", "it reads and writes only records"},
	"internal/session/states":           {".", "it is a table of states"},
	"internal/attachment":               {". internal/attachment/peaks internal/command internal/egress internal/guest internal/guestapi internal/kernel internal/mirror internal/notebook internal/packages internal/sandbox internal/record internal/wire", "it runs one live sandbox; it gets the records of cells, and does not know the database, the owner and the expiry"},
	"internal/attachment/peaks":         {". internal/sandbox", "it measures one sandbox"},
	"internal/history":                  {". internal/command internal/kernel internal/notebook internal/notebook/export internal/outputs internal/record internal/transcript", "it reads the journal, and needs no sandbox"},
	"internal/record":                   {".", "it has the stored data, and no behaviour"},
	"internal/notebook/export":          {".", "it turns cells into other files"},
	"internal/transcript":               {".", "it reads events from any source"},
	"internal/wire":                     {". internal/guestapi internal/jupyter internal/memory internal/record internal/session/terms", "it gets its session and its links as small interfaces"},
	"internal/template":                 {". internal/egress internal/guest internal/guestapi internal/packages internal/sandbox internal/sandbox/warm", "it builds snapshots, and knows no session"},
	"internal/store":                    {". internal/memory internal/outputs internal/record", "it stores records, and the packages that use it declare the interfaces"},
	"internal/server/e2b":               {". internal/attachment internal/exclusive internal/registry internal/session internal/session/terms internal/server/e2b/access internal/server/exchange", "it translates another API for the same sessions"},
	"internal/server/e2b/access":        {". internal/session internal/server/exchange", "it finds sandboxes, without the content of a request"},
	"internal/server/envd":              {". internal/attachment internal/registry internal/session internal/server/e2b/access internal/server/envd/filesystempb internal/server/envd/processpb internal/server/exchange", "it translates another API for the same sessions"},
	"internal/server/envd/filesystempb": {"", "it is generated"},
	"internal/server/envd/processpb":    {"", "it is generated"},
	"internal/server/jupyter":           {". internal/exclusive internal/memory internal/registry internal/session internal/session/terms internal/server/exchange internal/server/jupyter/contents internal/server/jupyter/framing internal/server/jupyter/specs", "it translates another API for the same sessions"},
	"internal/server/jupyter/contents":  {". internal/attachment internal/exclusive internal/memory internal/notebook internal/server/download internal/server/exchange internal/session", "it gets the folders of a caller from a function, and knows no kernel"},
	"internal/server/jupyter/framing":   {"", "it converts messages without knowing their meaning"},
	"internal/server/jupyter/specs":     {"", "it reads the files of an image, and knows no server"},
	"internal/session/terms":            {". internal/guestapi internal/record", "it checks requests, and knows no session"},
	"internal/session/undo":             {"internal/memory", "it runs functions"},
	// Packages that access the files in a sandbox. They run in a process that has only the rights of user code.
	"internal/agent/files":        {". internal/guestapi internal/agent/files/notify", "it runs with the rights of user code, and does not know the agent"},
	"internal/agent/files/notify": {"internal/rawio", "it reports changes in a directory, and nothing else"},
	// Parts of the driver, and packages for any use.
	"internal/lazy":                       {"", "every package can use it"},
	"internal/pause":                      {"", "every package can use it"},
	"internal/mirror":                     {". internal/exclusive internal/guest internal/guestapi", "it copies files, and does not know their owner"},
	"internal/sandbox/embedded/cgroup":    {"internal/sandbox internal/sandbox/embedded/process", "it reads Linux's cgroup files, and knows no driver"},
	"internal/sandbox/embedded/process":   {"", "it watches processes of any kind"},
	"internal/sandbox/embedded/runner":    {"", "it is the contract between the driver and another program"},
	"internal/sandbox/embedded/runsc":     {"internal/sandbox/embedded/filter internal/sandbox/embedded/process internal/sandbox/embedded/runner internal/sandbox/embedded/syscalls", "each process of a sandbox initialises everything that it links"},
	"internal/sandbox/embedded/snapshots": {"internal/sandbox", "it stores files, and does not know gVisor"},
	"internal/sandbox/embedded/syscalls":  {"", "it restricts gVisor, and knows no driver"},
	"internal/sandbox/embedded/filter":    {"", "it provides filters to gVisor, and knows no driver"},
	// Helpers of tests, next to the packages that they help.
	"internal/guestapi/boundstest":       {". internal/guestapi", "it is one table for the tests of both sides"},
	"internal/jupyter/jupytertest":       {"internal/jupyter internal/jupyter/stream internal/jupyter/zmtp", "it is a kernel that follows a script"},
	"internal/sandbox/sandboxtest":       {"internal/sandbox internal/guestapi", "it is the contract of every driver"},
	"internal/sandbox/sandboxtest/probe": {"internal/link internal/sandbox/sandboxtest", "it replaces the agent in tests of sandboxes"},
	// Tests of the whole project.
	"test/e2e":         {". client test/servertest", "it uses the binary like a user"},
	"test/servertest":  {". client", "it starts the binary for tests"},
	"test/hostile":     {". client test/servertest", "it attacks the binary as code in a sandbox"},
	"test/containment": {"", "it runs tests of other packages and reads their output"},
	"test/report":      {"", "it reads the output of go test"},
	"test/prose":       {"", "it reads texts"},
	"test/docs":        {"", "it reads texts"},
	"test/engine":      {". client", "it uses the service like a user"},
	// Programs connect packages.
	"cmd/cellhold-guest":       {". internal/agent internal/agent/deputy internal/agent/files internal/agent/command internal/agent/install internal/agent/process internal/agent/written internal/guestapi internal/jupyter internal/link internal/rawio", "it runs next to hostile code; less code is safer"},
	"cmd/cellhold-runner":      {"internal/sandbox/embedded/runsc", "each process of a sandbox initialises everything that it links"},
	"cmd/cellhold":             {"*", "it connects the parts of the command line"},
	"internal/cli/console":     {".", "it writes to people, and knows no command"},
	"internal/cli/remote":      {". client internal/cli/console internal/cli/kernelproxy", "its commands use a server only through the client"},
	"internal/cli/kernelproxy": {". client internal/cli/console internal/guestapi internal/jupyter internal/jupyter/zmtp internal/server/jupyter/framing", "it passes messages on, through the client of a server"},
	"internal/cli/output":      {". internal/cli/console internal/cli/picture", "it prints events, and knows no command"},
	"internal/cli/picture":     {"", "it draws pictures, and knows no session"},
	"internal/cli/answer":      {".", "it reads lines, and knows no session"},
	"internal/cli/repl":        {". client internal/cli/answer internal/cli/console internal/cli/output", "it runs on any server, through the client"},
	"internal/cli/watch":       {". client internal/cli/answer internal/cli/console internal/cli/output internal/cli/remote", "its commands use a server only through the client"},
	"internal/cli/script":      {". client internal/cli/console internal/cli/remote", "it runs on any server, through the client"},
	"internal/cli/setup":       {"*", "it builds a server from all its parts"},
	"internal/cli/container":   {"internal/sandbox/embedded/cgroup", "it runs before anything is opened"},
	"docker":                   {"", "it holds one file"},
	"internal/cli/doctor":      {". internal/cli/console internal/cli/setup internal/image internal/sandbox internal/sandbox/embedded internal/session/snapshots internal/template", "it checks what a server would use"},
}

// foreign has, for each module that is not ours, the only packages that can import it.
var foreign = map[string]string{
	"gvisor.dev/gvisor":                        "internal/sandbox/embedded/runsc internal/sandbox/embedded/syscalls internal/sandbox/embedded/filter", // no stable API: few packages to change after an update
	"modernc.org/sqlite":                       "internal/store",
	"github.com/google/go-containerregistry":   "internal/image",
	"github.com/hashicorp/yamux":               "internal/link",
	"golang.org/x/net/idna":                    "internal/egress", // a second parser could read a name differently
	"github.com/danielgtaylor/huma/v2":         "internal/server internal/server/article internal/server/docs internal/server/introspection internal/server/jupyter internal/server/runs internal/server/ports",
	"github.com/alecthomas/kong":               "cmd/cellhold internal/cli/setup",
	"github.com/willabides/kongplete":          "cmd/cellhold",
	"github.com/posener/complete":              "cmd/cellhold", // the predictors of kongplete have its types
	"github.com/alecthomas/mango-kong":         "cmd/cellhold",
	"github.com/muesli/roff":                   "cmd/cellhold",                      // mango-kong writes into its document
	"github.com/modelcontextprotocol/go-sdk":   "bench/contender demo internal/mcp", // the benchmark and the demo are clients
	"connectrpc.com/connect":                   "internal/server/envd",
	"github.com/coder/websocket":               "bench/contender internal/cli/kernelproxy internal/server/jupyter internal/server", // the benchmark, the proxy and the server's tests are clients
	"google.golang.org/protobuf":               "internal/server/envd internal/server/envd/filesystempb internal/server/envd/processpb",
	"golang.org/x/image":                       "internal/mcp",             // scales images down
	"github.com/microcosm-cc/bluemonday":       "internal/notebook/export", // cleans the HTML of outputs
	"gopkg.in/yaml.v3":                         "cmd/cellhold internal/cli/setup",
	"github.com/BurntSushi/toml":               "internal/cli/setup",
	"golang.org/x/net":                         "internal/egress internal/packages/index internal/notebook/export", // idna for host names; html for the pages of package indexes, and in a test of export
	"golang.org/x/term":                        "internal/cli/console internal/cli/picture internal/cli/remote internal/cli/repl",
	"github.com/reeflective/readline":          "internal/cli/repl",
	"github.com/opencontainers/runtime-spec":   "internal/sandbox/embedded internal/sandbox/embedded/runsc",
	"github.com/google/subcommands":            "internal/sandbox/embedded/runsc", // the interface of gVisor's commands
	"github.com/santhosh-tekuri/jsonschema/v6": "internal/notebook",               // tests only
}

// guestModules are the modules that can be linked into the program that runs next to hostile code.
var guestModules = []string{"cellhold", "github.com/hashicorp/yamux"}

// emptyNames are package names that do not describe the content.
var emptyNames = strings.Fields("util utils common shared types model core base helper helpers manager service controller factory impl")

const (
	maxFile  = 700 // lines; a longer file cannot be read top-down
	maxFunc  = 100 // lines
	maxChain = 10  // packages in the longest chain of imports

	maxPackage        = 3500 // lines of a package without its tests; a longer package has more than one job
	maxSessionPackage = 2500 // lines of each package in sessionPackages
	maxSessionMethods = 40   // of session.Session
)

// exceptions has the reason for each exception. The key is the rule and the file, such as "sleep x_test.go".
var exceptions = map[string]string{
	"long-file internal/server/envd/filesystempb/filesystem.pb.go": "it is generated",
	"long-file internal/server/envd/processpb/process.pb.go":       "it is generated",
}

type pkg struct {
	ImportPath, Dir, Name, Doc         string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports                            []string
	Standard                           bool
	Module                             *struct{ Path string }
}

// short returns the path relative to the module.
func (p pkg) short() string {
	if p.ImportPath == "cellhold" {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, "cellhold/")
}

// list runs go list.
func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Name,Doc,GoFiles,TestGoFiles,XTestGoFiles,Imports,Standard,Module"}, args...)...)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, problems.String())
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

var (
	listOnce sync.Once
	listed   []pkg
)

// packages returns all packages of the module.
func packages(t *testing.T) []pkg {
	t.Helper()
	listOnce.Do(func() { listed = list(t, "./...") })
	return listed
}

func TestPackagesImportOnlyAllowedPackages(t *testing.T) {
	for _, p := range packages(t) {
		rule, known := imports[p.short()]
		if !known {
			t.Errorf("%s: a new package; add to cellhold_test.go what it can import, and why", p.short())
			continue
		}
		for _, imp := range p.Imports {
			ours, isOurs := strings.CutPrefix(imp, "cellhold")
			if !isOurs {
				continue
			}
			ours = strings.TrimPrefix(ours, "/")
			if ours == "" {
				ours = "."
			}
			if ours == "internal/lazy" || ours == "internal/pause" {
				continue // they have no dependencies and no state
			}
			if strings.HasPrefix(ours, "cmd/") {
				t.Errorf("%s imports %s: a package must not import a program", p.short(), ours)
			}
			if rule.allowed != "*" && !slices.Contains(strings.Fields(rule.allowed), ours) {
				t.Errorf("%s imports %s; it can import only [%s], because %s", p.short(), ours, rule.allowed, rule.reason)
			}
		}
	}
}

func TestForeignModulesStayInTheirPackages(t *testing.T) {
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			for module, allowed := range foreign {
				if (imp == module || strings.HasPrefix(imp, module+"/")) && !slices.Contains(strings.Fields(allowed), p.short()) {
					t.Errorf("%s imports %s; only %s can import it", p.short(), imp, allowed)
				}
			}
		}
	}
}

func TestTheGuestLinksOnlyItsModules(t *testing.T) {
	for _, p := range list(t, "-deps", "./cmd/cellhold-guest") {
		if !p.Standard && p.Module != nil && !slices.Contains(guestModules, p.Module.Path) {
			t.Errorf("the guest's program links %s", p.ImportPath)
		}
	}
}

func TestTheServerLinksNoGVisor(t *testing.T) {
	for _, p := range list(t, "-deps", "./cmd/cellhold") {
		if p.Module != nil && p.Module.Path == "gvisor.dev/gvisor" {
			t.Errorf("the server links %s; only the runner can link gVisor", p.ImportPath)
		}
	}
}

func TestChainsOfImportsAreShort(t *testing.T) {
	imports := map[string][]string{}
	for _, p := range packages(t) {
		imports[p.ImportPath] = p.Imports
	}
	var longest func(path string) []string
	longest = func(path string) []string {
		var best []string
		for _, imp := range imports[path] {
			if _, ours := imports[imp]; ours {
				if chain := longest(imp); len(chain) > len(best) {
					best = chain
				}
			}
		}
		return append([]string{path}, best...)
	}
	for path := range imports {
		if chain := longest(path); len(chain) > maxChain {
			t.Errorf("a chain of imports has %d packages, the limit is %d: %s", len(chain), maxChain, strings.Join(chain, " → "))
		}
	}
}

func TestPackagesKeepTheirSizeLimits(t *testing.T) {
	for _, p := range packages(t) {
		lines, methods := 0, map[string]int{}
		for _, name := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			lines += bytes.Count(text, []byte{'\n'})
			file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range file.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
					methods[receiver(f)]++
				}
			}
		}
		most := maxPackage
		if slices.Contains(sessionPackages, p.short()) {
			most = maxSessionPackage
		}
		if lines > most {
			t.Errorf("%s has %d lines, the limit is %d: move one of its jobs to another package", p.short(), lines, most)
		}
		if n := methods["Session"]; p.short() == "internal/session" && n > maxSessionMethods {
			t.Errorf("session.Session has %d methods, the limit is %d", n, maxSessionMethods)
		}
	}
}

// sessionPackages have a lower limit. They were one package, which was too large.
var sessionPackages = []string{"internal/registry", "internal/session", "internal/attachment", "internal/history"}

// receiver returns the name of a method's type.
func receiver(f *ast.FuncDecl) string {
	e := f.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

func TestPackagesHaveCommentsAndNames(t *testing.T) {
	for _, p := range packages(t) {
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = filepath.Base(p.Dir) + " " // the comment of a program begins with one more word, such as Command
			_, p.Doc, _ = strings.Cut(p.Doc, " ")
		}
		if len(p.GoFiles) > 0 && !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: the package's comment begins %q, want %q", p.short(), p.Doc, want+"…")
		}
		if slices.Contains(emptyNames, p.Name) {
			t.Errorf("%s: the name does not describe the content", p.short())
		}
	}
}

func TestFilesKeepTheRules(t *testing.T) {
	for _, p := range packages(t) {
		tests := slices.Concat(p.TestGoFiles, p.XTestGoFiles)
		for _, name := range slices.Concat(p.GoFiles, tests) {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			s := source{name: filepath.Join(p.short(), name), program: p.Name == "main"}
			s.test = slices.Contains(tests, name) || strings.HasSuffix(p.Name, "test") // such as sandboxtest
			for _, complaint := range s.check(text) {
				t.Error(complaint)
			}
		}
	}
}

func TestBrokenRulesAreReported(t *testing.T) {
	tests := []struct {
		name string
		file source
		text string
		want string // part of the message; empty means no message
	}{
		{"a long file", source{}, "package p\n" + strings.Repeat("//\n", maxFile), "the limit is 700"},
		{"a long function", source{}, "package p\nfunc f() {\n" + strings.Repeat("\n", maxFunc) + "}\n", "f has 102 lines"},
		{"a sleeping test", source{test: true}, "package p\nfunc f() { time.Sleep(1) }\n", "sleeps"},
		{"a new root context", source{}, "package p\nfunc f() { g(context.Background()) }\n", "context.Background"},
		{"a context in a program", source{program: true}, "package p\nfunc f() { g(context.Background()) }\n", ""},
		{"a read of the environment", source{}, "package p\nvar x = os.Getenv(\"X\")\n", "environment"},
		{"a caller's patience", source{name: "internal/session/x.go"}, "package p\nfunc f() { g(context.WithoutCancel(ctx)) }\n", "memory.Detach"},
		{"a correct file", source{}, "package p\nfunc f() {}\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := strings.Join(test.file.check([]byte(test.text)), "; ")
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// source is one file under inspection.
type source struct {
	name    string
	test    bool // a test file
	program bool // part of package main
	set     *token.FileSet
	found   []string
}

// check returns a message for each rule that the file breaks.
func (s *source) check(text []byte) []string {
	s.set = token.NewFileSet()
	file, err := parser.ParseFile(s.set, s.name, text, parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	if lines := bytes.Count(text, []byte{'\n'}); lines > maxFile {
		s.complain("long-file", file, "%d lines, the limit is %d", lines, maxFile)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if lines := s.line(n.End()) - s.line(n.Pos()) + 1; lines > maxFunc {
				s.complain("long-func", n, "%s has %d lines, the limit is %d", n.Name.Name, lines, maxFunc)
			}
		case *ast.SelectorExpr:
			if of, ok := n.X.(*ast.Ident); ok {
				s.use(n, of.Name+"."+n.Sel.Name)
			}
		}
		return true
	})
	return s.found
}

// use checks the use of one name of another package.
func (s *source) use(n ast.Node, name string) {
	switch name {
	case "time.Sleep":
		if s.test {
			s.complain("sleep", n, "a test that sleeps is slow or flaky; wait for the event, or use the fake clock")
		}
	case "context.Background", "context.TODO":
		if !s.test && !s.program {
			s.complain("background", n, "%s: take the caller's context; for cleanup, WithoutCancel and a deadline", name)
		}
	case "context.WithoutCancel":
		if !s.test && (strings.HasPrefix(s.name, "internal/session/") || strings.HasPrefix(s.name, "internal/server/exchange/")) {
			s.complain("detach", n, "%s: it keeps the caller's patience, so reads of large records can fail; use memory.Detach", name)
		}
	case "os.Getenv", "os.LookupEnv", "os.Environ":
		if !s.test && !s.program {
			s.complain("environment", n, "%s: only programs read the environment", name)
		}
	}
}

func (s *source) line(p token.Pos) int { return s.set.Position(p).Line }

func (s *source) complain(rule string, n ast.Node, format string, args ...any) {
	if _, excepted := exceptions[rule+" "+s.name]; !excepted {
		s.found = append(s.found, fmt.Sprintf("%s:%d: ", s.name, s.line(n.Pos()))+fmt.Sprintf(format, args...))
	}
}
