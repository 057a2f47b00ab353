package packages

import (
	"regexp"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/lazy"
)

// Requirement is one requirement of a package: the part of PEP 508 for packages of an index. It cannot contain URLs, paths
// or options.
type Requirement struct {
	Name   string   // normalised
	Extras []string // normalised, sorted
	Specs  []string // such as ">=1.2", in the order given
	Marker string   // checked and normalised; empty means none
	Hashes []string // such as "sha256:…"
}

const (
	maxName   = 128 // real ones have up to 80 bytes
	maxParts  = 50  // extras or specifiers of one requirement
	maxHashes = 400 // files of one version; the largest projects have 150
)

// Patterns with large counts are compiled on first use. Each compilation takes milliseconds, and most commands of
// the program do not need them.
var (
	namePattern    = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?`)
	specPattern    = regexp.MustCompile(`^(===|==|~=|!=|<=|>=|<|>)\s*([A-Za-z0-9][A-Za-z0-9.!+_*-]*)\s*$`)
	hashPattern    = lazy.Regexp(`^(sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$`)
	separators     = regexp.MustCompile(`[-_.]+`)
	versionPattern = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9.!+_-]{0,99}$`)
)

// normalName returns the form of a name for comparisons (PEP 503).
func normalName(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

// validName reports whether a text is the name of a package.
func validName(name string) bool {
	return len(name) <= maxName && name != "" && namePattern.FindString(name) == name
}

// String returns the requirement as a line of a requirements file. It contains checked characters only.
func (r Requirement) String() string {
	var b strings.Builder
	b.WriteString(r.Name)
	if len(r.Extras) > 0 {
		b.WriteString("[" + strings.Join(r.Extras, ",") + "]")
	}
	b.WriteString(strings.Join(r.Specs, ","))
	if r.Marker != "" {
		b.WriteString(" ; " + r.Marker)
	}
	for _, h := range r.Hashes {
		b.WriteString(" --hash=" + h)
	}
	return b.String()
}

// ParseRequirement reads one requirement: a name, extras, versions, a marker and hashes. It refuses everything else: an
// option or a URL could lead the installer anywhere.
func ParseRequirement(text string) (Requirement, error) {
	if len(text) > guestapi.MaxRequirement {
		return Requirement{}, cellhold.Errorf(cellhold.Invalid, "A requirement has more than %d bytes.", guestapi.MaxRequirement)
	}
	refuse := func(why string) (Requirement, error) {
		return Requirement{}, cellhold.Errorf(cellhold.Invalid, "Invalid requirement %.80q: %s", text, why)
	}
	if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' && c != '\t' || c > '~' }) {
		return refuse("it must be one line of plain ASCII.")
	}
	rest := strings.TrimSpace(text)
	var r Requirement
	var why string
	if rest, r.Hashes, why = cutHashes(rest); why != "" {
		return refuse(why)
	}
	name := namePattern.FindString(rest)
	if name == "" || len(name) > maxName {
		return refuse("it must begin with the name of a package; options, paths and URLs are not allowed.")
	}
	r.Name = normalName(name)
	rest = strings.TrimSpace(rest[len(name):])
	if strings.HasPrefix(rest, "@") || strings.HasPrefix(rest, "://") || strings.HasPrefix(rest, "+") { // name @ URL, URL, git+URL
		return refuse("packages come from the server's index, not from a URL.")
	}
	if rest, r.Extras, why = cutExtras(rest); why != "" {
		return refuse(why)
	}
	versions, marker, marked := strings.Cut(rest, ";")
	if r.Specs, why = parseSpecs(versions); why != "" {
		return refuse(why)
	}
	if marked {
		if r.Marker, why = parseMarker(marker); why != "" {
			return refuse(why)
		}
	}
	return r, nil
}

func cutHashes(text string) (rest string, hashes []string, why string) {
	rest, tail, found := strings.Cut(text, "--hash")
	if !found {
		return text, nil, ""
	}
	for part := range strings.SplitSeq(tail, "--hash") {
		part = strings.TrimSpace(part)
		value, ok := strings.CutPrefix(part, "=")
		if !ok {
			value = part
		}
		value = strings.ToLower(strings.TrimSpace(value))
		if !hashPattern().MatchString(value) {
			return "", nil, "--hash= needs sha256:, sha384: or sha512: and the matching number of hexadecimal digits."
		}
		if hashes = append(hashes, value); len(hashes) > maxHashes {
			return "", nil, "it has too many hashes."
		}
	}
	return strings.TrimSpace(rest), hashes, ""
}

func cutExtras(text string) (rest string, extras []string, why string) {
	if !strings.HasPrefix(text, "[") {
		return text, nil, ""
	}
	inside, rest, closed := strings.Cut(text[1:], "]")
	if !closed {
		return "", nil, "the extras have no closing bracket."
	}
	if strings.TrimSpace(inside) == "" {
		return strings.TrimSpace(rest), nil, ""
	}
	for extra := range strings.SplitSeq(inside, ",") {
		extra = strings.TrimSpace(extra)
		if !validName(extra) || len(extras) >= maxParts {
			return "", nil, "its extras are not names."
		}
		extras = append(extras, normalName(extra))
	}
	slices.Sort(extras)
	return strings.TrimSpace(rest), slices.Compact(extras), ""
}

func parseSpecs(text string) (specs []string, why string) {
	text = strings.TrimSpace(text)
	if inside, ok := strings.CutPrefix(text, "("); ok {
		if inside, ok = strings.CutSuffix(inside, ")"); !ok {
			return nil, "its versions have no closing parenthesis."
		}
		text = strings.TrimSpace(inside)
	}
	if text == "" {
		return nil, ""
	}
	for part := range strings.SplitSeq(text, ",") {
		m := specPattern.FindStringSubmatch(strings.TrimSpace(part))
		if m == nil || len(specs) >= maxParts {
			return nil, "its versions must look like ==1.2 or >=1.2,<2."
		}
		specs = append(specs, m[1]+m[2])
	}
	return specs, ""
}

// MaxFile is the maximum size of a requirements file. Locks of large projects have 500 kB.
const MaxFile = 4 << 20

// ParseFile reads a requirements file: one requirement on each line, comments, and lines continued by a backslash. It accepts
// only options that make the installation stricter.
func ParseFile(text string) (list []Requirement, hashes bool, err error) {
	if len(text) > MaxFile {
		return nil, false, cellhold.Errorf(cellhold.Invalid, "The requirements file has more than %d bytes.", MaxFile)
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if i := strings.Index(" "+line, " #"); i >= 0 {
			line = strings.TrimSpace(line[:i])
		}
		switch {
		case line == "" || line == "--only-binary :all:" || line == "--only-binary=:all:":
			continue
		case line == "--require-hashes":
			hashes = true
			continue
		case strings.HasPrefix(line, "-"):
			return nil, false, cellhold.Errorf(cellhold.Invalid,
				"The requirements file contains the option %.60q, which callers cannot set. Package sources are settings of the operator.", line)
		}
		r, err := ParseRequirement(line)
		if err != nil {
			return nil, false, err
		}
		if list = append(list, r); len(list) > guestapi.MaxRequirements {
			return nil, false, cellhold.Errorf(cellhold.Invalid, "The request has more than %d requirements.", guestapi.MaxRequirements)
		}
	}
	return list, hashes, nil
}
