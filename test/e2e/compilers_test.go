package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// compiled has for each compiled language programs that read numbers, one on each line.
var compiled = map[string]struct {
	sum     string // prints the sum of the numbers
	wrong   string // the compiler refuses it
	message string // part of the compiler's message
	crash   string // ends by a signal, or with an exit status above 0 and a message
	loop    string // never ends
}{
	"c": {
		sum:     "#include <stdio.h>\nint main(void) { long n, sum = 0; while (scanf(\"%ld\", &n) == 1) sum += n; printf(\"%ld\\n\", sum); }",
		wrong:   "int main(void) { return nothing; }",
		message: "'nothing' undeclared",
		crash:   "#include <stdlib.h>\nint main(void) { abort(); }",
		loop:    "int main(void) { for (volatile int i = 0;; i++); }",
	},
	"C++": {
		sum:     "#include <bits/stdc++.h>\nint main() { long n, sum = 0; while (std::cin >> n) sum += n; std::cout << sum << std::endl; }",
		wrong:   "int main() { nothing(); }",
		message: "'nothing' was not declared",
		crash:   "#include <vector>\nint main() { std::vector<int> v; return v.at(3); }",
		loop:    "int main() { for (volatile int i = 0;; i = i + 1); }",
	},
	"go": {
		sum:     "package main\n\nimport (\n\t\"bufio\"\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc main() {\n\tsum, n := 0, 0\n\tfor in := bufio.NewReader(os.Stdin); ; sum += n {\n\t\tif _, err := fmt.Fscan(in, &n); err != nil {\n\t\t\tbreak\n\t\t}\n\t}\n\tfmt.Println(sum)\n}\n",
		wrong:   "package main\nfunc main() { nothing() }",
		message: "undefined: nothing",
		crash:   "package main\nfunc main() { var m map[int]int; m[1] = 2 }",
		loop:    "package main\nfunc main() { for {} }",
	},
	"rust": {
		sum:     "fn main() { println!(\"{}\", std::io::stdin().lines().map(|l| l.unwrap().trim().parse::<i64>().unwrap()).sum::<i64>()); }",
		wrong:   "fn main() { let n: i32 = \"nothing\"; }",
		message: "mismatched types",
		crash:   "fn main() { let v: Vec<i32> = std::env::args().skip(9).map(|_| 1).collect(); println!(\"{}\", v[3]); }",
		loop:    "fn main() { loop { std::hint::black_box(1); } }",
	},
	"java": {
		sum:     "import java.util.Scanner;\npublic class Sum { public static void main(String[] a) { long sum = 0; Scanner in = new Scanner(System.in); while (in.hasNextLong()) sum += in.nextLong(); System.out.println(sum); } }",
		wrong:   "class Main { public static void main(String[] a) { nothing(); } }",
		message: "cannot find symbol",
		crash:   "class Main { public static void main(String[] a) { System.out.println(a[3]); } }",
		loop:    "class Main { public static void main(String[] a) { for (;;); } }",
	},
	"typescript": {
		sum:     "import * as fs from 'fs';\nconst name: number[] = fs.readFileSync(0, 'utf8').trim().split('\\n').map(Number);\nlet sum = 0;\nfor (const n of new Set(name)) sum += n;\nconsole.log(sum);",
		wrong:   "const n: number = 'nothing';",
		message: "is not assignable to type 'number'",
		crash:   "throw new Error('no good');",
		loop:    "for (;;);",
	},
}

// compilers starts a server for runs in the image with compilers.
func compilers(t *testing.T) *server {
	t.Helper()
	return serve(t, newHome(t)) // if the image is missing, run: make polyglot
}

func TestCompiledProgramsPassAndFailTests(t *testing.T) {
	s := compilers(t)
	three, four := "3", "4"
	for language, x := range compiled {
		t.Run(language, func(t *testing.T) {
			r, err := s.Run(t.Context(), cellhold.RunRequest{Image: "polyglot", Language: language, Code: x.sum, Timeout: 30,
				Tests: []cellhold.RunTest{{Stdin: "1\n2\n", Stdout: &three}, {Stdin: "1\n2\n", Stdout: &four}}})
			if err != nil || r.Status != cellhold.RunFailed || r.Passed != 1 || len(r.Tests) != 2 || r.Tests[0].Status != cellhold.TestPassed || r.Tests[1].Status != cellhold.TestFailed {
				t.Fatalf("got %+v, %v; want a test that passed and one that failed", r, err)
			}
			t.Logf("%.1f s in all, the first test %.2f s, the second %.2f s", r.Usage.Wall, r.Tests[0].Wall, r.Tests[1].Wall)
		})
	}
	s.checkNoRuns(t)
}

func TestACompilerThatRefusesTheCodeGivesItsMessage(t *testing.T) {
	s := compilers(t)
	for language, x := range compiled {
		r, err := s.Run(t.Context(), cellhold.RunRequest{Image: "polyglot", Language: language, Code: x.wrong, Tests: []cellhold.RunTest{{}}})
		if err != nil || r.Status != cellhold.RunCompileError || r.Exit == nil || *r.Exit == 0 || len(r.Tests) > 0 {
			t.Errorf("%s: got %+v, %v; want status compile_error, an exit status and no tests", language, r, err)
		}
		// Compilers use typographic quotes in a locale with UTF-8.
		if said := strings.NewReplacer("‘", "'", "’", "'").Replace(r.Stdout.Text + r.Stderr.Text); !strings.Contains(said, x.message) {
			t.Errorf("%s: the compiler says %q, want %q", language, said, x.message)
		}
	}
}

