package main

import (
	"cellhold"
	"cellhold/internal/guestbin"
	"cellhold/internal/image"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
	"cellhold/internal/session"
	"cellhold/internal/store"
	"cellhold/internal/template"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// service holds the settings of a service; serve and run share them.
type service struct {
	Data  string `help:"Folder that every session sees, read-only, at /mnt/data; without it, the folder data in the home." type:"path" placeholder:"DIR"`
	Image string `help:"Image of sessions that ask for none." default:"python"`

	packaging `embed:""`

	AcceptMissingLimits bool `help:"Work as root also where this host cannot limit memory, CPU or processes, or cannot give sandboxes a uid of their own."`

	Memory    size    `help:"Memory of a session, its temporary files included." default:"1GiB"`
	CPU       float64 `help:"Processor cores of a session; 0.5 is half of one." default:"1" name:"cpu"`
	Processes int     `help:"Processes and threads of a session." default:"256"`
	Disk      size    `help:"What a session may write outside /tmp and /mnt/data/output." default:"1GiB"`
	Tmp       size    `help:"Size of a session's /tmp." default:"256MiB"`

	gates `embed:""`
}

// lifetimes are the settings that only a lasting service needs.
type lifetimes struct {
	Output size `help:"Size of a session's /mnt/data/output." default:"256MiB"`

	MaxMemory    size    `help:"Most memory that a session may ask for; 0 means the default is the most." default:"0"`
	MaxCPU       float64 `help:"Most processor cores that a session may ask for; 0 means the default is the most." default:"0" name:"max-cpu"`
	MaxProcesses int     `help:"Most processes that a session may ask for; 0 means the default is the most." default:"0"`
	MaxDisk      size    `help:"Most disk that a session may ask for; 0 means the default is the most." default:"0"`

	CellTimeout    time.Duration `help:"How long a cell may run when its caller does not say." default:"5m"`
	MaxCellTimeout time.Duration `help:"How long a cell may run at most." default:"24h"`

	MaxSessions         int `help:"How many sessions may live at once, those that are hibernated not counted." default:"64"`
	MaxHibernated       int `aliases:"max-suspended" help:"How many sessions may be hibernated at once; 0 means four times --max-sessions." default:"0"`
	MaxSessionsPerToken int `help:"How many of both may be of one token; 0 means all." default:"0"`
	MaxCreatesPerMinute int `help:"How many sessions one token may ask for within a minute; 0 means any number." default:"600"`

	MaxCheckpoints int  `help:"How many checkpoints a session may have." default:"8"`
	MaxSnapshots   size `help:"What all hibernated sessions and checkpoints may take on disk." default:"32GiB"`

	MaxUpload size `help:"Longest upload of a file or archive into a session." default:"16GiB"`

	HibernateAfter time.Duration `help:"Hibernate sessions to disk that nothing has used for so long, if they are not ended before; 0 means never." default:"15m"`

	IdleTimeout   time.Duration `help:"End sessions that nothing has used for so long." default:"1h"`
	MaxAge        time.Duration `help:"End sessions that are this old, used or not; 0 means never." default:"0s"`
	Retention     time.Duration `help:"How long a session that expired or was lost can still be read." default:"24h"`
	KeepNotebooks bool          `help:"Keep the notebook when its session is ended."`
	Ephemeral     bool          `help:"End all sessions when the service stops, instead of keeping them for the next start."`

	reach   `embed:""`
	warming `embed:""`
}

// limits returns the limits of sessions that ask for none.
func (s *service) limits(l *lifetimes) cellhold.Limits {
	return cellhold.Limits{
		Memory: int64(s.Memory), CPU: s.CPU, Processes: s.Processes,
		Disk: int64(s.Disk), Tmp: int64(s.Tmp), Output: int64(l.Output),
	}
}

// ceiling returns the most that a session may ask for.
func (l *lifetimes) ceiling() cellhold.Limits {
	return cellhold.Limits{Memory: int64(l.MaxMemory), CPU: l.MaxCPU, Processes: l.MaxProcesses, Disk: int64(l.MaxDisk)}
}

// rooms are the opened parts of a service, lowest first.
type rooms struct {
	store     *store.DB
	finder    session.Images
	driver    sandbox.Driver
	templates *template.Templates // nil where sessions start cold
	sessions  *registry.Registry
}

// open opens the rooms of a service whose state is in home. Images and data are shared with the
// private services of `run`, so they are in a folder of their own.
func (s *service) open(ctx context.Context, home, shared string, l lifetimes, log *slog.Logger) (*rooms, error) {
	r := &rooms{}
	if err := s.openRooms(ctx, r, home, shared, l, log); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (s *service) openRooms(ctx context.Context, r *rooms, home, shared string, l lifetimes, log *slog.Logger) (err error) {
	if err := makeHome(home); err != nil {
		return err
	}
	// The store comes first: it also keeps a second server out of this home.
	if r.store, err = store.Open(ctx, store.Options{Dir: home, Logger: log}); err != nil {
		return err
	}
	images, err := openImages(shared, log, nil)
	if err != nil {
		return err
	}
	r.finder = newImages(images)
	if r.driver, err = newDriver(home, shared, s.AcceptMissingLimits, log); err != nil {
		return err
	}
	// With the store goes the right to say what of the home is needed; what is shared is the home's.
	if d, ok := r.driver.(interface{ PruneGuests() error }); ok && home == shared {
		if err := d.PruneGuests(); err != nil {
			log.Warn("looking for guest binaries of earlier versions", "err", err)
		}
	}
	data, err := s.dataFolder(shared)
	if err != nil {
		return err
	}
	img, err := images.Resolve(s.Image)
	if err != nil {
		img = image.Image{} // serve says so; without it there are no sessions
	}
	out, err := l.reach.settings(s.gates)
	if err != nil {
		return err
	}
	installer, err := s.packaging.open(img, log)
	if err != nil {
		return err
	}
	options := registry.Options{
		Settings: session.Settings{Home: home, Data: data, Egress: out,
			MaxUpload: int64(l.MaxUpload), MaxCheckpoints: l.MaxCheckpoints,
			HibernateAfter: l.HibernateAfter, IdleTimeout: l.IdleTimeout, MaxAge: l.MaxAge, Retention: l.Retention,
			CellTimeout: l.CellTimeout, MaxCellTimeout: l.MaxCellTimeout,
			KeepNotebooks: l.KeepNotebooks, Ephemeral: l.Ephemeral},
		Packages: installer,
		Driver:   r.driver, Store: r.store, Images: r.finder, Logger: log,
		Image: s.Image, Limits: s.limits(&l), Ceiling: l.ceiling(),
		MaxSessions: l.MaxSessions, MaxHibernated: l.MaxHibernated, MaxSessionsPerOwner: l.MaxSessionsPerToken,
		CreatesPerMinute: l.MaxCreatesPerMinute, MaxSnapshots: int64(l.MaxSnapshots),
	}
	if r.templates, err = l.warming.open(s, &l, r.driver, r.finder, installer, data, log); err != nil {
		return err
	}
	if r.templates != nil {
		options.Driver, options.Templates = r.templates.Driver(), r.templates
	}
	r.sessions, err = registry.New(options)
	return err
}

// What sandboxes are made with, and from. The tests of this program put pretended ones here; the
// program itself has no others, so that no flag can take the walls away.
var (
	newDriver = func(home, shared string, unheld bool, log *slog.Logger) (sandbox.Driver, error) {
		o, err := embeddedOptions(home, shared, log)
		if err != nil {
			return nil, err
		}
		o.AcceptUnheld = unheld
		d, err := embedded.New(o)
		if err != nil {
			return nil, err // and not a driver that holds a nil pointer
		}
		return d, nil
	}
	newImages = func(store *image.Store) session.Images { return imageFinder{store} }
)

// embeddedOptions says where the embedded driver keeps its things.
func embeddedOptions(home, shared string, log *slog.Logger) (embedded.Options, error) {
	if withCgo {
		return embedded.Options{}, errors.New("this cellhold was built with cgo, which gVisor does not bear; build it with: make build")
	}
	guests, err := guestbin.Open(filepath.Join(shared, "guest"))
	if err != nil {
		return embedded.Options{}, err
	}
	return embedded.Options{Dir: filepath.Join(home, runDir), Guest: guests.Path(), Guests: guests, Logger: log}, nil
}

// dataFolder returns the folder that sessions see at /mnt/data, and makes the one in the home. Nothing is ever
// written to one that was named.
func (s *service) dataFolder(shared string) (string, error) {
	data := s.Data
	if data == "" {
		data = filepath.Join(shared, "data")
		if err := os.MkdirAll(data, 0o755); err != nil {
			return "", fmt.Errorf("data folder: %w", err)
		}
	} else if info, err := os.Stat(data); err != nil || !info.IsDir() {
		return "", fmt.Errorf("there is no data folder %s; make it, or name another one with --data", data)
	}
	return resolved(data), nil
}

// close closes what is open, highest first. What could not be opened is nil.
func (r *rooms) close() error {
	var errs []error
	if r.driver != nil {
		errs = append(errs, r.driver.Close())
	}
	if r.store != nil {
		errs = append(errs, r.store.Close())
	}
	return errors.Join(errs...)
}

// while runs the manager of sessions as long as do runs. When the manager fails, the context of do
// ends. The doors are closed by then, so what watches is told and nothing new can come.
func (r *rooms) while(ctx context.Context, do func(context.Context) error) error {
	doing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	managing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	managed := make(chan error, 1)
	go func() {
		err := r.sessions.Run(managing)
		cancel(err)
		managed <- err
	}()
	var warming sync.WaitGroup
	defer warming.Wait()
	if r.templates != nil {
		warming.Go(func() {
			// What an earlier server has left is tidied up first, or what is made here could be taken for it.
			if r.sessions.WaitReady(managing) == nil {
				r.templates.Run(managing)
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

// plainly shortens an error to the sentence that is meant for people, if it has one.
func plainly(err error) error {
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		return errors.New(e.Message)
	}
	return err
}
