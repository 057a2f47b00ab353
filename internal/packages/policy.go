package packages

import (
	"strings"

	"cellhold"
)

// Mode says what callers may install.
type Mode string

// The modes, the strictest first. The zero value is Off.
const (
	Off       Mode = "off"       // nothing
	Allowlist Mode = "allowlist" // the packages on the list; what they need must be on it too
	Hashes    Mode = "hashes"    // files that the caller names by their sha256
	Open      Mode = "open"      // everything that the indexes have
)

// Policy is what the operator allows. The zero value allows nothing.
type Policy struct {
	Mode   Mode
	Allow  []string // names, or beginnings of names and a '*'; for Allowlist
	Source bool     // code of packages may run to build them; otherwise only wheels are installed
}

func (p Policy) check() error {
	for _, a := range p.Allow {
		if name, _ := strings.CutSuffix(a, "*"); a != "*" && !validName(strings.TrimRight(name, "-_.")) {
			return cellhold.Errorf(cellhold.Invalid, "%q on the list of packages is neither a name nor the beginning of one and a '*'.", a)
		}
	}
	switch p.Mode {
	case "", Off, Allowlist, Hashes, Open:
		return nil
	}
	return cellhold.Errorf(cellhold.Invalid, "The policy of packages is off, allowlist, hashes or open, not %q.", p.Mode)
}

// Matches reports whether a normalised name is what a pattern means: a name, or the beginning of
// names and a '*'.
func Matches(pattern, name string) bool {
	if start, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, strings.ToLower(separators.ReplaceAllString(start, "-")))
	}
	return normalName(pattern) == name
}

// allowed says why a package may not be installed, or nil. It is asked for what callers name and for
// every page that the installer wants to see, so that what packages need is judged as well.
func (p Policy) allowed(name string) error {
	if p.Mode != Allowlist {
		return nil
	}
	for _, a := range p.Allow {
		if Matches(a, name) {
			return nil
		}
	}
	return cellhold.Errorf(cellhold.Denied, "The package %.100q is not on the list of what this server's operator allows (--package-allow).", name)
}

// judge says why a request may not be tried, or nil.
func (p Policy) judge(list []Requirement) error {
	switch p.Mode {
	case "", Off:
		return cellhold.Errorf(cellhold.Denied, "This server's operator does not allow the installation of packages (--packages).")
	case Allowlist:
		for _, r := range list {
			if err := p.allowed(r.Name); err != nil {
				return err
			}
		}
	case Hashes:
		return needHashes(list)
	}
	return nil
}

// needHashes refuses what leaves open which file is meant.
func needHashes(list []Requirement) error {
	for _, r := range list {
		pinned := len(r.Specs) == 1 && strings.HasPrefix(r.Specs[0], "==") && !strings.Contains(r.Specs[0], "*")
		if !pinned || len(r.hashes256()) == 0 {
			return cellhold.Errorf(cellhold.Denied,
				"Only files named by their hash are installed: %q needs one version (==) and --hash=sha256:…, and so does everything that it needs. A lock has all that.", r.Name)
		}
	}
	return nil
}

// hashes256 are the digits of its sha256 hashes.
func (r Requirement) hashes256() []string {
	var list []string
	for _, h := range r.Hashes {
		if digits, ok := strings.CutPrefix(h, "sha256:"); ok {
			list = append(list, digits)
		}
	}
	return list
}
