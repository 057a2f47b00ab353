package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// configFiles are read when they exist; the later one wins.
func configFiles() []string {
	files := []string{"/etc/cellhold/config.yaml"}
	if dir, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(dir, "cellhold", "config.yaml"))
	}
	return files
}

// configFile is what one file sets. It resolves flags for kong.
type configFile map[string]any

// readConfig reads a file of settings: one flat YAML mapping from names of flags to values.
func readConfig(r io.Reader) (kong.Resolver, error) {
	file := configFile{}
	if err := yaml.NewDecoder(r).Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	return file, nil
}

// Validate refuses settings that no command has: a misspelt limit would otherwise be no limit.
func (f configFile) Validate(app *kong.Application) error {
	known := map[string]bool{}
	_ = kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			known[flag.Name] = true
		}
		return next(nil)
	})
	for name := range f {
		if !known[name] {
			return fmt.Errorf("configuration file: no setting is called %q", name)
		}
	}
	return nil
}

// Resolve returns what the file says of a flag, unless the environment says something too.
func (f configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	value, ok := f[flag.Name]
	if !ok || slices.ContainsFunc(flag.Envs, isSet) {
		return nil, nil
	}
	return value, nil
}

func isSet(name string) bool {
	_, ok := os.LookupEnv(name)
	return ok
}

// configCmd prints settings.
type configCmd struct {
	service   `embed:""`
	lifetimes `embed:""`
	access    `embed:""`
}

// Run prints every setting in the form of a configuration file.
func (configCmd) Run(k *kong.Context, t *terminal) error {
	settings := map[string]any{}
	for _, path := range k.Path {
		for _, flag := range path.Flags {
			if flag.Name != "help" && flag.Name != "config" {
				settings[flag.Name] = shownValue(flag)
			}
		}
	}
	encoded, err := yaml.Marshal(settings)
	if err != nil {
		return err
	}
	_, err = t.out.Write(encoded)
	return err
}

// shownValue is the value of a flag as a configuration file would have it.
func shownValue(flag *kong.Flag) any {
	value := flag.Target.Interface()
	if flag.Tag.Has("secret") && !flag.Target.IsZero() {
		return "(hidden)"
	}
	switch value := value.(type) {
	case fmt.Stringer:
		return strings.TrimSpace(value.String())
	default:
		return value
	}
}
