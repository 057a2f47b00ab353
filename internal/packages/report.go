package packages

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/packages/index"
)

// maxWords bounds the part of the installer's log that an error quotes.
const maxWords = 1500

// lastWords returns the part of the installer's log with the reason of the failure.
func lastWords(log string) string {
	log = strings.TrimSpace(log)
	if i := strings.LastIndex(log, "error:"); i >= 0 {
		log = log[i:]
	} else if i := strings.LastIndex(log, "×"); i >= 0 {
		log = log[i:]
	}
	words := strings.Join(strings.Fields(log), " ")
	if len(words) > maxWords {
		words = strings.ToValidUTF8(words[:maxWords], "") + "…"
	}
	return cmp.Or(words, "it gave no reason.")
}

// newReport turns the agent's answer into the report for the caller. asked has the requested names, by their replacements.
func newReport(out guestapi.Installed, names []string, asked map[string]string) cellhold.Installation {
	r := cellhold.Installation{Changes: []cellhold.PackageChange{}, Imports: []string{}, Hooks: []cellhold.StartHook{},
		Stale: []cellhold.StaleModule{}, Warnings: []string{}, Present: []cellhold.Package{}, Log: out.Log}
	modules := map[string][]string{}
	changed := map[string]bool{}
	for _, c := range out.Changes {
		modules[c.Name], changed[c.Name] = c.Modules, true
		r.Changes = append(r.Changes, cellhold.PackageChange{Name: c.Name, Before: c.Before, After: c.After, Modules: orEmpty(c.Modules)})
	}
	for _, c := range out.Named {
		modules[c.Name] = c.Modules
		if !changed[c.Name] {
			r.Present = append(r.Present, cellhold.Package{Name: c.Name, Version: c.After})
		}
	}
	for _, name := range names {
		r.Imports = append(r.Imports, likeliest(cmp.Or(asked[name], name), modules[name])...)
	}
	for _, h := range out.Hooks {
		r.Hooks = append(r.Hooks, cellhold.StartHook(h))
	}
	for _, l := range out.Loaded {
		r.Stale = append(r.Stale, cellhold.StaleModule(l))
	}
	r.Warnings = warnings(r, out.Silent)
	return r
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// likeliest sorts modules: first the one with the package's name, then those whose name is a part of that name,
// then other public ones, then all others.
func likeliest(name string, modules []string) []string {
	rank := func(m string) int {
		switch {
		case normalName(m) == name:
			return 0
		case strings.Contains(name, normalName(m)):
			return 1
		case !strings.HasPrefix(m, "_"):
			return 2
		}
		return 3
	}
	sorted := slices.Clone(modules)
	slices.SortStableFunc(sorted, func(a, b string) int { return rank(a) - rank(b) })
	return sorted
}

// warnings returns warnings for people, each a sentence.
func warnings(r cellhold.Installation, silent []string) []string {
	list := []string{}
	versions := map[string]cellhold.PackageChange{}
	old := false
	for _, c := range r.Changes {
		versions[c.Name] = c
		old = old || c.Before != ""
	}
	for _, s := range r.Stale {
		c := versions[s.Package]
		if s.Absent {
			list = append(list, fmt.Sprintf("The kernel %s has imported %s, which looked for %s before it was installed and may remember that it was absent. Restart the kernel to use both.", s.Kernel, s.Module, s.Package))
			continue
		}
		what := "has been removed"
		if c.After != "" {
			what = "is " + c.After + " now"
		}
		list = append(list, fmt.Sprintf("The kernel %s has imported %s from %s %s, which %s. Restart the kernel to use the installed version.", s.Kernel, s.Module, s.Package, c.Before, what))
	}
	if old {
		for _, kernel := range silent {
			list = append(list, fmt.Sprintf("The kernel %s did not report its imports. Restart it if it uses one of the changed packages.", kernel))
		}
	}
	for _, h := range r.Hooks {
		list = append(list, fmt.Sprintf("Every Python that starts in this session reads %s, which is new or has changed.", h.Path))
	}
	return list
}

// provenance returns each package of the changes that is installed now, with the hash of its file.
func provenance(changes []cellhold.PackageChange, files []index.File) []cellhold.Package {
	var list []cellhold.Package
	sums := map[[2]string]string{}
	for _, f := range files {
		sums[[2]string{f.Project, f.Version}] = f.SHA256
	}
	for _, c := range changes {
		if c.After == "" {
			continue
		}
		list = append(list, cellhold.Package{Name: c.Name, Version: c.After, SHA256: sums[[2]string{c.Name, c.After}]})
	}
	return list
}

// Merge applies a change to the packages of a lock. The sandbox reports the changes, and they can be false. So a lock
// is limited to the number of packages that a sandbox can report. After an error of the kind Exhausted the lock is
// valid, but lacks new packages.
func Merge(lock []cellhold.Package, changes []cellhold.PackageChange, come []cellhold.Package) ([]cellhold.Package, error) {
	packages := map[string]cellhold.Package{}
	for _, p := range lock {
		packages[p.Name] = p
	}
	for _, c := range changes {
		delete(packages, c.Name)
	}
	lost := 0
	for _, p := range come {
		if _, there := packages[p.Name]; !there && len(packages) >= guestapi.MaxPackages {
			lost++
			continue
		}
		packages[p.Name] = p
	}
	merged := slices.SortedFunc(maps.Values(packages), func(a, b cellhold.Package) int { return strings.Compare(a.Name, b.Name) })
	if lost > 0 {
		return merged, cellhold.Errorf(cellhold.Exhausted,
			"The session's lock lacks %d packages that the sandbox reports: the limit is %d. Remove unneeded packages, or use another session.", lost, guestapi.MaxPackages)
	}
	return merged, nil
}

// Lock returns packages as a requirements file with hashes, which installs the same versions again.
func Lock(list []cellhold.Package) string {
	var b strings.Builder
	b.WriteString("# Packages that were installed in this session. Its image has all others.\n")
	for _, p := range list {
		if !validName(p.Name) || !versionPattern().MatchString(p.Version) {
			continue // cannot happen: package guest refuses such names and versions
		}
		fmt.Fprintf(&b, "%s==%s", p.Name, p.Version)
		if p.SHA256 != "" {
			fmt.Fprintf(&b, " \\\n    --hash=sha256:%s", p.SHA256)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
