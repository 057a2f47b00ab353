// Package install changes the packages of the sandbox's Python, with uv, for the host.
//
// uv runs as its own user, so that code in the kernels cannot read its memory or control it. uv can reach only a
// listener on the guest's loopback, at a random path that only the environment of uv contains. The agent passes
// every request to the host, which decides. So the sandbox needs no network, and the guest has no host name,
// credential or certificate of the index.
//
// The package does not check requirements or apply policy. The host does that, and sends only packages that may be
// installed. The agent passes them on in a file, never as arguments. One installation runs at a time.
//
// There is one lock, Installer.mu, held for short operations only.
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

// Doer runs a program to its end as the installer's user, and leaves no process of it running.
type Doer func(ctx context.Context, argv, env []string, dir string) (Ended, error)

// Ended says how a program ended.
type Ended struct {
	Code, Signal int
	Output       string // the end of its output; foreign text
}

// Modules lists the imports of one kernel.
type Modules struct {
	Loaded []string            // imported modules
	Missed map[string][]string // modules that tried an import, by the name of the missing module
}

// Kernels returns the imports of the running kernels. silent lists the kernels that do not answer.
type Kernels func(ctx context.Context) (imports map[cellhold.KernelID]Modules, silent []string)

// Options configures an Installer.
type Options struct {
	Do       Doer         // required
	Kernels  Kernels      // nil means no kernels
	Python   string       // name or path of the Python whose packages change; empty means python3
	Path     string       // where programs are searched; required
	Dir      string       // for temporary files of an installation; made if missing; required
	UID, GID int          // the installer's user, who becomes the owner of Python's directories; 0 means the agent's user, for tests
	Logger   *slog.Logger // nil discards
}

// Installer installs packages.
type Installer struct {
	o       Options
	running chan struct{} // capacity 1: held by the running installation
	relay   *relay

	owned bool // the installer owns all directories of the layout; guarded by running

	mu     sync.Mutex
	layout *layout       // Python's directories for packages; nil until the first installation
	run    *run          // nil when no installation runs
	next   chan struct{} // closed when an installation starts, and then replaced
}

// New returns an installer.
func New(o Options) (*Installer, error) {
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
	return &Installer{o: o, running: make(chan struct{}, 1), relay: newRelay(), next: make(chan struct{})}, nil
}

// Install makes the change and reports its result. A failure of uv is a result. The error says that uv
// could not be run.
func (r *Installer) Install(ctx context.Context, in guestapi.Install) (guestapi.Installed, error) {
	ctx, t, release, err := r.begin(ctx, in)
	if err != nil {
		return guestapi.Installed{}, err
	}
	defer release()
	before := t.layout.installedNow()
	end, err := r.runUV(ctx, t, in, before)
	if err != nil {
		return guestapi.Installed{}, err
	}
	if end.Code != 0 || end.Signal != 0 {
		t.layout.dropPartial(before)
	}
	after := t.layout.installedNow()
	out := guestapi.Installed{
		Failure: failure(ctx, end), Log: end.Output,
		Changes: changes(before, after), Named: named(after, in.Names), Hooks: hooks(before, after),
		Loaded: []guestapi.LoadedModule{}, Silent: []string{},
	}
	r.stale(ctx, &out)
	return out, nil
}

// lock checks a request, and fails if another installation runs. The caller must call release at the end.
func (r *Installer) lock(in guestapi.Install) (release func(), err error) {
	if in.Timeout <= 0 || (len(in.Requirements) == 0) == (len(in.Remove) == 0) {
		return nil, cellhold.Errorf(cellhold.Invalid, "An installation needs a timeout, and either requirements or packages to remove.")
	}
	select {
	case r.running <- struct{}{}:
		return func() { <-r.running }, nil
	default:
		return nil, cellhold.Errorf(cellhold.Conflict, "An installation is running already.")
	}
}

// begin starts an installation, bounds its time and finds the tools. The caller must call release at the
// end.
func (r *Installer) begin(ctx context.Context, in guestapi.Install) (bounded context.Context, t tools, release func(), err error) {
	unlock, err := r.lock(in)
	if err != nil {
		return ctx, t, nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, in.Timeout)
	release = func() {
		cancel()
		unlock()
	}
	if t, err = r.tools(bounded); err != nil {
		release()
	}
	return bounded, t, release, err
}

// Look reports whether the installed packages meet requirements. It changes nothing and does not ask the
// index.
func (r *Installer) Look(ctx context.Context, in guestapi.Install) (guestapi.Installed, error) {
	ctx, t, release, err := r.begin(ctx, in)
	if err != nil {
		return guestapi.Installed{}, err
	}
	defer release()
	dir, err := r.workDir(t, in)
	if err != nil {
		return guestapi.Installed{}, diskError(err)
	}
	defer os.RemoveAll(dir)
	end, err := r.o.Do(ctx, append(command(t, in, dir), "--no-index", "--dry-run"), environment(r.o.Path, dir, ""), dir)
	if err != nil {
		return guestapi.Installed{}, err
	}
	return guestapi.Installed{Failure: failure(ctx, end), Log: end.Output, Changes: []guestapi.PackageChange{},
		Named: named(t.layout.installedNow(), in.Names), Hooks: []guestapi.StartHook{}, Loaded: []guestapi.LoadedModule{}, Silent: []string{}}, nil
}

