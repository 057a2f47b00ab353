package main

import (
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/setup"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// configFiles returns the paths of the configuration files, which need not exist. The later file wins.
func configFiles() []string {
	files := []string{"/etc/cellhold/config.yaml"}
	if dir, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(dir, "cellhold", "config.yaml"))
	}
	return files
}

// configFile holds the settings of one file and gives them to kong.
type configFile struct {
	name   string
	values map[string]*yaml.Node
	names  []*yaml.Node // in the file's order, so that errors name the first mistake
}

// readConfig reads a configuration file: one flat YAML mapping from flag names to values.
func readConfig(r io.Reader) (kong.Resolver, error) {
	file := &configFile{name: "configuration file", values: map[string]*yaml.Node{}}
	if named, ok := r.(interface{ Name() string }); ok {
		file.name = named.Name()
	}
	var doc yaml.Node
	if err := yaml.NewDecoder(r).Decode(&doc); errors.Is(err, io.EOF) {
		return file, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", file.name, err)
	}
	return file, file.take(&doc)
}

// take stores the settings of the document.
func (f *configFile) take(doc *yaml.Node) error {
	top := doc.Content[0]
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return nil
	}
	if top.Kind != yaml.MappingNode {
		return f.fault(top, "is not a list of settings; each line must be a name, a colon and a value")
	}
	for i := 0; i < len(top.Content); i += 2 {
		name, value := top.Content[i], top.Content[i+1]
		if f.values[name.Value] != nil {
			return f.fault(name, "%s is set twice", name.Value)
		}
		f.values[name.Value] = value
		f.names = append(f.names, name)
	}
	return nil
}

// fault returns an error with the file and line of at.
func (f *configFile) fault(at *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", f.name, at.Line, fmt.Sprintf(format, args...))
}

// Validate refuses unknown settings. A misspelt limit would otherwise not limit anything.
func (f *configFile) Validate(app *kong.Application) error {
	known := settingsOf(app).flags
	for _, name := range f.names {
		if !slices.Contains(known, name.Value) {
			return f.fault(name, "unknown setting %q%s", name.Value, suggestion(name.Value, known))
		}
	}
	return nil
}

// Resolve returns the file's value of a flag, unless the environment sets that flag. It parses the value here,
// because kong's error would not name the file.
func (f *configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	node := f.values[flag.Name]
	if node == nil || slices.ContainsFunc(flag.Envs, isSet) {
		return nil, nil
	}
	var value any
	if err := node.Decode(&value); err != nil {
		return nil, f.fault(node, "%v", err)
	}
	if flag.Target.Type() == reflect.TypeFor[time.Duration]() {
		value = node.Value // kong would read 5 as nanoseconds, and the command line requires a unit
	}
	if err := flag.Parse(kong.Scan().PushTyped(value, kong.FlagValueToken), reflect.New(flag.Target.Type()).Elem()); err != nil {
		return nil, f.fault(node, "%v", err)
	}
	return value, nil
}

func isSet(name string) bool {
	_, ok := os.LookupEnv(name)
	return ok
}

// notSettings are the flags of configCmd that are not settings of serve.
var notSettings = []string{"help", "config", "json", "quiet"}

// configCmd prints settings.
type configCmd struct {
	console.Format       `embed:""`
	access               `embed:""`
	setup.Settings       `embed:""`
	setup.ServerSettings `embed:""`
}

// Run prints every setting as a configuration file.
func (c *configCmd) Run(k *kong.Context, t *console.Terminal) error {
	if err := errors.Join(c.ServerSettings.Check(), c.access.check()); err != nil {
		return err
	}
	settings := map[string]any{}
	for _, path := range k.Path {
		for _, flag := range path.Flags {
			if !slices.Contains(notSettings, flag.Name) {
				settings[flag.Name] = shownValue(flag)
			}
		}
	}
	if c.JSON {
		return console.Printer{Out: t.Out}.Document(settings)
	}
	encoded, err := yaml.Marshal(settings)
	if err != nil {
		return err
	}
	_, err = t.Out.Write(encoded)
	return err
}

// shownValue returns the value of a flag in the form of a configuration file.
func shownValue(flag *kong.Flag) any {
	value := flag.Target.Interface()
	if flag.Tag.Has("secret") && !flag.Target.IsZero() {
		return "(hidden)"
	}
	switch value := value.(type) {
	case netip.AddrPort: // the text of the zero value is not a valid address
		if !value.IsValid() {
			return ""
		}
		return value.String()
	case fmt.Stringer:
		return strings.TrimSpace(value.String())
	default:
		return value
	}
}
