package guard

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnExposedServerNeedsTokensAndEitherTLSOrInsecureHTTP(t *testing.T) {
	for _, tt := range []struct {
		e  Exposure
		ok bool
	}{
		{Exposure{Addr: "127.0.0.1:5002"}, true},
		{Exposure{Addr: "localhost:5002"}, true},
		{Exposure{Addr: "[::1]:5002"}, true},
		{Exposure{Addr: "127.8.9.1:0"}, true},
		{Exposure{Addr: "[::ffff:127.0.0.1]:1"}, true},
		{Exposure{Addr: ":5002"}, false},
		{Exposure{Addr: "0.0.0.0:5002"}, false},
		{Exposure{Addr: "[::]:5002"}, false},
		{Exposure{Addr: "box.example:5002"}, false},
		{Exposure{Addr: "localhost.evil.example:1"}, false},
		{Exposure{Addr: "5002"}, false},
		{Exposure{Addr: ":5002", Auth: true}, false},
		{Exposure{Addr: ":5002", Auth: true, TLS: true}, true},
		{Exposure{Addr: ":5002", Auth: true, InsecureHTTP: true}, true},
		{Exposure{Addr: ":5002", TLS: true, InsecureHTTP: true}, false},
	} {
		if err := CheckExposure(tt.e); (err == nil) != tt.ok {
			t.Errorf("%+v: got the error %v, want success %t", tt.e, err, tt.ok)
		}
	}
}

func TestAnExposedServerAcceptsAddressesAndRefusesUnknownNames(t *testing.T) {
	g := &Guard{}
	for host, want := range map[string]bool{"192.0.2.7:80": true, "[2001:db8::1]": true, "localhost": true, "evil.example": false, "": false} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		local := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 80}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
		if got := g.hostAllowed(r); got != want {
			t.Errorf("%q: got allowed %v, want %v", host, got, want)
		}
	}
}

func TestTheTokenFileIsPrivateAndIsCreatedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "home", "token")
	first, err := LoadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	name, token := first.First()
	if name != "default" || len(token) < 43 {
		t.Errorf("got the name %s and the token %s, want default and at least 43 characters", name, token)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token file: got mode %v, %v; want 0600", info.Mode(), err)
	}
	second, err := LoadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	if caller, ok := second.caller(token); !ok || caller != "default" {
		t.Errorf("the caller of the token in the second read: got %q, %v; want default, true", caller, ok)
	}
	if left, err := filepath.Glob(filepath.Dir(path) + "/.*"); err != nil || len(left) != 0 {
		t.Errorf("got the temporary files %v, %v; want 0", left, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTokens(path); err == nil || !strings.Contains(err.Error(), "0640") {
		t.Errorf("a file that other users can read: got %v, want an error with 0640", err)
	}
}

func TestInvalidTokenFilesAreRefused(t *testing.T) {
	good := strings.Repeat("a", minToken)
	for name, content := range map[string]string{
		"empty":        "",
		"comment only": "# nothing\n",
		"short":        "ann short\n",
		"three words":  "ann " + good + " x\n",
		"no name":      good + "\n",
		"bad name":     "an/n " + good + "\n",
		"name twice":   "ann " + good + "\nann " + good + "b\n",
		"token twice":  "ann " + good + "\nbob " + good + "\n",
		"too long":     strings.Repeat("x", 1<<17),
	} {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadTokens(path); err == nil {
			t.Errorf("%s: got no error, want one", name)
		} else if strings.Contains(err.Error(), good) {
			t.Errorf("%s: got the error %v, want one without the token", name, err)
		}
	}
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.WriteFile(filepath.Join(dir, "real"), []byte("ann "+good+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadTokens(link); err == nil {
		t.Error("a link to a token file: got no error, want one")
	}
	if _, err := LoadTokens(dir); err == nil {
		t.Error("a directory: got no error, want one")
	}
}

func TestEachTokenErrorHasAMessageOfItsOwn(t *testing.T) {
	tokens, err := LoadTokens(filepath.Join(t.TempDir(), "token"))
	if err != nil {
		t.Fatal(err)
	}
	_, right := tokens.First()
	g := &Guard{Tokens: tokens}
	for _, tt := range []struct {
		headers []string
		want    string
	}{
		{nil, noToken},
		{[]string{""}, notAToken},
		{[]string{"Bearer"}, notAToken},
		{[]string{right}, notAToken},
		{[]string{"Basic " + right}, notAToken},
		{[]string{"Bearer " + right[1:]}, wrongToken},
		{[]string{"Bearer default " + right}, wholeLine},
		{[]string{"Bearer " + right, "Bearer " + right}, twoTokens},
		{[]string{"Bearer " + right}, ""},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = tt.headers
		caller, fault := g.authenticate(r)
		if fault != tt.want || (caller == "") != (tt.want != "") {
			t.Errorf("%d headers: got the caller %q and the message %q, want the message %q", len(tt.headers), caller, fault, tt.want)
		}
	}
}

func TestTheKeyOfACallerDependsOnlyOnItsToken(t *testing.T) {
	load := func(lines string) *Tokens {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		tokens, err := LoadTokens(path)
		if err != nil {
			t.Fatal(err)
		}
		return tokens
	}
	a, b := strings.Repeat("a", minToken), strings.Repeat("b", minToken)
	key := func(tokens *Tokens, name string) string {
		k, known := tokens.Key(name)
		if known != (len(k) == 32) {
			t.Errorf("%s: got %d bytes and known %t, want 32 bytes for a known caller", name, len(k), known)
		}
		return string(k)
	}
	first := load("ann " + a + "\nbob " + b + "\n")
	if key(first, "ann") == key(first, "bob") || key(first, "ann") != key(load("ann "+a+"\n"), "ann") || key(first, "ann") == key(load("ann "+b+"\n"), "ann") {
		t.Error("the key of a caller must depend on its token, and on nothing else")
	}
	if key(first, "eve") != "" {
		t.Error("got a key for a caller without a token, want none")
	}
}
