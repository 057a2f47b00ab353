// Package install changes the packages of the sandbox's Python, with uv, for the host.
//
// uv runs as a user of its own, so that the code in the kernels can neither look over its shoulder
// nor speak in its place. The one thing it reaches is a listener on the guest's loopback, behind a
// random path that only its environment names; every question there is passed to the host, which
// decides. So the sandbox needs no network, and the guest knows no host, no credential and no
// certificate of the index.
//
// It refuses to judge requirements or policy: that is the host's, which sends only what may be
// installed. It passes them on in a file, never as arguments. One installation runs at a time.
//
// There is one lock, Room.mu, held for moments.
package install

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"cellhold"
	"cellhold/internal/guestapi"
)

// Doer runs a program to its end as the installer's user, and leaves nothing of it running.
type Doer func(ctx context.Context, argv, env []string, dir string) (Ended, error)

// Ended says how a program ended.
type Ended struct {
	Code, Signal int
	Output       string // the last of what it said; foreign text
}

// Modules is what one kernel says of imports.
type Modules struct {
	Loaded []string            // modules that are there
	Missed map[string][]string // modules that looked for one that was not there, by its name
}

// Kernels tells what the running kernels have imported. Those that do not answer are silent.
type Kernels func(ctx context.Context) (said map[cellhold.KernelID]Modules, silent []string)

// Options configures a Room.
type Options struct {
	Do       Doer         // required
	Kernels  Kernels      // nil means that there are none
	Python   string       // name or path of the Python whose packages are meant; empty means python3
	Path     string       // where programs are looked for; required
	Dir      string       // where an installation keeps what it needs for a while; made if missing; required
	UID, GID int          // the installer's user, who gets Python's directories; 0 means as we are, for tests
	Logger   *slog.Logger // nil discards
}

// Room installs packages.
type Room struct {
	o    Options
	turn chan struct{} // capacity 1: held by the installation that runs
	desk *desk

	owned bool // the installer owns all of the places; guarded by turn

	mu     sync.Mutex
	places *places // where Python keeps packages; nil until it has been asked
	run    *run    // nil when no installation runs
	next   chan struct{}
}