// failure returns how the installer ended. A full disk shows only in its output.
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

// realDir has the real uv in images whose uv on PATH asks the host for packages.
const realDir = "/usr/local/lib/cellhold"

// tools are the programs of one installation.
type tools struct {
	uv, python string
	layout     *layout
}

// tools finds the programs, and asks Python once for its directories.
func (r *Installer) tools(ctx context.Context) (tools, error) {
	var t tools
	var err error
	if t.python, err = find(r.o.Python, r.o.Path); err != nil {
		return t, cellhold.Errorf(cellhold.Unsupported, "The session's image has no %s, so packages cannot be installed in it.", r.o.Python)
	}
	if t.uv, err = find("uv", realDir+string(filepath.ListSeparator)+r.o.Path); err != nil {
		return t, cellhold.Errorf(cellhold.Unsupported, "The session's image has no uv, so packages cannot be installed in it. Use an image with uv, such as the stock image.")
	}
	r.mu.Lock()
	t.layout = r.layout
	r.mu.Unlock()
	if t.layout == nil {
		if t.layout, err = r.ask(ctx, t.python); err != nil {
			return t, err
		}
		r.mu.Lock()
		r.layout = t.layout
		r.mu.Unlock()
	}
	return t, nil
}

// find finds a program in a PATH as a shell would.
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

// runUV runs uv with a directory and an index listener of its own.
func (r *Installer) runUV(ctx context.Context, t tools, in guestapi.Install, before state) (Ended, error) {
	dir, err := r.workDir(t, in)
	if err != nil {
		return Ended{}, diskError(err)
	}
	defer os.RemoveAll(dir)
	index, err := r.open(ctx)
	if err != nil {
		return Ended{}, err
	}
	end, err := r.runWithRights(t, in, before, func(more ...string) (Ended, error) {
		return r.o.Do(ctx, append(command(t, in, dir), more...), environment(r.o.Path, dir, index.url), dir)
	})
	index.close()
	end.Output = index.hide(end.Output)
	return end, err
}

// runWithRights runs uv with only the rights that it needs. A change of owner copies a directory of the image to the
// session's writable layer, which takes seconds for all directories of a large image. So the installer first becomes
// the owner of few directories: those of packages that a dry run removes, and those in which every package puts
// files. If uv then lacks rights, the installer becomes the owner of all directories.
func (r *Installer) runWithRights(t tools, in guestapi.Install, before state, uv func(more ...string) (Ended, error)) (Ended, error) {
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
	if err := r.ownSome(t.layout, leaving); err != nil {
		return Ended{}, err
	}
	end, err := uv()
	if err != nil || !strings.Contains(end.Output, fmt.Sprintf("os error %d", int(syscall.EACCES))) {
		return end, err
	}
	r.o.Logger.Debug("the installer becomes the owner of all directories")
	if err := r.own(t.layout); err != nil {
		return Ended{}, err
	}
	r.owned = true
	t.layout.dropPartial(before)
	return uv()
}

// uninstalls returns the packages that a dry run would remove, from its output.
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

// command returns the command line of uv. All values of the caller are in files.
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
		for _, name := range in.Names { // normalised by the host; with "=" a name cannot become an option
			argv = append(argv, "--upgrade-package="+normal(name))
		}
	}
	if in.Alone && !in.Hashes {
		argv = append(argv, "--no-deps")
	}
	if in.Hashes {
		// Without --no-deps, uv needs hashes for packages of the image too, but no lock file has them.
		argv = append(argv, "--require-hashes", "--no-deps")
	}
	return argv
}

// environment returns the complete environment of uv. It contains the address of the index listener. The
// command line does not, because every user can read command lines.
func environment(path, dir, index string) []string {
	env := []string{
		"PATH=" + path, "LANG=C.UTF-8", "HOME=" + dir, "TMPDIR=" + dir,
		"UV_CACHE_DIR=" + filepath.Join(dir, "cache"),
		"UV_PYTHON_DOWNLOADS=never", "UV_NO_PROGRESS=1", "NO_COLOR=1",
		"UV_KEYRING_PROVIDER=disabled",
		// The host retries requests to the index itself, and a refusal is final.
		"UV_HTTP_RETRIES=0",
		// The host's timeouts bound every request. uv's own timeout would end slow requests too early.
		"UV_HTTP_TIMEOUT=300",
		// Low numbers: every thread and page of uv counts against the session's limits.
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

// workDir makes the directory of one installation. It is on the file system of the packages, so that
// unpacked files need not be copied.
func (r *Installer) workDir(t tools, in guestapi.Install) (dir string, err error) {
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

// writePython writes the program that uv runs as Python, to find versions and directories. It starts Python without
// the start-up hooks of packages. Otherwise a hook of an installed package runs as the installer. With source,
// the code of packages runs as the installer anyway, and needs the complete Python.
func writePython(file, python string, source bool) error {
	if source {
		return os.Symlink(python, file)
	}
	return os.WriteFile(file, []byte("#!/bin/sh\nexec '"+strings.ReplaceAll(python, "'", `'\''`)+"' -S \"$@\"\n"), 0o555)
}

func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return cellhold.Wrap(cellhold.Exhausted, err, "The session's disk is full, so no packages can be installed.")
	}
	return fmt.Errorf("prepare the installation: %w", err)
}
