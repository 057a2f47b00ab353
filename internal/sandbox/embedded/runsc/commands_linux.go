package runsc

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/subcommands"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/state/statefile"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/container"
	gvisor "gvisor.dev/gvisor/runsc/sandbox"
	"gvisor.dev/gvisor/runsc/specutils"

	"cellhold/internal/sandbox/embedded/runner"
)

// The commands of this file replace gVisor's own commands of the same names. The driver starts a process for each of
// them: a sandbox under an attacker's control may never answer, and a process can be killed then.

// command holds the common part of the commands.
type command struct{}

func (*command) Synopsis() string { return "used by the driver only" }
func (*command) Usage() string    { return "" }

// checkpoint writes the state of a sandbox into a directory. The sandbox continues.
type checkpoint struct {
	onSandbox
	image, in string
	paused    bool
	memory    string
	limit     int64
}

func newCheckpoint() *checkpoint {
	c := &checkpoint{onSandbox: onSandbox{name: "checkpoint"}}
	c.do = c.run
	return c
}

func (c *checkpoint) SetFlags(f *flag.FlagSet) {
	f.StringVar(&c.image, "image", "", "directory for the image")
	f.StringVar(&c.in, "in", "", "the FIFO that the agent reads from")
	f.BoolVar(&c.paused, "paused", false, "the sandbox is paused and stays paused")
	f.StringVar(&c.memory, "memory", "", "directory of the sandbox's memory controller; empty: the limit is not enforced")
	f.Int64Var(&c.limit, "limit", 0, "memory limit in bytes; 0: none")
}

// run pauses the sandbox before it copies the pipe to the agent. gVisor would also pause the sandbox, but only while it
// writes its own files. The content of the pipe is a part of the state, and the agent must not read it during the copy.
func (c *checkpoint) run(conf *config.Config, s *container.Container) (err error) {
	if !c.paused {
		if err := pauseSandbox(conf, s); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, resumeSandbox(conf, s)) }()
	}
	if c.limit > 0 { // while the sandbox is paused, so that its programs cannot take memory after the check
		if err := checkRoom(s, c.memory, c.limit); err != nil {
			return err
		}
	}
	if err := copyPipe(c.in, filepath.Join(c.image, runner.PipeFile)); err != nil {
		return fmt.Errorf("copy the agent's input: %w", err)
	}
	// No compression: a restore would take four times as long.
	return s.Checkpoint(conf, c.image, gvisor.CheckpointOpts{Compression: statefile.CompressionLevelNone, Resume: true})
}

func loadInner(conf *config.Config) (*container.Container, error) {
	return container.Load(conf.RootDir, container.FullID{SandboxID: runner.InnerID, ContainerID: runner.InnerID}, container.LoadOpts{Exact: true})
}

// run creates a sandbox. It differs from gVisor's command: it reports the host processes of the sandbox in a file. It
// does not remove a failed sandbox: the driver reads the sandbox's cgroups first, and then removes the sandbox.
type run struct {
	command
	bundle, pids string
}

func (*run) Name() string { return "run" }

func (r *run) SetFlags(f *flag.FlagSet) {
	f.StringVar(&r.bundle, "bundle", "", "directory of the configuration")
	f.StringVar(&r.pids, "pids", "", "file for the host processes of the sandbox")
}

// FetchSpec returns the sandbox's id and configuration to gVisor.
func (r *run) FetchSpec(conf *config.Config, _ *flag.FlagSet) (string, *specs.Spec, error) {
	spec, err := specutils.ReadSpec(r.bundle, conf)
	return runner.InnerID, spec, err
}

func (r *run) Execute(_ context.Context, _ *flag.FlagSet, args ...any) subcommands.ExitStatus {
	conf := args[0].(*config.Config)
	s, err := r.create(conf)
	if err == nil {
		err = s.Start(conf)
	}
	return r.end(s, err)
}

// create makes the processes of the sandbox, which then wait for their first program.
func (r *run) create(conf *config.Config) (*container.Container, error) {
	id, spec, err := r.FetchSpec(conf, nil)
	if err != nil {
		return nil, err
	}
	return container.New(conf, container.Args{ID: id, Spec: spec, BundleDir: r.bundle})
}

// end reports the processes of the sandbox s, or the error.
func (r *run) end(s *container.Container, err error) subcommands.ExitStatus {
	if err == nil {
		err = runner.PIDs{Sentry: s.Sandbox.Pid.Load(), Gofer: s.GoferPid.Load()}.Save(r.pids)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return subcommands.ExitFailure
	}
	return subcommands.ExitSuccess
}

// restore creates a sandbox that continues from a checkpoint.
type restore struct {
	run
	image string
}

func (*restore) Name() string { return "restore" }

func (r *restore) SetFlags(f *flag.FlagSet) {
	r.run.SetFlags(f)
	f.StringVar(&r.image, "image", "", "directory of the image")
}

func (r *restore) Execute(_ context.Context, _ *flag.FlagSet, args ...any) subcommands.ExitStatus {
	conf := args[0].(*config.Config)
	s, err := r.create(conf)
	if err == nil {
		if err := s.Restore(conf, r.image, false, false, nil); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(runner.BadImage) // an ExitStatus of subcommands cannot carry this value
		}
	}
	return r.end(s, err)
}

// copyPipe copies the unread content of a FIFO into a file. The content stays in the FIFO.
func copyPipe(fifo, to string) error {
	from, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	content, err := peek(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o600)
}

// peek returns the unread content of a pipe. Nothing else may read the pipe at the same time.
func peek(pipe int) ([]byte, error) {
	unread, err := unix.IoctlGetInt(pipe, unix.TIOCINQ)
	if err != nil || unread == 0 {
		return nil, err
	}
	size, err := unix.FcntlInt(uintptr(pipe), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return nil, err
	}
	var copied [2]int
	if err := unix.Pipe2(copied[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	defer unix.Close(copied[0])
	defer unix.Close(copied[1])
	if _, err := unix.FcntlInt(uintptr(copied[1]), unix.F_SETPIPE_SZ, size); err != nil {
		return nil, err
	}
	n, err := unix.Tee(pipe, copied[1], size, unix.SPLICE_F_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if n < int64(unread) {
		return nil, fmt.Errorf("copied only %d of %d bytes", n, unread)
	}
	content := make([]byte, n)
	got, err := unix.Read(copied[0], content)
	if err == nil && got < len(content) {
		err = fmt.Errorf("read only %d of %d bytes", got, n)
	}
	return content, err
}
