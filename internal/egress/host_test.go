package egress

import (
	"strings"
	"testing"

	"cellhold"
)

func TestAHostIsReadIntoOneCanonicalForm(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"example.org", "example.org"},
		{"EXAMPLE.org.", "example.org"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"BÜCHER.example", "xn--bcher-kva.example"},
		{"example。org", "example.org"}, // the full stop of another script
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"exаmple.org", "xn--exmple-4nf.org"}, // a Cyrillic letter: a different host
		{"192.0.2.1", "192.0.2.1"},
		{"[2001:DB8::1]", "2001:db8::1"},
		{"2001:db8:0:0::1", "2001:db8::1"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{"[::ffff:c000:201]", "192.0.2.1"},
	} {
		h, err := ParseHost(test.in)
		if err != nil || h.String() != test.want {
			t.Errorf("%q: got %q, %v; want %q", test.in, h, err, test.want)
		}
	}
}

func TestInvalidHostsAreRefused(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":              "",
		"a dot":                ".",
		"two dots at the end":  "example.org..",
		"an empty part":        "a..org",
		"a NUL":                "example.org\x00.evil.example",
		"a line break":         "example.org\r\nHost: evil.example",
		"a space":              "example.org ",
		"a user":               "example.org@evil.example",
		"a port":               "example.org:80",
		"a scheme":             "http://example.org",
		"a path":               "example.org/x",
		"an escape":            "example%2eorg",
		"an underscore":        "_dmarc.example.org",
		"a wildcard":           "*.example.org",
		"a hyphen first":       "-a.example.org",
		"a long part":          strings.Repeat("a", 64) + ".example.org",
		"a long name":          strings.Repeat("a.", 127) + "org",
		"a very long name":     strings.Repeat("a", 5000),
		"a decimal address":    "2130706433",
		"an octal address":     "0177.0.0.1",
		"a hexadecimal byte":   "0x7f.0.0.1",
		"a hexadecimal number": "0x7f000001",
		"a short address":      "127.1",
		"leading zeros":        "127.000.000.001",
		"full-width digits":    "１２７.1",
		"an address and a dot": "127.0.0.1.",
		"a zone":               "fe80::1%eth0",
		"a zone in brackets":   "[fe80::1%25eth0]",
		"an open bracket":      "[::1",
		"IPv4 in brackets":     "[127.0.0.1]",
		"invalid UTF-8":        "\xff.org",
		"false punycode":       "xn--a.org",
	} {
		if h, err := ParseHost(in); cellhold.KindOf(err) != cellhold.Invalid || err == nil {
			t.Errorf("%s: %q: got %q, %v; want kind invalid", name, in, h, err)
		}
	}
}

// FuzzParseHost checks that the canonical form of an accepted host does not change when it is parsed again.
func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"example.org", "[::1]", "::ffff:1.2.3.4", "bücher.example.", "0x7f.1", "a\x00b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHost(s)
		if err != nil {
			return
		}
		again, err := ParseHost(h.String())
		if err != nil || again != h {
			t.Fatalf("%q: got %q, and for that host %q, %v; want the same host", s, h, again, err)
		}
		if strings.Trim(h.String(), "abcdefghijklmnopqrstuvwxyz0123456789.-:") != "" {
			t.Fatalf("%q: got %q, want only characters of names and addresses", s, h)
		}
	})
}
