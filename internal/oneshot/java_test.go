package oneshot

import (
	"strings"
	"testing"
	"time"

	"cellhold"
)

func TestJavaCodeNamesItsFileAndItsClass(t *testing.T) {
	const method = "{ public static void main(String[] args) {} }"
	for code, want := range map[string]string{
		"":                                      "Main Main",
		"class Main " + method:                  "Main Main",
		"public class Solution " + method:       "Solution Solution",
		"class Solution " + method:              "Main Solution",
		"public final class A " + method:        "A A",
		"package a.b;\npublic class C" + method: "C a.b.C",
		"class Node { void add() {} } class Run " + method:                                                                                                "Main Run",
		"public class Data { } class Run " + method:                                                                                                       "Data Run",
		"public class Out { static class In { } static void main(String[] a) {} }":                                                                        "Out Out",
		"public class Out { static class In " + method + " }":                                                                                             "Out Out",
		"interface Shape { double area(); } record Box(int a) {} enum Kind { A } public class App " + method:                                              "App App",
		"// public class No {\n/* public class Never { */ class Yes { String s = \"public class Bad {\"; char c = '{'; static void main(String[] a) {} }": "Main Yes",
		"class A { String s = \"\"\"\n  class \"B\" {\n  \"\"\"; } class C " + method:                                                                     "Main C",
		"public class Größe " + method:                                                                                                                    "Größe Größe",
		"public class " + strings.Repeat("x", 300) + " " + method:                                                                                         "Main " + strings.Repeat("x", 300),
		"import java.util.*;\n@Deprecated(since = \"1\")\npublic class Z " + method:                                                                       "Z Z",
	} {
		file, main := javaNames(code)
		if got := file + " " + main; got != want {
			t.Errorf("%s\ngot %s, want %s", code, got, want)
		}
	}
}

// TestJavaCodeCannotDelayTheServer: the names of the classes are read before a sandbox starts.
func TestJavaCodeCannotDelayTheServer(t *testing.T) {
	for _, part := range []string{"{", "\"", "'", "/*", "\"\"\"", "class a ", "public ", "void main("} {
		begun := time.Now()
		javaNames(strings.Repeat(part, (1<<20)/len(part)))
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("1 MiB of %q took %s", part, took)
		}
	}
}

func TestAPlanCompilesAndRunsTheClassOfItsCode(t *testing.T) {
	p, err := newPlan(cellhold.RunRequest{Language: "Java", Code: "package p; public class Sum { static void main(String[] a) {} }", Args: []string{"7"}}, maxDeadline)
	if err != nil || p.files[0].path != "Sum.java" || !strings.HasSuffix(strings.Join(p.language.compile, " "), " Sum.java") ||
		!strings.HasSuffix(strings.Join(p.argv(nil), " "), " p.Sum 7") {
		t.Errorf("got the file %+v, the compiler %q and the program %q, %v; want Sum.java, and p.Sum with 7", p.files, p.language.compile, p.argv(nil), err)
	}
}
