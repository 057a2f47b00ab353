package setup

import (
	"cellhold/internal/packages/index"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestThePackageSourcesOfUvAndPipAreRead(t *testing.T) {
	files := map[string]string{
		"/etc/pip.conf":               "[global]\nindex-url = https://pip.example/simple\ncert = /ca.pem\n[install]\nextra-index-url = https://one.example/simple\n  https://two.example/simple\n",
		"/home/me/.config/uv/uv.toml": "[[index]]\nurl = \"https://corp.example/simple\"\n[[index]]\nurl = \"https://uv.example/simple\"\ndefault = true\n",
		"/other.conf":                 "# a comment\n[global]\nno_index: true\nfind-links = /wheels\nproxy = http://proxy.example:3128\n",
	}
	read := func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	}
	for _, test := range []struct {
		name    string
		env     []string
		main    string
		extra   []string
		offline bool
	}{
		{"pip's file", nil, "https://pip.example/simple", []string{"https://one.example/simple", "https://two.example/simple"}, false},
		{"pip's environment", []string{"PIP_INDEX_URL=https://env.example/simple", "PIP_EXTRA_INDEX_URL=https://x.example"}, "https://env.example/simple", []string{"https://x.example"}, false},
		{"uv's file", []string{"HOME=/home/me", "PIP_CONFIG_FILE=" + os.DevNull}, "https://uv.example/simple", []string{"https://corp.example/simple"}, false},
		{"uv's environment", []string{"HOME=/home/me", "PIP_CONFIG_FILE=" + os.DevNull, "UV_DEFAULT_INDEX=https://d.example", "UV_INDEX=corp=https://c.example"}, "https://d.example", []string{"https://c.example", "https://corp.example/simple", "https://uv.example/simple"}, false},
		{"no index", []string{"PIP_CONFIG_FILE=/other.conf"}, "https://pip.example/simple", []string{"https://one.example/simple", "https://two.example/simple"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := readTools(test.env, read)
			if got.main != test.main || got.offline != test.offline || test.name != "uv's environment" && !reflect.DeepEqual(got.extra, test.extra) {
				t.Errorf("got %+v, want main %q, extra %q, offline %t", got, test.main, test.extra, test.offline)
			}
			if test.offline && (got.folder != "/wheels" || got.proxy == nil || got.proxy.Host != "proxy.example:3128" || got.authority != "/ca.pem") {
				t.Errorf("got %+v, want the folder /wheels, the proxy proxy.example:3128 and the authority /ca.pem", got)
			}
		})
	}
}

func TestAnIndexIsTrustedOnlyWithTheBundleOfItsAuthority(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.pypi.simple.v1+json")
		_, _ = io.WriteString(w, `{"meta":{"api-version":"1.0"},"name":"a","files":[]}`)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // the server logs an error if a client does not trust its certificate
	s.StartTLS()
	defer s.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(bundle, text, 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.URL + "/simple/")
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]int{bundle: http.StatusOK, "": http.StatusBadGateway} {
		roots, err := authorities(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		x, err := index.New(index.Options{Sources: []index.Source{{URL: u}}, HTTP: index.Transport([]string{u.Hostname()}, nil, roots)})
		if err != nil {
			t.Fatal(err)
		}
		a := x.Visit(index.Rule{}).Open(t.Context(), "simple/a/")
		a.Body.Close()
		if a.Status != want {
			t.Errorf("with the bundle %q: got status %d, want %d", file, a.Status, want)
		}
	}
	if _, err := authorities(filepath.Join(t.TempDir(), "none"), nil); err == nil {
		t.Error("a missing bundle: got no error, want one")
	}
}
