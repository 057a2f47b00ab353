package packages

import (
	"strings"

	"cellhold"
)

// Mode defines the packages that callers can install.
type Mode string

// The modes, the strictest first. The zero value is Off.
const (
	Off       Mode = "off"       // nothing
	Allowlist Mode = "allowlist" // the packages on the list; their dependencies must be listed too
	Hashes    Mode = "hashes"    // files with a sha256 that the caller gives
	Open      Mode = "open"      // all packages of the indexes
)

// Policy is what the operator allows. The zero value allows nothing.
type Policy struct {
	Mode   Mode
	Allow  []string // names, or prefixes with '*'; for Allowlist
	Source bool     // packages can be built, which runs their code; otherwise only wheels are installed
}

func (p Policy) check() error {
	for _, a := range p.Allow {
		if name, _ := strings.CutSuffix(a, "*"); a != "*" && !validName(strings.TrimRight(name, "-_.")) {
			return cellhold.Errorf(cellhold.Invalid, "Invalid entry %q on the list of packages: use a name, or a prefix with '*'.", a)
		}
	}
	switch p.Mode {
	case "", Off, Allowlist, Hashes, Open:
		return nil
	}
	return cellhold.Errorf(cellhold.Invalid, "Invalid package policy %q: use off, allowlist, hashes or open.", p.Mode)
}

// Matches reports whether a pattern, a name or a prefix with '*', matches a normalised name.
func Matches(pattern, name string) bool {
	if start, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, strings.ToLower(separators.ReplaceAllString(start, "-")))
	}
	return normalName(pattern) == name
}

// allowed returns an error if a package cannot be installed. It is called for each requested package and for each page that
// the installer requests, so it also checks dependencies.
func (p Policy) allowed(name string) error {
	if p.Mode != Allowlist {
		return nil
	}
	for _, a := range p.Allow {
		if Matches(a, name) {
			return nil
		}
	}
	return cellhold.Errorf(cellhold.Denied, "The package %.100q is not on this server's allowlist (--package-allow).", name)
}

// permit returns an error if the policy refuses a requirement.
func (p Policy) permit(list []Requirement) error {
	switch p.Mode {
	case "", Off:
		return cellhold.Errorf(cellhold.Denied, "The operator of this server does not allow installing packages (--packages).")
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

// needHashes refuses requirements that do not identify a file.
func needHashes(list []Requirement) error {
	for _, r := range list {
		pinned := len(r.Specs) == 1 && strings.HasPrefix(r.Specs[0], "==") && !strings.Contains(r.Specs[0], "*")
		if !pinned || len(r.hashes256()) == 0 {
			return cellhold.Errorf(cellhold.Denied,
				"Only files with a given hash are installed: %q needs one version (==) and --hash=sha256:…, and so do its dependencies. A lock contains both.", r.Name)
		}
	}
	return nil
}

// hashes256 returns the digits of its sha256 hashes.
func (r Requirement) hashes256() []string {
	var list []string
	for _, h := range r.Hashes {
		if digits, ok := strings.CutPrefix(h, "sha256:"); ok {
			list = append(list, digits)
		}
	}
	return list
}
