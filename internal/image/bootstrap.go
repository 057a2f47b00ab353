package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killWait bounds the wait for the pipes of a killed tool. The tool's processes end at once, with its namespace.
const killWait = 10 * time.Second

// bootstrap builds a recipe with mmdebstrap: first Debian's packages, then build.sh in the new system. The result is a
// stream that is unpacked like a foreign layer; so images built by root and by other users are the same.
func bootstrap(ctx context.Context, j job) error {
	if err := checkTools(); err != nil {
		return err
	}
	log, err := os.Create(j.log)
	if err != nil {
		return err
	}
	defer log.Close()
	sources := readAptConfig(ctx, j.recipe.Suite)
	args, err := j.mmdebstrapArgs(sources)
	if err != nil {
		return err
	}
	j.progress.say("fetching Debian %s (details in %s)", j.recipe.Suite, j.log)
	watch := &watcher{log: log, progress: j.progress}
	cmd := isolated(ctx, "mmdebstrap", args...)
	// Not in /tmp, which may be a small tmpfs. A working directory is also removed after a crash.
	cmd.Env = append(j.env, "TMPDIR="+j.work)
	cmd.Stderr = watch
	if err := j.unpackOutput(ctx, cmd); err != nil {
		return watch.explain(ctx, err, sources)
	}
	j.progress.say("checking the image")
	if err := j.check(ctx, watch); err != nil {
		return fmt.Errorf("the check of the new image failed (details in %s): %w", j.log, err)
	}
	return nil
}

// unpackOutput runs the command and unpacks the archive from its output.
func (j job) unpackOutput(ctx context.Context, cmd *exec.Cmd) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	u, err := newUnpacker(j.rootfs, j.limits)
	if err != nil {
		return err
	}
	defer u.Close()
	// Pdeathsig: the kernel kills the child when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	buffered := bufio.NewReaderSize(out, 1<<20)
	unpackErr := u.layer(ctx, buffered)
	if unpackErr != nil {
		cmd.Cancel()
	} else {
		_, unpackErr = io.Copy(io.Discard, buffered)
	}
	if err := errors.Join(unpackErr, cmd.Wait()); err != nil {
		return err
	}
	// Remove the traces of the host's apt: apt is not in the image, and the mirror must not be visible in it.
	for _, dir := range []string{"etc/apt", "var/lib/apt", "var/cache/apt"} {
		if err := u.root.RemoveAll(dir); err != nil {
			return err
		}
	}
	return u.mountPoints()
}

// isolated returns a command in new mount and process namespaces: when it is killed, or when this process dies, all its
// children and mounts end at once. For a user other than root it also has a user namespace with that user's subordinate ids,
// in which it is root.
func isolated(ctx context.Context, name string, args ...string) *exec.Cmd {
	wrap := []string{"--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"}
	if os.Geteuid() != 0 {
		wrap = append(wrap, "--user", "--map-root-user", "--map-auto")
	}
	// A strict umask of the caller would create files that apt's user cannot read.
	wrap = append(wrap, "--", "sh", "-c", `umask 022; exec "$@"`, "sh", name)
	wrap = append(wrap, args...)
	// mmdebstrap numbers its own streams after the inherited ones, and sh supports numbers up to nine. An error here is
	// ignored: only starts with many inherited files would fail.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	cmd := exec.CommandContext(ctx, "unshare", wrap...)
	cmd.WaitDelay = killWait
	// A separate group: the terminal's interrupt goes to this process, which then ends the command.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func checkTools() error {
	needed := []struct{ tool, pkg string }{{"mmdebstrap", "mmdebstrap"}, {"unshare", "util-linux"}}
	if os.Geteuid() != 0 {
		needed = append(needed, struct{ tool, pkg string }{"newuidmap", "uidmap"})
	}
	for _, n := range needed {
		if _, err := exec.LookPath(n.tool); err != nil {
			return fmt.Errorf("%s is not installed; run: apt-get install %s", n.tool, n.pkg)
		}
	}
	return nil
}

// mmdebstrapArgs returns the arguments of mmdebstrap, and prepares the directory that build.sh sees as /run/build.
func (j job) mmdebstrapArgs(sources aptConfig) ([]string, error) {
	build := filepath.Join(j.work, "build")
	if err := os.CopyFS(filepath.Join(build, "recipe"), j.recipe.files); err != nil {
		return nil, err
	}
	if err := writePipSettings(build, j.env); err != nil {
		return nil, err
	}
	list := filepath.Join(j.work, "sources.list")
	if err := os.WriteFile(list, []byte(strings.Join(sources.lines, "\n")+"\n"), 0o644); err != nil {
		return nil, err
	}
	args := []string{
		"--mode=root", "--format=tar", "--variant=essential",
		"--include=" + strings.Join(j.recipe.packages, ","),
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright", // licences must stay in the image
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/info/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--dpkgopt=path-exclude=/usr/share/lintian/*",
		// Debian's packages of Java fail without this folder.
		`--setup-hook=mkdir -p "$1/usr/share/man/man1"`,
		`--customize-hook=rm -rf "$1/usr/share/man/man1"`,
		`--customize-hook=mkdir -p "$1/run/build" && cp -r ` + shellQuote(build) + `/. "$1/run/build/"`,
		`--customize-hook=env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 chroot "$1" sh /run/build/recipe/build.sh >&2`,
		// Without its configuration file, which is in the new /tmp, apt would clean the host instead.
		`--customize-hook=test -e "$MMDEBSTRAP_APT_CONFIG" || { echo "E: build.sh must leave /tmp alone" >&2; exit 1; }`,
		`--customize-hook=rm -rf "$1/run/build"`,
	}
	for _, option := range sources.options {
		args = append(args, "--aptopt="+option)
	}
	args = append(args, j.recipe.Suite, "-")
	if len(sources.lines) > 0 {
		args = append(args, list)
	}
	return args, nil
}

// checkScript mounts the file systems that programs expect, in its own mount namespace, and changes to the user.
const checkScript = `set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/tmp"
chmod 1777 "$1/tmp"
PATH=$PATH:/usr/sbin:/sbin # a plain user's lacks them
exec unshare --net sh -c '
	chroot "$1" /usr/bin/python3 -c "$2"
	exec chroot --userspec=1000:1000 "$1" env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/tmp LC_ALL=C.UTF-8 python3 -
' sh "$1" "$2"
`

// loopback enables the loopback interface of a new network namespace, for the servers of the check. The host may not have a
// tool for that.
const loopback = `import fcntl, socket, struct
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
with socket.socket() as s:
    fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
`

// check runs the recipe's check inside the image.
func (j job) check(ctx context.Context, watch *watcher) error {
	script, err := j.recipe.files.Open("check.py")
	if err != nil {
		return err
	}
	defer script.Close()
	runtime.LockOSThread() // see unpackOutput
	defer runtime.UnlockOSThread()
	cmd := isolated(ctx, "sh", "-c", checkScript, "sh", j.rootfs, loopback)
	cmd.Env = j.env
	cmd.Stdin = script
	cmd.Stdout, cmd.Stderr = watch, watch
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", watch.last, errors.Join(err, context.Cause(ctx)))
	}
	return nil
}
