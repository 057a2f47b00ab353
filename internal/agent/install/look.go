package install

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cellhold/internal/guestapi"
)

// maxRecord bounds the part of a package's file list that is read. The longest in wide use has 2 MB.
const maxRecord = 8 << 20

// state is the set of installed packages.
type state struct {
	packages map[string]installed // by normalised name
	hooks    map[string]string    // text of start-up hooks by path
}

type installed struct {
	version string
	modules []string
}

// installedNow reads which packages are installed. User code cannot write to their directories. But the authors of
// packages write the metadata, so installedNow bounds its size.
func (p *layout) installedNow() state {
	s := state{packages: map[string]installed{}, hooks: map[string]string{}}
	for _, lib := range p.Libs {
		entries, err := os.ReadDir(lib)
		if err != nil {
			continue // does not exist yet
		}
		for _, e := range entries {
			name := e.Name()
			switch {
			case strings.HasSuffix(name, ".dist-info") && e.IsDir():
				s.add(lib, name)
			case isHook(name) && len(s.hooks) < guestapi.MaxHooks:
				file := filepath.Join(lib, name)
				s.hooks[file] = strings.ToValidUTF8(string(readBounded(file, guestapi.MaxHookText)), "\uFFFD")
			}
		}
	}
	return s
}

// isHook reports whether every Python process reads a file of this name when it starts.
func isHook(name string) bool {
	return strings.HasSuffix(name, ".pth") || name == "sitecustomize.py" || name == "usercustomize.py"
}

func (s state) add(lib, dir string) {
	name, version, ok := strings.Cut(strings.TrimSuffix(dir, ".dist-info"), "-")
	if !ok || name == "" || version == "" || len(dir) > 200 || len(s.packages) >= guestapi.MaxPackages {
		return
	}
	modules := topLevel(readBounded(filepath.Join(lib, dir, "RECORD"), maxRecord))
	if len(modules) > guestapi.MaxModules {
		modules = modules[:guestapi.MaxModules]
	}
	s.packages[normal(name)] = installed{version, modules}
}

// dropPartial removes the metadata of packages that a stopped installer has installed in part. Otherwise the next
// installation treats them as installed.
func (p *layout) dropPartial(before state) {
	for _, lib := range p.Libs {
		_ = below(lib, func(root *os.Root) error {
			entries, err := fs.ReadDir(root.FS(), ".")
			if err != nil {
				return err
			}
			for _, e := range entries {
				name, version, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".dist-info"), "-")
				if strings.HasSuffix(e.Name(), ".dist-info") && before.packages[normal(name)].version != version && !complete(root, e.Name()) {
					err = errors.Join(err, root.RemoveAll(e.Name()))
				}
			}
			return err
		})
	}
}

// complete reports whether the files in a package's record exist in its library. Files elsewhere, such as
// commands, are written before the record.
func complete(root *os.Root, dir string) bool {
	file, err := root.Open(dir + "/RECORD")
	if err != nil {
		return false
	}
	defer file.Close()
	record, err := io.ReadAll(io.LimitReader(file, maxRecord))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(record)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ",")
		name = strings.Trim(name, `"`)
		if !fs.ValidPath(name) {
			continue
		}
		if _, err := root.Lstat(name); err != nil {
			return false
		}
	}
	return true
}

// normal returns the form of a package's name for comparisons (PEP 503).
func normal(name string) string {
	var b strings.Builder
	for _, part := range strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '-' || r == '_' || r == '.' }) {
		if b.Len() > 0 {
			b.WriteByte('-')
		}
		b.WriteString(part)
	}
	return b.String()
}

// changes returns the differences of two states, sorted by name.
func changes(before, after state) []guestapi.PackageChange {
	list := []guestapi.PackageChange{}
	names := maps.Clone(before.packages)
	maps.Copy(names, after.packages)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		old, new := before.packages[name], after.packages[name]
		if old.version == new.version {
			continue
		}
		c := guestapi.PackageChange{Name: name, Before: old.version, After: new.version, Modules: new.modules}
		if new.version == "" {
			c.Modules = old.modules
		}
		list = append(list, c)
	}
	return list
}

// named returns the installed packages among names.
func named(s state, names []string) []guestapi.PackageChange {
	list := []guestapi.PackageChange{}
	for _, name := range names {
		if p, ok := s.packages[normal(name)]; ok {
			list = append(list, guestapi.PackageChange{Name: normal(name), Before: p.version, After: p.version, Modules: p.modules})
		}
	}
	return list
}

// hooks returns the start-up hooks that are new or have changed.
func hooks(before, after state) []guestapi.StartHook {
	list := []guestapi.StartHook{}
	for _, file := range slices.Sorted(maps.Keys(after.hooks)) {
		if text, was := before.hooks[file]; !was || text != after.hooks[file] {
			list = append(list, guestapi.StartHook{Path: file, Text: after.hooks[file]})
		}
	}
	return list
}

// stale finds modules of running kernels that do not match the installed packages. Either their package has
// another version now or was removed, or they tried to import a package before it was installed.
func (r *Installer) stale(ctx context.Context, out *guestapi.Installed) {
	if len(out.Changes) == 0 {
		return
	}
	imports, silent := r.o.Kernels(ctx)
	out.Silent = append(out.Silent, silent...)
	for _, kernel := range slices.Sorted(maps.Keys(imports)) {
		found := append(outdated(out.Changes, imports[kernel].Loaded), failedImports(out.Changes, imports[kernel].Missed)...)
		for _, l := range found[:min(len(found), maxStale)] {
			l.Kernel = kernel
			out.Loaded = append(out.Loaded, l)
		}
	}
}

// maxStale bounds the modules that are reported for one kernel.
const maxStale = 200

// outdated returns the loaded modules of packages that were installed before and have changed.
func outdated(list []guestapi.PackageChange, loaded []string) (found []guestapi.LoadedModule) {
	owner := map[string]string{} // package by module
	for _, c := range list {
		if c.Before == "" {
			continue
		}
		for _, m := range c.Modules {
			owner[m] = c.Name
		}
	}
	seen := map[string]bool{}
	for _, module := range loaded {
		top, _, _ := strings.Cut(module, ".")
		if owner[top] != "" && !seen[top] {
			seen[top] = true
			found = append(found, guestapi.LoadedModule{Package: owner[top], Module: top})
		}
	}
	return found
}

// failedImports returns the modules that tried to import a module of a new package, and may remember that it was
// missing. Modules of the package itself do not count.
func failedImports(list []guestapi.PackageChange, missed map[string][]string) (found []guestapi.LoadedModule) {
	for _, c := range list {
		if c.Before != "" {
			continue
		}
		seen := map[string]bool{}
		for _, m := range c.Modules {
			for _, by := range missed[m] {
				top, _, _ := strings.Cut(by, ".")
				if isIdentifier(top) && !seen[top] && !slices.Contains(c.Modules, top) {
					seen[top] = true
					found = append(found, guestapi.LoadedModule{Package: c.Name, Module: top, Absent: true})
				}
			}
		}
	}
	return found
}
