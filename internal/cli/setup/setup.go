// Package setup builds a server from its settings: store, images, driver, templates and sessions.
//
// The settings are flags of kong. The package opens the parts in their order and closes them in reverse. It does not listen on
// an address and prints nothing.
package setup

import (
	"cellhold"
	"cellhold/internal/builds"
	"cellhold/internal/cli/console"
	"cellhold/internal/guestbin"
	"cellhold/internal/image"
	"cellhold/internal/registry"
	"cellhold/internal/runnerbin"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
	"cellhold/internal/session"
	"cellhold/internal/store"
	"cellhold/internal/template"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Settings holds the settings of a server that serve and run share.
type Settings struct {
	Data  string `help:"Folder that every session can read at /mnt/data. Default: the folder data in the home." type:"path" placeholder:"DIR"`
	Image string `help:"Default image of sessions." default:"python"`

	Memory    console.Size `help:"Memory of a session, including its temporary files." default:"1GiB"`
	CPU       float64      `help:"CPU cores of a session; 0.5 is half a core." default:"1" name:"cpu"`
	Processes int          `help:"Maximum processes and threads of a session." default:"256" group:"Limits of a session:"`
	Disk      console.Size `help:"Disk space of a session, without /tmp and /mnt/data/output." default:"1GiB" group:"Limits of a session:"`
	Tmp       console.Size `help:"Size of a session's /tmp." default:"256MiB" group:"Limits of a session:"`

	AcceptMissingLimits bool `help:"Start as root even if the host cannot limit memory, CPU or processes, or cannot give sandboxes their own uid." group:"Limits of a session:"`

	Environ        []string `kong:"-"` // the environment, for the settings of uv and pip
	ImagesDir      string   `kong:"-"` // the folder of images; empty: the one in the shared home
	LimitsRequired bool     `kong:"-"` // without AcceptMissingLimits, the server starts only with all limits

	egressRules     `embed:"" group:"Network access of sessions:"`
	PackageSettings `embed:"" group:"Packages:"`
}

// ServerSettings holds the settings of serve only.
type ServerSettings struct {
	Output console.Size `help:"Size of a session's /mnt/data/output." default:"256MiB" group:"Limits of a session:"`

	MaxMemory    console.Size `help:"Maximum memory that a caller can set. 0: default (the value of --memory)." default:"0" group:"Limits of a session:"`
	MaxCPU       float64      `help:"Maximum CPU cores that a caller can set. 0: default (the value of --cpu)." default:"0" name:"max-cpu" group:"Limits of a session:"`
	MaxProcesses int          `help:"Maximum processes that a caller can set. 0: default (the value of --processes)." default:"0" group:"Limits of a session:"`
	MaxDisk      console.Size `help:"Maximum disk space that a caller can set. 0: default (the value of --disk)." default:"0" group:"Limits of a session:"`

	CellTimeout    time.Duration `help:"Default time limit of a cell." default:"5m"`
	MaxCellTimeout time.Duration `help:"Maximum time limit that a caller can set for a cell." default:"24h" group:"Limits of a session:"`

	MaxSessions         int `help:"Maximum running sessions, without hibernated ones." default:"64"`
	MaxHibernated       int `aliases:"max-suspended" help:"Maximum hibernated sessions. 0: default (4 times --max-sessions)." default:"0" group:"Sessions of the server:"`
	MaxSessionsPerToken int `help:"Maximum sessions per token, running and hibernated. 0: no limit." default:"0" group:"Sessions of the server:"`
	MaxCreatesPerMinute int `help:"Maximum sessions that one token can create within a minute. 0: no limit." default:"600" group:"Sessions of the server:"`

	MaxCheckpoints int          `help:"Maximum checkpoints per session." default:"8" group:"Limits of a session:"`
	MaxSnapshots   console.Size `help:"Maximum disk space of all hibernated sessions and checkpoints." default:"32GiB" group:"Sessions of the server:"`

	MaxUpload console.Size `help:"Maximum size of an upload into a session." default:"16GiB" group:"Limits of a session:"`

	HibernateAfter time.Duration `help:"Hibernate a session after this long without use. 0: off." default:"15m" group:"Sessions of the server:"`

	IdleTimeout   time.Duration `help:"End a session after this long without use." default:"1h"`
	MaxAge        time.Duration `help:"End a session at this age. 0: no limit." default:"0s" group:"Sessions of the server:"`
	Retention     time.Duration `help:"Time for which an expired or lost session can still be read." default:"24h" group:"Sessions of the server:"`
	KeepNotebooks bool          `help:"Keep the notebook of a session after its end." group:"Sessions of the server:"`
	Notebooks     string        `help:"Folder of the notebooks of sessions. Default: the folder notebooks in the home." type:"path" placeholder:"DIR" group:"Sessions of the server:"`
	Outputs       string        `help:"Folder of the copies of /mnt/data/output. Default: the folder output in the home." type:"path" placeholder:"DIR" group:"Sessions of the server:"`
	Ephemeral     bool          `help:"End all sessions when the server stops, instead of keeping them for the next start." group:"Sessions of the server:"`

	PublicPorts string `help:"Sessions that can have ports that everybody can reach at PORT-ID.NAME, with NAME from --host: never, asked (if the creation asks for it) or always (also sandboxes of E2B's SDKs that do not ask)." enum:"never,asked,always" default:"asked" group:"Network access of sessions:"`

	EgressSettings   `embed:"" group:"Network access of sessions:"`
	TemplateSettings `embed:"" group:"Templates:"`
}

// Check refuses 0 for flags for which the packages of sessions would silently use a default of their own, and negative
// values.
func (l *ServerSettings) Check() error {
	for _, x := range []struct {
		flag  string
		value int64
	}{
		{"cell-timeout", int64(l.CellTimeout)}, {"max-cell-timeout", int64(l.MaxCellTimeout)},
		{"max-sessions", int64(l.MaxSessions)}, {"max-checkpoints", int64(l.MaxCheckpoints)}, {"max-snapshots", int64(l.MaxSnapshots)},
		{"max-upload", int64(l.MaxUpload)}, {"idle-timeout", int64(l.IdleTimeout)}, {"retention", int64(l.Retention)},
	} {
		if x.value <= 0 {
			return fmt.Errorf("--%s must be greater than 0", x.flag)
		}
	}
	return nil
}

// Take takes what the settings need from the program.
func (s *Settings) Take(all *console.Globals, t *console.Terminal) {
	s.Environ, s.ImagesDir = t.Environ, all.Images
}

// ImagesIn returns the folder of images of a server whose images and data are in shared.
func (s *Settings) ImagesIn(shared string) string { return cmp.Or(s.ImagesDir, ImagesDir(shared)) }

// Limits returns the default limits of sessions.
func (s *Settings) Limits(l *ServerSettings) cellhold.Limits {
	return cellhold.Limits{
		Memory: int64(s.Memory), CPU: s.CPU, Processes: s.Processes,
		Disk: int64(s.Disk), Tmp: int64(s.Tmp), Output: int64(l.Output),
	}
}

// ceiling returns the maximum limits that a caller can set.
func (l *ServerSettings) ceiling() cellhold.Limits {
	return cellhold.Limits{Memory: int64(l.MaxMemory), CPU: l.MaxCPU, Processes: l.MaxProcesses, Disk: int64(l.MaxDisk)}
}

// Parts are the opened parts of a server.
type Parts struct {
	Finder    session.Images
	Driver    sandbox.Driver
	templates *template.Templates // nil if sessions start cold
	Sessions  *registry.Registry

	opened []func() error // the Close methods of the opened parts, in the order of opening
}

// Close closes the opened parts, the last one first.
func (p *Parts) Close() error {
	var errs []error
	for _, closePart := range slices.Backward(p.opened) {
		errs = append(errs, closePart())
	}
	p.opened = nil
	return errors.Join(errs...)
}

// Open opens the parts of a server whose state is in home. Images and data are in shared: the private servers of
// `run` have homes of their own and share them. After an error, no part stays open.
func (s *Settings) Open(ctx context.Context, home, shared string, l ServerSettings, log *slog.Logger) (*Parts, error) {
	p := &Parts{}
	if err := s.openParts(ctx, p, home, shared, l, log); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (s *Settings) openParts(ctx context.Context, p *Parts, home, shared string, l ServerSettings, log *slog.Logger) error {
	if err := PrepareHome(home); err != nil {
		return err
	}
	// The store comes first: its lock keeps a second server out of this home.
	db, err := store.Open(ctx, store.Options{Dir: home, Logger: log})
	if err != nil {
		return err
	}
	p.opened = append(p.opened, db.Close)
	images, err := OpenImages(shared, s.ImagesIn(shared), log, nil)
	if err != nil {
		return err
	}
	p.Finder = NewImages(images)
	driver, err := NewDriver(home, shared, s.AcceptMissingLimits, log)
	if err != nil {
		return err
	}
	p.Driver, p.opened = driver, append(p.opened, driver.Close)
	if err := s.checkLimits(driver.Features().Unenforced); err != nil {
		return err
	}
	// The store's lock allows this process to clean up the home. A shared folder belongs to another home.
	if d, ok := driver.(interface{ PruneBuilds() error }); ok && home == shared {
		if err := d.PruneBuilds(); err != nil {
			log.Warn("cannot remove programs of earlier versions", "err", err)
		}
	}
	o, err := s.sessionOptions(home, shared, &l, images, log)
	if err != nil {
		return err
	}
	o.Driver, o.Store, o.Images = driver, db, p.Finder
	if p.templates, err = l.TemplateSettings.Open(s, &l, driver, p.Finder, o.Packages, o.Data, log); err != nil {
		return console.Usage(err)
	}
	if p.templates != nil {
		o.Driver, o.Templates = p.templates.Driver(), p.templates
	}
	p.Sessions, err = registry.New(o)
	if errors.Is(err, registry.ErrSettings) {
		err = console.Usage(err)
	}
	return err
}

// checkLimits refuses limits that the host cannot enforce, if they are required. The driver itself refuses them only for a
// server that is root. A server that root started continues as a plain user, and its operator did not accept fewer limits.
func (s *Settings) checkLimits(unenforced []string) error {
	if !s.LimitsRequired || s.AcceptMissingLimits || len(unenforced) == 0 {
		return nil
	}
	return fmt.Errorf("the server began as root and gave up its rights, but it cannot enforce every limit: %s Let the engine give the container cgroups of its own (--cap-add SYS_ADMIN --cgroupns=private), or accept this with --accept-missing-limits",
		strings.Join(unenforced, " "))
}

// sessionOptions returns those options of the registry that follow from the settings.
func (s *Settings) sessionOptions(home, shared string, l *ServerSettings, images *image.Store, log *slog.Logger) (o registry.Options, err error) {
	o = registry.Options{
		Settings: session.Settings{
			Home: home, Notebooks: l.Notebooks, Outputs: l.Outputs, MaxUpload: int64(l.MaxUpload), MaxCheckpoints: l.MaxCheckpoints, PublicPorts: cellhold.PublicPorts(l.PublicPorts),
			HibernateAfter: l.HibernateAfter, IdleTimeout: l.IdleTimeout, MaxAge: l.MaxAge, Retention: l.Retention,
			CellTimeout: l.CellTimeout, MaxCellTimeout: l.MaxCellTimeout,
			KeepNotebooks: l.KeepNotebooks, Ephemeral: l.Ephemeral,
		},
		Logger: log, Image: s.Image, Limits: s.Limits(l), Ceiling: l.ceiling(),
		MaxSessions: l.MaxSessions, MaxSessionsPerOwner: l.MaxSessionsPerToken, CreatesPerMinute: l.MaxCreatesPerMinute,
		MaxHibernated: l.MaxHibernated, MaxSnapshots: int64(l.MaxSnapshots),
	}
	if o.Data, err = s.DataFolder(shared); err != nil {
		return o, err
	}
	for flag, dir := range map[string]string{"--notebooks": o.Notebooks, "--outputs": o.Outputs} {
		if err := checkFolder(flag, dir); err != nil {
			return o, err
		}
	}
	if o.Egress, err = l.EgressSettings.settings(s.egressRules); err != nil {
		return o, console.Usage(err)
	}
	img, err := images.Resolve(s.Image)
	if err != nil {
		img = image.Image{} // serve reports the missing or damaged image
	}
	o.Packages, err = s.PackageSettings.Open(img, s.Environ, log)
	return o, err
}

// NewDriver and NewImages open the driver and the images of sandboxes. Only the tests of this program replace them,
// by fakes. No flag can replace them, so no flag can remove the isolation.
var (
	NewDriver = func(home, shared string, acceptUnenforced bool, log *slog.Logger) (sandbox.Driver, error) {
		o, err := EmbeddedOptions(home, shared, log)
		if err != nil {
			return nil, err
		}
		o.AcceptUnenforced = acceptUnenforced
		o.Private = home != shared // no later server continues the sandboxes of `run`
		d, err := embedded.New(o)
		if err != nil {
			return nil, err // not d: a nil *embedded.Driver in the interface would not be nil
		}
		return d, nil
	}
	NewImages = func(store *image.Store) session.Images { return ImageFinder{Images: store} }
)

// EmbeddedOptions returns the options of the embedded driver, with its folders.
func EmbeddedOptions(home, shared string, log *slog.Logger) (embedded.Options, error) {
	guests, err := guestbin.Open(filepath.Join(shared, "guest"))
	if err != nil {
		return embedded.Options{}, err
	}
	runners, err := runnerbin.Open(filepath.Join(shared, "runner"))
	if err != nil {
		return embedded.Options{}, errors.Join(err, guests.Close())
	}
	runner, err := runners.Find(runners.Digest())
	if err != nil {
		return embedded.Options{}, errors.Join(err, guests.Close(), runners.Close())
	}
	return embedded.Options{
		Dir: filepath.Join(home, RunDir), Guest: guests.Path(), Guests: guests,
		Runner: runner, RunnerDigest: runners.Digest(), Runners: runners, Logger: log,
	}, nil
}

// IsIncomplete reports whether an error of EmbeddedOptions comes from this binary, and not from the home.
func IsIncomplete(err error) bool {
	return errors.Is(err, guestbin.ErrNotBuiltIn) || errors.Is(err, runnerbin.ErrNotBuiltIn) || errors.Is(err, builds.ErrContent)
}

// DataFolder returns the folder that sessions see at /mnt/data. It creates the default one in the home. The server
// never writes to a folder that --data names.
func (s *Settings) DataFolder(shared string) (string, error) {
	data := s.Data
	if data == "" {
		data = filepath.Join(shared, "data")
		if err := os.MkdirAll(data, 0o755); err != nil {
			return "", fmt.Errorf("data folder: %w", err)
		}
	} else if info, err := os.Stat(data); err != nil || !info.IsDir() {
		return "", fmt.Errorf("there is no data folder %s; create it, or give another one with --data", data)
	}
	return Resolved(data), nil
}

// OpenTemplates returns the templates of a server with these settings, or nil if the driver cannot save sandboxes.
func (s *Settings) OpenTemplates(l *ServerSettings, home string, driver sandbox.Driver, log *slog.Logger) (*template.Templates, error) {
	store, err := OpenImages(home, s.ImagesIn(home), log, nil)
	if err != nil {
		return nil, err
	}
	img, err := store.Resolve(s.Image)
	if err != nil {
		img = image.Image{} // the finding "image" reports the missing image
	}
	installer, err := s.PackageSettings.Open(img, s.Environ, log)
	if err != nil {
		return nil, err
	}
	data, err := s.DataFolder(home)
	if err != nil {
		return nil, err
	}
	return l.TemplateSettings.Open(s, l, driver, NewImages(store), installer, data, log)
}

// RunWith runs do together with the manager of the sessions and the templates. If the manager fails, the context of do
// ends. do must refuse new requests before it returns, because the manager stops after it.
func (p *Parts) RunWith(ctx context.Context, do func(context.Context) error) error {
	doing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	managing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	managed := make(chan error, 1)
	go func() {
		err := p.Sessions.Run(managing)
		cancel(err)
		managed <- err
	}()
	var warming sync.WaitGroup
	defer warming.Wait()
	if p.templates != nil {
		warming.Go(func() {
			// First the manager removes what an earlier server left behind. If the templates started earlier, it
			// could remove what they create.
			if p.Sessions.WaitReady(managing) == nil {
				p.templates.Run(managing)
			}
		})
	}
	err := do(doing)
	stop()
	if e := <-managed; e != nil && !errors.Is(e, context.Canceled) {
		err = errors.Join(err, fmt.Errorf("sessions: %w", e))
	}
	return err
}
