package embedded

import (
	"cellhold/internal/sandbox/embedded/cgroup"
	"cellhold/internal/sandbox/embedded/process"
	"cellhold/internal/sandbox/embedded/runner"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded/snapshots"
)

// maxSocket is the maximum length of a Unix socket's path. For a longer path, gVisor would silently put the socket into
// a directory that all users share.
const maxSocket = 107

// clearTimeout bounds the removal of one sandbox. A fork bomb takes seconds to end.
const clearTimeout = 60 * time.Second

// Driver creates gVisor sandboxes.
type Driver struct {
	dir          string
	agent        agent       // of this build
	guests       Builds      // other agents; can be nil
	runner       runnerBuild // of this build
	runners      Builds      // other runners; can be nil
	uidBase      uint32
	startTimeout time.Duration
	log          *slog.Logger

	privileged bool            // root: sandboxes get their own uids
	cgroups    *cgroup.Cgroups // nil if this process cannot use cgroups
	features   sandbox.Features
	creating   chan struct{} // bounds the creations in progress

	acceptUnenforced bool
	private          bool

	snapshots string
	reserve   int64
	store     *snapshots.Store
	agents    map[string]agent  // the agents that can run, by digest; never changes
	former    map[string]string // the paths of runners with another gVisor, by digest; never changes

	mu   sync.Mutex
	open map[sandbox.ID]*box // the sandboxes of this driver
}

// New returns a driver for this host. If the host cannot enforce a limit, Features reports it. If the host cannot isolate
// sandboxes, New fails.
func New(o Options) (*Driver, error) {
	d, err := open(o)
	if err != nil {
		err = errors.Join(err, o.closeBuilds())
	}
	return d, err
}

func open(o Options) (*Driver, error) {
	if o.Snapshots != "" && !filepath.IsAbs(o.Snapshots) {
		return nil, fmt.Errorf("%w: Snapshots must be an absolute path, not %q", errOptions, o.Snapshots)
	}
	if !filepath.IsAbs(o.Dir) || !filepath.IsAbs(o.Guest) || !filepath.IsAbs(o.Runner) {
		return nil, fmt.Errorf("%w: Dir, Guest and Runner must be absolute paths, not %q, %q and %q", errOptions, o.Dir, o.Guest, o.Runner)
	}
	if err := requireOpenFiles(openFilesLimit()); err != nil {
		return nil, err
	}
	d := &Driver{
		dir:          filepath.Clean(o.Dir),
		agent:        agent{path: filepath.Clean(o.Guest)},
		guests:       o.Guests,
		runner:       runnerBuild{path: filepath.Clean(o.Runner), digest: o.RunnerDigest, gVisor: runner.Version},
		runners:      o.Runners,
		uidBase:      o.UIDBase,
		startTimeout: o.StartTimeout,
		log:          o.Logger,
		open:         map[sandbox.ID]*box{},
	}
	if err := d.checkSocket("x"); err != nil {
		return nil, fmt.Errorf("%w: %w", errOptions, err)
	}
	d.acceptUnenforced, d.private = o.AcceptUnenforced, o.Private
	d.snapshots, d.reserve = o.snapshots(), o.reserve()
	d.setDefaults()
	d.privileged = os.Geteuid() == 0 && hasSysAdmin() && mapsIDs(d.uidBase)
	// Two creations for each processor: a creation waits nearly as long as it computes.
	d.creating = make(chan struct{}, 2*runtime.NumCPU())
	if err := d.prepare(); err != nil {
		return nil, fmt.Errorf("%w: %w", errOptions, err)
	}
	if err := d.openStore(); err != nil {
		return nil, fmt.Errorf("%w: snapshots: %w", errOptions, err)
	}
	if err := d.openPrograms(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errOptions, err), d.store.Close())
	}
	return d, nil
}

