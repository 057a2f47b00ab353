package embedded

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
)

// The commands of this file stand in for gVisor's own of the same names. They run in a process of
// their own, as those do, because a sandbox that has been taken over may never answer, and a process
// can be killed for that.

// pipeFile is where an image keeps what the agent had not read yet of its input.
const pipeFile = "in"

// badImage is the exit status of a restore that failed for the image, and not for the host.
const badImage = 3

// command is what both have in common.
type command struct {
	image string
}

func (*command) Synopsis() string { return "used by the driver only" }
func (*command) Usage() string    { return "" }

// checkpoint writes the state of a sandbox into a directory. The sandbox goes on.
type checkpoint struct {
	command
	in     string
	paused bool
}

func (*checkpoint) Name() string { return "checkpoint" }

func (c *checkpoint) SetFlags(f *flag.FlagSet) {
	f.StringVar(&c.image, "image", "", "directory for the image")
	f.StringVar(&c.in, "in", "", "the FIFO that the agent reads from")
	f.BoolVar(&c.paused, "paused", false, "the sandbox is paused, and stays so")
}

// FetchSpec tells gVisor which sandbox it is about.
func (c *checkpoint) FetchSpec(conf *config.Config, _ *flag.FlagSet) (string, *specs.Spec, error) {
	s, err := loadInner(conf)
	if err != nil {
		return "", nil, err
	}
	return s.ID, s.Spec, nil
}

func (c *checkpoint) Execute(_ context.Context, _ *flag.FlagSet, args ...any) subcommands.ExitStatus {
	conf := args[0].(*config.Config)
	if err := c.run(conf); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return subcommands.ExitFailure
	}
	return subcommands.ExitSuccess
}

// run pauses the sandbox around it all, although gVisor would do so by itself: what lies in the pipe
// to the agent is a part of its state, and must be copied while the agent reads nothing.
func (c *checkpoint) run(conf *config.Config) (err error) {
	s, err := loadInner(conf)
	if err != nil {
		return err
	}
	if !c.paused {
		if err := s.Pause(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Resume()) }()
	}
	if err := copyPipe(c.in, filepath.Join(c.image, pipeFile)); err != nil {
		return fmt.Errorf("copy the agent's input: %w", err)
	}
	// Compression would make a restore four times slower.
	return s.Checkpoint(conf, c.image, gvisor.CheckpointOpts{Compression: statefile.CompressionLevelNone, Resume: true})
}

func loadInner(conf *config.Config) (*container.Container, error) {
	return container.Load(conf.RootDir, container.FullID{SandboxID: innerID, ContainerID: innerID}, container.LoadOpts{Exact: true})
}

// restore makes a sandbox that goes on where a checkpoint was made.
type restore struct {
	command
	bundle string
}

func (*restore) Name() string { return "restore" }

func (r *restore) SetFlags(f *flag.FlagSet) {
	f.StringVar(&r.image, "image", "", "directory of the image")
	f.StringVar(&r.bundle, "bundle", "", "directory of the configuration")
}

// FetchSpec tells gVisor which sandbox it is about.
func (r *restore) FetchSpec(conf *config.Config, _ *flag.FlagSet) (string, *specs.Spec, error) {
	spec, err := specutils.ReadSpec(r.bundle, conf)
	return innerID, spec, err
}

func (r *restore) Execute(_ context.Context, _ *flag.FlagSet, args ...any) subcommands.ExitStatus {
	conf := args[0].(*config.Config)
	spec, err := specutils.ReadSpec(r.bundle, conf)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return subcommands.ExitFailure
	}
	s, err := container.New(conf, container.Args{ID: innerID, Spec: spec, BundleDir: r.bundle})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return subcommands.ExitFailure
	}
	if err := s.Restore(conf, r.image, false, false, nil); err != nil {
		// What there is of the sandbox is left to the driver, which has questions to its cgroups.
		fmt.Fprintln(os.Stderr, err)
		os.Exit(badImage) // the program's statuses do not reach further
	}
	return subcommands.ExitSuccess
}

// copyPipe copies what is unread in a FIFO into a file, and leaves it there.
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

// peek returns what is unread in a pipe that nobody reads meanwhile.
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
		return nil, fmt.Errorf("%d of %d bytes could be copied", n, unread)
	}
	content := make([]byte, n)
	got, err := unix.Read(copied[0], content)
	if err == nil && got < len(content) {
		err = fmt.Errorf("%d of %d bytes could be read", got, n)
	}
	return content, err
}

// refill puts into a new FIFO what the agent of the image had not read.
func refill(fifo, image string) error {
	content, err := os.ReadFile(filepath.Join(image, pipeFile))
	if err != nil || len(content) == 0 {
		return err
	}
	to, err := unix.Open(fifo, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(to)
	n, err := unix.Write(to, content)
	if err == nil && n < len(content) {
		err = fmt.Errorf("%d of %d bytes fit into the pipe", n, len(content))
	}
	if err != nil {
		return fmt.Errorf("give the agent its input back: %w", err)
	}
	return nil
}
