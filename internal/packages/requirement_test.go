package packages

import (
	"strings"
	"testing"

	"cellhold"
)

func TestARequirementIsWrittenInOneCanonicalForm(t *testing.T) {
	sum := "sha256:" + strings.Repeat("a", 64)
	for _, test := range []struct{ text, want string }{
		{"Cell_Demo", "cell-demo"},
		{" a.b [ Z , y_y ] >= 1.0 , < 2 ", "a-b[y-y,z]>=1.0,<2"},
		{"a (==1.*)", "a==1.*"},
		{"a===1.0+local.1", "a===1.0+local.1"},
		{`a~=1.4; python_version<"3.13" and (os_name == 'posix' or extra in "x, y")`, `a~=1.4 ; python_version < "3.13" and ( os_name == 'posix' or extra in "x, y" )`},
		{"a==1 --hash=" + sum + " --hash " + sum, "a==1 --hash=" + sum + " --hash=" + sum},
	} {
		r, err := ParseRequirement(test.text)
		if err != nil || r.String() != test.want {
			t.Errorf("%q: got %q, %v; want %q", test.text, r.String(), err, test.want)
		}
	}
}

func TestInvalidRequirementsAreRefused(t *testing.T) {
	for _, text := range []string{
		"", " ", "-", "--index-url=http://x", "-e .", "-r x", "./a", "/a", "../a.whl", "a.whl/b", "C:\\a", "~/a",
		"http://x/a.whl", "git+https://x/a", "file:///a", "a @ http://x/a.whl", "a@http://x", "a @ file:///etc/passwd",
		"a\nb", "a\r--no-index", "a\x00", "a\x1b[0m", "а", "a b", "a, b", "a==1 b", "a --no-deps", "a==1 --hash=md5:0", "a --hash=sha256:zz",
		"a --hash=sha256:" + strings.Repeat("a", 64) + " --index-url=x", "a[", "a[b", "a[-]", "a[b;c]", "a>", "a=1", "a==", "a==1,", "a==-1", "a==1 ; ", "a;", "a; x",
		"a; os_name", "a; os_name == posix", "a; 'a' == 'b'", "a; os_name == os_name", "a; import os", "a; os_name == 'x' and", "a; (os_name == 'x'", `a; os_name == "x\""`,
		"a; " + strings.Repeat("(", 50) + "os_name == 'x'" + strings.Repeat(")", 50), strings.Repeat("a", 200), "a ; os_name == 'x' # b", "a-", "_a", "a$b", "${HOME}",
	} {
		if r, err := ParseRequirement(text); cellhold.KindOf(err) != cellhold.Invalid {
			t.Errorf("%q: got %+v, %v; want kind invalid", text, r, err)
		}
	}
}

// An error about versions would not tell a caller to use a name in place of the URL.
func TestTheErrorForAURLSaysThatURLsAreNotAllowed(t *testing.T) {
	for _, text := range []string{"http://x/a.whl", "git+https://x/a", "file:///a", "a @ http://x/a.whl"} {
		if _, err := ParseRequirement(text); err == nil || !strings.Contains(err.Error(), "not from a URL") {
			t.Errorf("%q: got %v, want an error with \"not from a URL\"", text, err)
		}
	}
}

func TestARequirementsFileWithAnOptionOrURLIsInvalid(t *testing.T) {
	sum := strings.Repeat("b", 64)
	list, hashes, err := ParseFile("# a lock\r\n--require-hashes\na==1 \\\n    --hash=sha256:" + sum + " \\\n  --hash=sha256:" + sum + "\n\n  # more\nb>=2 # why\n")
	if err != nil || !hashes || len(list) != 2 || len(list[0].Hashes) != 2 || list[1].String() != "b>=2" {
		t.Errorf("got %+v, hashes %v, %v; want a with 2 hashes, b>=2, and hashes true", list, hashes, err)
	}
	for _, bad := range []string{"-r other.txt", "--extra-index-url http://x/", "-c c.txt", "--find-links .", "a @ http://x", "--trusted-host x", "-e .", "."} {
		if _, _, err := ParseFile("ok\n" + bad + "\n"); cellhold.KindOf(err) != cellhold.Invalid {
			t.Errorf("%q: got %v, want kind invalid", bad, err)
		}
	}
}

// FuzzRequirement checks that an accepted requirement is one line of printable ASCII. The line cannot be read as an
// option, a URL or a path. Parsing it again gives the same line.
func FuzzRequirement(f *testing.F) {
	for _, seed := range []string{"a", "a[b]>=1,<2; os_name == 'x'", "a==1 --hash=sha256:" + strings.Repeat("0", 64), "a @ b", "-e a", "a;(b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRequirement(text)
		if err != nil {
			return
		}
		line := r.String()
		if strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c > '~' }) || !validName(r.Name) {
			t.Fatalf("%q: got %q, want printable ASCII and a valid name", text, line)
		}
		head, _, _ := strings.Cut(line, " ; ")
		head, _, _ = strings.Cut(head, " --hash=")
		if strings.ContainsAny(head, "/\\@:$`#% ") || strings.HasPrefix(head, "-") {
			t.Fatalf("%q: got %q, want no option, URL or path", text, line)
		}
		if again, err := ParseRequirement(line); err != nil || again.String() != line {
			t.Fatalf("%q: got %q, and for that line %q, %v; want the same line", text, line, again.String(), err)
		}
	})
}

func TestTheZeroPolicyAllowsNothing(t *testing.T) {
	p, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Plan(Request{Requirements: []string{"a"}}); cellhold.KindOf(err) != cellhold.Denied {
		t.Errorf("install: got %v, want kind denied", err)
	}
	if _, err := p.Remove(t.Context(), nil, []string{"a"}); cellhold.KindOf(err) != cellhold.Denied {
		t.Errorf("remove: got %v, want kind denied", err)
	}
	if _, err := New(Options{Policy: Policy{Mode: "opne"}}); err == nil {
		t.Error("a misspelt mode: got no error, want one")
	}
	if _, err := New(Options{Policy: Policy{Mode: Allowlist, Allow: []string{"a b"}}}); err == nil {
		t.Error("an invalid pattern: got no error, want one")
	}
}

func TestAnAllowlistMatchesWholeNamesAndPrefixes(t *testing.T) {
	p := Policy{Mode: Allowlist, Allow: []string{"Cell_Demo", "corp-*"}}
	for name, want := range map[string]bool{"cell-demo": true, "cell-demo-2": false, "corp-x": true, "corporation": false, "x": false} {
		if got := p.allowed(name) == nil; got != want {
			t.Errorf("%s: got allowed %v, want %v", name, got, want)
		}
	}
}

func TestALockCanBeReadAsARequirementsFile(t *testing.T) {
	sum := strings.Repeat("c", 64)
	lock, err := Merge([]cellhold.Package{{Name: "gone", Version: "1"}, {Name: "b", Version: "1"}},
		[]cellhold.PackageChange{{Name: "gone", Before: "1"}, {Name: "b", Before: "1", After: "2"}, {Name: "a", After: "1.0"}},
		[]cellhold.Package{{Name: "b", Version: "2", SHA256: sum}, {Name: "a", Version: "1.0", SHA256: sum}})
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := ParseFile(Lock(lock))
	if err != nil || len(list) != 2 || list[0].String() != "a==1.0 --hash=sha256:"+sum || list[1].Name != "b" {
		t.Errorf("got %+v, %v; want a==1.0 with its hash, and b", list, err)
	}
}
