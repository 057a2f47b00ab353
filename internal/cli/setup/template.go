package setup

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"cellhold/internal/packages"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/session"
	"cellhold/internal/template"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// TemplateSettings holds the settings of templates and warm sandboxes.
type TemplateSettings struct {
	Templates       recipes       `help:"Templates as a YAML list; the first one is the default. Each needs a name. Optional: image, memory, cpu, processes, disk, tmp, output, egress, egress-hosts, packages, warm and warmup (Python code that defines no names, or none)." default:"[{name: python}]" placeholder:"YAML"`
	NoTemplates     bool          `help:"Start every session cold."`
	Warm            int           `help:"Sandboxes of the default template to keep ready, if the template does not set it. 0: off." default:"1"`
	WarmMax         int           `help:"Maximum sandboxes of one template to keep ready. A burst of new sessions raises the number up to it, and after quiet minutes the number falls back to warm. Not above --max-sessions." default:"32"`
	WarmFree        console.Size  `help:"Host memory to leave free when keeping sandboxes ready. 0: default (10 % of the memory)." default:"0"`
	TemplateRefresh time.Duration `help:"Age at which a template's snapshot is rebuilt. 0: default (24h)." default:"24h"`
}

// recipe is one template as the operator writes it.
type recipe struct {
	Name        string       `yaml:"name"`
	Image       string       `yaml:"image,omitempty"`
	Memory      console.Size `yaml:"memory,omitempty"`
	CPU         float64      `yaml:"cpu,omitempty"`
	Processes   int          `yaml:"processes,omitempty"`
	Disk        console.Size `yaml:"disk,omitempty"`
	Tmp         console.Size `yaml:"tmp,omitempty"`
	Output      console.Size `yaml:"output,omitempty"`
	Egress      string       `yaml:"egress,omitempty"`
	EgressHosts []string     `yaml:"egress-hosts,omitempty"`
	Packages    []string     `yaml:"packages,omitempty"`
	Warmup      string       `yaml:"warmup,omitempty"`
	Warm        *int         `yaml:"warm,omitempty"`
}

// recipes are the templates of the configuration.
type recipes []recipe

// Decode reads templates from a configuration file, or as YAML from the environment or a flag.
func (r *recipes) Decode(c *kong.DecodeContext) error {
	value := c.Scan.Pop().Value
	if text, ok := value.(string); ok {
		return r.read(text)
	}
	text, err := yaml.Marshal(value)
	if err != nil {
		return err
	}
	return r.read(string(text))
}

// read reads templates and refuses unknown settings. A misspelt limit would otherwise not limit anything.
func (r *recipes) read(text string) error {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	var list []recipe
	err := decoder.Decode(&list)
	if e, ok := errors.AsType[*yaml.TypeError](err); ok {
		said := strings.Join(e.Errors, "; ") // one error for each line
		err = errors.New(strings.NewReplacer(" not found in type setup.recipe", " is not a setting of a template",
			"into []setup.recipe", "into a list of templates", "into setup.recipe", "into a template").Replace(said))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read the templates: %w", err)
	}
	*r = list
	return nil
}

// Open returns the templates, or nil if the driver makes no snapshots. Without templates, all sessions start cold.
func (w *TemplateSettings) Open(s *Settings, l *ServerSettings, driver sandbox.Driver, images session.Images, installer *packages.Packages, data string, log *slog.Logger) (*template.Templates, error) {
	if _, ok := driver.(sandbox.SnapshotStore); !ok || !driver.Features().Snapshot {
		if !w.NoTemplates {
			log.Warn("this host cannot save sandboxes; all sessions start cold")
		}
		return nil, nil
	}
	o := template.Options{
		Driver: driver, Packages: installer, Data: data, Kernel: registry.DefaultKernel, Logger: log,
		Refresh: w.TemplateRefresh, MaxWarm: min(w.WarmMax, l.MaxSessions), MinFree: int64(w.WarmFree),
		Images: func(name string) (template.Image, error) {
			img, err := images.Resolve(name)
			return template.Image{Digest: img.Digest, Rootfs: img.Rootfs}, err
		},
	}
	if w.Warm < 0 || w.WarmMax < 0 {
		return nil, fmt.Errorf("--warm (got %d) and --warm-max (got %d) must not be negative", w.Warm, w.WarmMax)
	}
	if !w.NoTemplates {
		for i, r := range w.Templates {
			t, err := r.spec(s, l)
			if err != nil {
				return nil, err
			}
			if i == 0 && r.Warm == nil {
				t.Warm = w.Warm
			}
			o.List = append(o.List, t)
		}
	}
	return template.New(o)
}

// spec returns the recipe with defaults for the settings that it omits.
func (r recipe) spec(s *Settings, l *ServerSettings) (template.Spec, error) {
	d := s.Limits(l)
	t := template.Spec{Name: r.Name, Image: cmp.Or(r.Image, s.Image), Packages: r.Packages, Warmup: r.Warmup,
		Limits: cellhold.Limits{
			Memory: cmp.Or(int64(r.Memory), d.Memory), CPU: cmp.Or(r.CPU, d.CPU), Processes: cmp.Or(r.Processes, d.Processes),
			Disk: cmp.Or(int64(r.Disk), d.Disk), Tmp: cmp.Or(int64(r.Tmp), d.Tmp), Output: cmp.Or(int64(r.Output), d.Output)},
	}
	if r.Warm != nil {
		t.Warm = *r.Warm
	}
	t.Egress = cellhold.Egress{Policy: cellhold.EgressPolicy(r.Egress), Hosts: r.EgressHosts}
	if r.Egress == "" {
		policy, err := l.EgressSettings.policy(l.EgressSettings.Egress)
		if err != nil {
			return t, fmt.Errorf("--egress-host: %w", console.Message(err))
		}
		t.Egress = policy.Egress()
	}
	return t, nil
}