// checkSocket checks that the path of gVisor's socket for a sandbox is short enough.
func (d *Driver) checkSocket(id sandbox.ID) error {
	path := filepath.Join(d.paths(id).gvisor, "runsc-"+runner.InnerID+".sock")
	if len(path) > maxSocket {
		return fmt.Errorf("the path %s is too long: the socket %s in it has more than %d bytes", d.dir, path, maxSocket)
	}
	return nil
}

func (d *Driver) setDefaults() {
	if d.uidBase == 0 {
		d.uidBase = defaultUIDBase
	}
	if d.startTimeout == 0 {
		d.startTimeout = defaultStartTimeout
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
}

func (d *Driver) prepare() error {
	if err := os.MkdirAll(d.dir, 0o711); err != nil {
		return err
	}
	if info, err := os.Stat(d.agent.path); err != nil {
		return fmt.Errorf("guest binary: %w", err)
	} else if info.Mode().Perm()&0o001 == 0 && d.privileged {
		return fmt.Errorf("sandboxes cannot run the guest binary %s; allow it with: chmod o+rx %s", d.agent.path, d.agent.path)
	}
	if err := d.reachable(filepath.Dir(d.agent.path)); err != nil {
		return fmt.Errorf("guest binary: %w", err)
	}
	if err := runnable(d.runner.path, d.privileged); err != nil {
		return fmt.Errorf("runner: %w", err)
	}
	// Sandbox processes are our grandchildren. Without a subreaper, process 1 would get them as zombies, with their exit
	// statuses.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the reaper of sandbox processes: %w", err)
	}
	d.features = sandbox.Features{Isolated: true, Pause: true, Snapshot: true}
	return d.prepareLimits()
}

// prepareLimits finds the limits that this host can enforce.
func (d *Driver) prepareLimits() error {
	if !d.privileged {
		if err := tryUserNamespace(d.runner.path); err != nil {
			return fmt.Errorf("sandboxes need root or user namespaces: %w", err)
		}
	}
	root := os.Geteuid() == 0
	if root && !d.privileged {
		d.features.Unenforced = append(d.features.Unenforced, "Sandboxes run under the uid of the server, which is root, "+
			"because the server lacks CAP_SYS_ADMIN or the uids from "+strconv.Itoa(int(d.uidBase))+" on.")
	}
	c, err := cgroup.Find(cgroup.Root)
	if err == nil {
		d.cgroups = c
	} else {
		d.unlimited(err)
	}
	if root && len(d.features.Unenforced) > 0 && !d.acceptUnenforced {
		return fmt.Errorf("the server runs as root, but this host cannot enforce every limit: %s To accept this, start the server with --accept-missing-limits",
			strings.Join(d.features.Unenforced, " "))
	}
	return nil
}

// unlimited records the limits that are not enforced without cgroups.
func (d *Driver) unlimited(err error) {
	why := "cgroups: " + err.Error()
	if os.Geteuid() != 0 {
		why = "the server is not root (" + why + ")"
	}
	d.features.Unenforced = append(d.features.Unenforced,
		"The memory limit of a sandbox is not enforced, because "+why+"; the limits of its disk and temporary files are enforced.",
		"The CPU limit of a sandbox is not enforced, because "+why+".",
		"The host's own limit of processes is not enforced, because "+why+"; the limit inside the sandbox is enforced.",
	)
}

// Features returns what this driver can do on this host.
func (d *Driver) Features() sandbox.Features { return d.features }

// List returns every sandbox that has a directory, or runs without one.
func (d *Driver) List(context.Context) ([]sandbox.Info, error) {
	ids, err := d.ids()
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	ids = append(ids, d.lost(ids)...)
	infos := make([]sandbox.Info, 0, len(ids))
	for _, id := range ids {
		infos = append(infos, d.info(id))
	}
	return infos, nil
}

// info returns only the id if the record is missing or broken. A sandbox must be listed to be removed.
func (d *Driver) info(id sandbox.ID) sandbox.Info {
	r, err := load(d.paths(id))
	if err != nil {
		return sandbox.Info{ID: id}
	}
	return sandbox.Info{ID: id, Alive: r.Sentry.Alive(), Created: r.Created, Image: r.Image, Labels: r.Labels}
}