func TestACompiledProgramThatCrashesOrNeverEnds(t *testing.T) {
	s := compilers(t)
	for language, x := range compiled {
		r, err := s.Run(t.Context(), cellhold.RunRequest{Image: "polyglot", Language: language, Code: x.crash})
		crashed := r.Status == cellhold.RunSignal && r.Signal == "ABRT" || r.Status == cellhold.RunExit && r.Exit != nil && *r.Exit > 0 && r.Stderr.Text != ""
		if err != nil || !crashed || (r.Status == cellhold.RunSignal) != strings.HasPrefix(strings.ToLower(language), "c") {
			t.Errorf("%s: a crash: got %+v, %v; want a signal for C and C++, else an exit status and a message", language, r, err)
		}
		r, err = s.Run(t.Context(), cellhold.RunRequest{Image: "polyglot", Language: language, Code: x.loop, Timeout: 1})
		if err != nil || r.Status != cellhold.RunTimeout || strings.Contains(r.Cause, "not compiled") {
			t.Errorf("%s: a loop: got %+v, %v; want a timeout of the program", language, r, err)
		}
	}
	s.checkNoRuns(t)
}

// TestACompilerHasTheLimitsOfTheRun: code can make a compiler work without an end and need any memory.
func TestACompilerHasTheLimitsOfTheRun(t *testing.T) {
	s := compilers(t)
	endless := "template<int n> struct A { static const long x = A<n - 1>::x + A<n - 2>::x * 3; };\ntemplate<int n, int k> struct B { static const long x = B<n - 1, 2 * k>::x + B<n - 1, 2 * k + 1>::x; };\ntemplate<int k> struct B<0, k> { static const long x = k; };\nint main() { return B<40, 1>::x; }"
	begun := time.Now()
	r, err := s.Run(t.Context(), cellhold.RunRequest{Image: "polyglot", Language: "cpp", Code: endless, Deadline: 20})
	if took := time.Since(begun); err != nil || r.Status != cellhold.RunTimeout && r.Status != cellhold.RunOOM || took > time.Minute || !strings.HasPrefix(r.Cause, "The code was not compiled. ") {
		t.Errorf("after %s: got %+v, %v; want the status timeout or oom, of the compiler", took, r, err)
	}
	if os.Geteuid() != 0 {
		t.Log("without root, limits of memory are not enforced")
		return
	}
	// The line of the array has a billion words.
	bomb := "#define A 1, 1, 1, 1, 1, 1, 1, 1, 1, 1\n"
	for c := 'A'; c < 'I'; c++ {
		bomb += fmt.Sprintf("#define %c %s\n", c+1, strings.TrimSuffix(strings.Repeat(string(c)+", ", 10), ", "))
	}
	r, err = s.Run(t.Context(), cellhold.RunRequest{Image: "polyglot", Language: "c", Code: bomb + "int a[] = { I };\nint main(void) { return a[3]; }",
		Limits: cellhold.Limits{Memory: 256 << 20}, Deadline: 120})
	if err != nil || r.Status != cellhold.RunOOM {
		t.Errorf("too much memory: got %+v, %v; want status oom", r, err)
	}
	t.Logf("%s: %s", r.Status, r.Cause)
}

func TestALanguageThatTheImageLacksNamesTheImageThatHasIt(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	_, err := s.Run(t.Context(), cellhold.RunRequest{Language: "go", Code: "package main"})
	if cellhold.KindOf(err) != cellhold.Invalid || !strings.Contains(err.Error(), "no program go") || !strings.Contains(err.Error(), "polyglot") {
		t.Errorf("got %v, want kind invalid, the program go and the image polyglot", err)
	}
}

// TestASessionUsesCompilersAsCommands: Go's own cache begins with the image's compiled library, and no network is needed.
func TestASessionUsesCompilersAsCommands(t *testing.T) {
	s := compilers(t)
	id := s.session(t, client.CreateSession{Image: "polyglot"})
	for path, content := range map[string]string{
		"m/go.mod": "module example.com/m\n\ngo 1.24\n", "m/m_test.go": "package main\n\nimport \"testing\"\n\nfunc TestIt(t *testing.T) {}\n",
		"m/m.go": "package main\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n\nfunc main() { fmt.Println(http.StatusOK) }\n",
		"a.c":    "int main(void) { return 7; }", "a.rs": "fn main() { print!(\"7\") }", "a.ts": "const n: number = 7; console.log(n);",
		"A.java": "class A { public static void main(String[] a) { System.out.print(7); } }",
	} {
		if _, err := s.WriteFile(t.Context(), id, path, strings.NewReader(content), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct{ line, want string }{
		{"cd m && go build -v -o /tmp/m . 2>&1 && /tmp/m", "example.com/m\n200\n"}, // the only package that is compiled
		{"cd m && GOFLAGS=-mod=mod go build -v -o /tmp/n ./... 2>&1 && /tmp/n", "200\n"},
		{"cd m && go vet ./... && go test ./... | cut -f 1-2", "ok  \texample.com/m\n"},
		{"gcc a.c && ./a.out; echo $?", "7\n"},
		{"rustc a.rs && ./a", "7"},
		{"javac A.java && java A", "7"},
		{"tsc --skipLibCheck a.ts && node a.js", "7\n"},
	} {
		begun := time.Now()
		c, err := s.RunCommand(t.Context(), id, client.Run{Line: x.line})
		if err != nil || c.Stdout.Text != x.want {
			t.Errorf("%s\ngot %q and %q, %v; want %q", x.line, c.Stdout.Text, c.Stderr.Text, err, x.want)
		}
		t.Logf("%.1f s: %s", time.Since(begun).Seconds(), x.line)
	}
}