// New returns a room in which nothing has been installed yet.
func New(o Options) (*Room, error) {
	if o.Do == nil || o.Path == "" || o.Dir == "" {
		return nil, errors.New("install: Options.Do, Path and Dir are required")
	}
	if o.Kernels == nil {
		o.Kernels = func(context.Context) (map[cellhold.KernelID]Modules, []string) { return nil, nil }
	}
	if o.Python == "" {
		o.Python = "python3"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Room{o: o, turn: make(chan struct{}, 1), desk: newDesk(), next: make(chan struct{})}, nil
}

// Install makes the change and says what became of it. A failure of the installer is an answer; an
// error means that it could not be asked.
func (r *Room) Install(ctx context.Context, in guestapi.Install) (guestapi.Installed, error) {
	ctx, t, leave, err := r.begin(ctx, in)
	if err != nil {
		return guestapi.Installed{}, err
	}
	defer leave()
	before := t.places.look()
	end, err := r.with(ctx, t, in, before)
	if err != nil {
		return guestapi.Installed{}, err
	}
	if end.Code != 0 || end.Signal != 0 {
		t.places.mend(before)
	}
	after := t.places.look()
	out := guestapi.Installed{
		Failure: failure(ctx, end), Log: end.Output,
		Changes: changes(before, after), Named: named(after, in.Names), Hooks: hooks(before, after),
		Loaded: []guestapi.LoadedModule{}, Silent: []string{},
	}
	r.stale(ctx, &out)
	return out, nil
}

// enter takes the turn for a request that makes sense.
func (r *Room) enter(in guestapi.Install) (leave func(), err error) {
	if in.Timeout <= 0 || (len(in.Requirements) == 0) == (len(in.Remove) == 0) {
		return nil, cellhold.Errorf(cellhold.Invalid, "An installation needs a timeout, and either requirements or packages to remove.")
	}
	select {
	case r.turn <- struct{}{}:
		return func() { <-r.turn }, nil
	default:
		return nil, cellhold.Errorf(cellhold.Conflict, "An installation is running already.")
	}
}

// begin takes the turn of an installation, bounds its time and finds the tools. The caller calls leave in the end.
func (r *Room) begin(ctx context.Context, in guestapi.Install) (bounded context.Context, t tools, leave func(), err error) {
	left, err := r.enter(in)
	if err != nil {
		return ctx, t, nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, in.Timeout)
	leave = func() {
		cancel()
		left()
	}
	if t, err = r.tools(bounded); err != nil {
		leave()
	}
	return bounded, t, leave, err
}

// Look says whether requirements are met by what is installed. It changes nothing and asks no index.
func (r *Room) Look(ctx context.Context, in guestapi.Install) (guestapi.Installed, error) {
	ctx, t, leave, err := r.begin(ctx, in)
	if err != nil {
		return guestapi.Installed{}, err
	}
	defer leave()
	dir, err := r.workDir(t, in)
	if err != nil {
		return guestapi.Installed{}, noRoom(err)
	}
	defer os.RemoveAll(dir)
	end, err := r.o.Do(ctx, append(command(t, in, dir), "--no-index", "--dry-run"), environment(r.o.Path, dir, ""), dir)
	if err != nil {
		return guestapi.Installed{}, err
	}
	return guestapi.Installed{Failure: failure(ctx, end), Log: end.Output, Changes: []guestapi.PackageChange{},
		Named: named(t.places.look(), in.Names), Hooks: []guestapi.StartHook{}, Loaded: []guestapi.LoadedModule{}, Silent: []string{}}, nil
}

// failure says how the installer ended. What it printed is the only place where a full disk shows.
func failure(ctx context.Context, end Ended) guestapi.InstallFailure {
	switch {
	case end.Code == 0 && end.Signal == 0:
		return guestapi.InstallOK
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return guestapi.InstallTimeout
	case strings.Contains(end.Output, fmt.Sprintf("os error %d", int(syscall.ENOSPC))):
		return guestapi.InstallDiskFull
	case end.Signal != 0:
		return guestapi.InstallKilled
	}
	return guestapi.InstallRefused
}

// realDir has uv in images where the uv on PATH is ours, which asks the host for packages.
const realDir = "/usr/local/lib/cellhold"

// tools are the programs of one installation.
type tools struct {
	uv, python string
	places     *places
}

// tools finds the programs, and asks Python once where it keeps packages.
func (r *Room) tools(ctx context.Context) (tools, error) {
	var t tools
	var err error
	if t.python, err = find(r.o.Python, r.o.Path); err != nil {
		return t, cellhold.Errorf(cellhold.Unsupported, "The session's image has no %s, so packages cannot be installed in it.", r.o.Python)
	}
	if t.uv, err = find("uv", realDir+string(filepath.ListSeparator)+r.o.Path); err != nil {
		return t, cellhold.Errorf(cellhold.Unsupported, "The session's image has no uv, which installs packages. Use an image that has it; the stock image does.")
	}
	r.mu.Lock()
	t.places = r.places
	r.mu.Unlock()
	if t.places == nil {
		if t.places, err = r.ask(ctx, t.python); err != nil {
			return t, err
		}
		r.mu.Lock()
		r.places = t.places
		r.mu.Unlock()
	}
	return t, nil
}

// find finds a program as a shell would with that PATH.
func find(name, path string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", os.ErrNotExist
}

// with runs uv, with a directory and a way to the index that are its own and end with it.
func (r *Room) with(ctx context.Context, t tools, in guestapi.Install, before state) (Ended, error) {
	dir, err := r.workDir(t, in)
	if err != nil {
		return Ended{}, noRoom(err)
	}
	defer os.RemoveAll(dir)
	index, err := r.open(ctx)
	if err != nil {
		return Ended{}, err
	}
	end, err := r.careful(t, in, before, func(more ...string) (Ended, error) {
		return r.o.Do(ctx, append(command(t, in, dir), more...), environment(r.o.Path, dir, index.url), dir)
	})
	index.close()
	end.Output = index.hide(end.Output)
	return end, err
}

// careful runs uv with the rights that it needs this time. To give it all directories of a large
// image takes seconds, because each is copied to the session's layer; so a dry run says which
// packages must go, and only where that was not enough it gets all.
func (r *Room) careful(t tools, in guestapi.Install, before state, uv func(more ...string) (Ended, error)) (Ended, error) {
	if r.owned || r.o.UID == 0 {
		return uv()
	}
	leaving := in.Remove
	if len(leaving) == 0 {
		dry, err := uv("--dry-run")
		if err != nil || dry.Code != 0 || dry.Signal != 0 {
			return dry, err
		}
		leaving = uninstalls(dry.Output)
	}
	if err := r.ownSome(t.places, leaving); err != nil {
		return Ended{}, err
	}
	end, err := uv()
	if err != nil || !strings.Contains(end.Output, fmt.Sprintf("os error %d", int(syscall.EACCES))) {
		return end, err
	}
	r.o.Logger.Debug("the installer gets all directories")
	if err := r.own(t.places); err != nil {
		return Ended{}, err
	}
	r.owned = true
	t.places.mend(before)
	return uv()
}

// uninstalls reads in a dry run's words which packages would go.
func uninstalls(output string) []string {
	var names []string
	for line := range strings.Lines(output) {
		if rest, ok := strings.CutPrefix(line, " - "); ok {
			name, _, _ := strings.Cut(strings.TrimSpace(rest), "==")
			names = append(names, normal(name))
		}
	}
	return names
}

// command is the command line of uv. Everything that a caller chose is in files.
func command(t tools, in guestapi.Install, dir string) []string {
	argv := []string{t.uv, "pip", "install"}
	if len(in.Remove) > 0 {
		argv = []string{t.uv, "pip", "uninstall"}
	}
	argv = append(argv, "--python", filepath.Join(dir, pythonFile), "--break-system-packages", "--no-config",
		"--requirement", filepath.Join(dir, requirementsFile))
	if len(in.Remove) > 0 {
		return argv
	}
	if !in.Source {
		argv = append(argv, "--only-binary", ":all:")
	}
	if in.Upgrade {
		for _, name := range in.Names { // normalised by the host; with "=" none can become an option
			argv = append(argv, "--upgrade-package="+normal(name))
		}
	}
	if in.Alone && !in.Hashes {
		argv = append(argv, "--no-deps")
	}
	if in.Hashes {
		// What came with the image is in no lock, and uv would want the hashes of that too.
		argv = append(argv, "--require-hashes", "--no-deps")
	}
	return argv
}

// environment is all that uv gets. The way to the index is here and not in the command line,
// because everyone may read command lines.
func environment(path, dir, index string) []string {
	env := []string{
		"PATH=" + path, "LANG=C.UTF-8", "HOME=" + dir, "TMPDIR=" + dir,
		"UV_CACHE_DIR=" + filepath.Join(dir, "cache"),
		"UV_PYTHON_DOWNLOADS=never", "UV_NO_PROGRESS=1", "NO_COLOR=1",
		"UV_KEYRING_PROVIDER=disabled",
		// The host asks the index again where that makes sense, and a refusal stays one.
		"UV_HTTP_RETRIES=0",
		// The host's timeouts bound every question; uv's own would end a slow one too early.
		"UV_HTTP_TIMEOUT=300",
		// Few at once: every thread and page of it counts against the session's limits.
		"UV_CONCURRENT_DOWNLOADS=4", "UV_CONCURRENT_BUILDS=1", "UV_CONCURRENT_INSTALLS=2",
		"RAYON_NUM_THREADS=2", "TOKIO_WORKER_THREADS=2",
	}
	if index != "" {
		env = append(env, "UV_DEFAULT_INDEX="+index)
	}
	return env
}

const (
	pythonFile       = "python"
	requirementsFile = "requirements.txt"
)

// workDir makes the directory of one installation: beside the packages, so that what was unpacked
// there can become a package without being copied.
func (r *Room) workDir(t tools, in guestapi.Install) (dir string, err error) {
	if err := os.MkdirAll(r.o.Dir, 0o711); err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp(r.o.Dir, "install-"); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	lines := in.Requirements
	if len(in.Remove) > 0 {
		lines = in.Remove
	}
	if err := os.WriteFile(filepath.Join(dir, requirementsFile), []byte(strings.Join(lines, "\n")+"\n"), 0o444); err != nil {
		return "", err
	}
	if err := writePython(filepath.Join(dir, pythonFile), t.python, in.Source); err != nil {
		return "", err
	}
	if r.o.UID != 0 {
		err = os.Lchown(dir, r.o.UID, r.o.GID)
	}
	return dir, err
}

// writePython makes the Python that uv asks about versions and places. It starts without the hooks
// that packages can leave: one installed before would otherwise run as the installer. Where
// source may be built, code of packages runs as the installer anyway, and needs all of Python.
func writePython(file, python string, source bool) error {
	if source {
		return os.Symlink(python, file)
	}
	return os.WriteFile(file, []byte("#!/bin/sh\nexec '"+strings.ReplaceAll(python, "'", `'\''`)+"' -S \"$@\"\n"), 0o555)
}

func noRoom(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return cellhold.Wrap(cellhold.Exhausted, err, "There is no room left in the session to install anything.")
	}
	return fmt.Errorf("prepare the installation: %w", err)
}