// Remove destroys the remains of a sandbox without an owner.
func (d *Driver) Remove(ctx context.Context, id sandbox.ID) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("remove sandbox: %w", err)
	}
	p := d.paths(id)
	take := own
	if _, err := os.Lstat(p.dir); notExist(err) {
		take = ownLost // a cgroup or processes can remain without a directory
	}
	lock, err := take(p)
	if err != nil {
		if notExist(err) {
			return nil
		}
		return fmt.Errorf("remove sandbox %s: %w", id, err)
	}
	defer lock.Close()
	return d.clear(ctx, id, p)
}

// clear removes everything that a sandbox can have, in any state. The directory is last, because List finds the sandbox
// by it when no process runs any more.
func (d *Driver) clear(ctx context.Context, id sandbox.ID, p paths) error {
	return d.clearWith(ctx, id, p, func() []process.Process { return append(d.users().StartedWith(p.gvisor), d.remains(id, p)...) })
}

// clearEnded is clear for a sandbox whose creation was complete, and whose sentry has ended. All its processes are in its
// record and its cgroup, so their arguments are not searched: that takes milliseconds on a host with many processes.
func (d *Driver) clearEnded(ctx context.Context, id sandbox.ID, p paths) error {
	if d.cgroups == nil {
		return d.clear(ctx, id, p)
	}
	return d.clearWith(ctx, id, p, func() []process.Process { return d.remains(id, p) })
}

// clearWith does the work of clear. The function find returns the processes of the sandbox.
func (d *Driver) clearWith(ctx context.Context, id sandbox.ID, p paths, find func() []process.Process) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), clearTimeout)
	defer cancel()
	if err := process.KillAll(ctx, func() []process.Process {
		return slices.DeleteFunc(find(), func(p process.Process) bool { return !p.Alive() })
	}); err != nil {
		return fmt.Errorf("clear sandbox %s: %w", id, err)
	}
	if err := process.Children.ReapStrays(ctx); err != nil {
		return fmt.Errorf("clear sandbox %s: %w", id, err)
	}
	if d.cgroups != nil {
		if err := d.cgroups.Remove(ctx, id); err != nil {
			return fmt.Errorf("clear sandbox %s: %w", id, err)
		}
	}
	if err := os.RemoveAll(p.dir); err != nil {
		return fmt.Errorf("clear sandbox %s: %w", id, err)
	}
	return nil
}

// Close gives up the sandboxes, which continue to run.
func (d *Driver) Close() error {
	d.mu.Lock()
	var open []*box
	for _, b := range d.open {
		open = append(open, b)
	}
	d.mu.Unlock()
	var errs []error
	for _, b := range open {
		errs = append(errs, b.detach())
	}
	if d.cgroups != nil {
		d.cgroups.Close()
	}
	errs = append(errs, d.store.Close(), Options{Guests: d.guests, Runners: d.runners}.closeBuilds())
	return errors.Join(errs...)
}

// remains finds a sandbox's processes by its record and its cgroup. A search by arguments alone is not enough: a sentry
// under an attacker's control can change its arguments. clear also searches by arguments, for the processes of an
// interrupted creation.
func (d *Driver) remains(id sandbox.ID, p paths) (procs []process.Process) {
	if r, err := load(p); err == nil {
		procs = append(procs, r.Sentry, r.Gofer)
	}
	if d.cgroups != nil {
		members, err := d.cgroups.Processes(id)
		if err == nil {
			procs = append(procs, members...)
		}
	}
	return procs
}

// users returns the uids of this driver's processes: that of the server, and those of the sandboxes if it gives them their
// own.
func (d *Driver) users() process.Users {
	return func(uid uint32) bool {
		return uid == uint32(os.Geteuid()) || d.privileged && uid-d.uidBase < idRange // also false below uidBase
	}
}

func (d *Driver) register(b *box) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[b.record.ID] = b
}

func (d *Driver) unregister(b *box) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open[b.record.ID] == b {
		delete(d.open, b.record.ID)
	}
}
