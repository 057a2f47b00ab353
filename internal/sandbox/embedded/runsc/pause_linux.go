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
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/container"

	"cellhold/internal/sandbox/embedded/runner"
)

// The mode of gVisor's own file of a sandbox says whether the sandbox is paused. gVisor would write this into the file,
// and would truncate the file first. If the disk is full then, the file stays empty, and no command can load it again. A
// change of the mode usually needs no disk space. It comes before the pause or the resume, so that neither a failed change
// nor a killed command leaves the wrong mode.
const (
	modeWritten = 0o640 // the file says it: gVisor created the file, or an earlier version paused the sandbox
	modePaused  = 0o440
	modeRunning = 0o600
)

// stateFile returns the path of gVisor's own file of the sandbox.
func stateFile(conf *config.Config) string {
	return filepath.Join(conf.RootDir, fmt.Sprintf("%[1]s_sandbox:%[1]s.state", runner.InnerID))
}

// paused reports whether the sandbox is paused.
func paused(conf *config.Config, s *container.Container) (bool, error) {
	info, err := os.Stat(stateFile(conf))
	if err != nil {
		return false, err
	}
	switch info.Mode().Perm() {
	case modePaused:
		return true, nil
	case modeRunning:
		return false, nil
	}
	return s.Status == container.Paused, nil
}

// pauseSandbox pauses a running sandbox. gVisor counts pauses, so a second pause would need a second resume.
func pauseSandbox(conf *config.Config, s *container.Container) error {
	already, err := paused(conf, s)
	if err != nil {
		return err
	}
	if already {
		return errors.New("the sandbox is paused already")
	}
	return withMode(stateFile(conf), modePaused, func() error { return s.Sandbox.Pause(s.ID) })
}

// resumeSandbox resumes a sandbox if it is paused. gVisor panics when it resumes a running sandbox.
func resumeSandbox(conf *config.Config, s *container.Container) error {
	needed, err := paused(conf, s)
	if err != nil || !needed {
		return err
	}
	return withMode(stateFile(conf), modeRunning, func() error { return s.Sandbox.Resume(s.ID) })
}

// withMode gives a file a mode and calls do. If do fails, the file gets its old mode again.
func withMode(file string, mode os.FileMode, do func() error) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if err := os.Chmod(file, mode); err != nil {
		return err
	}
	if err := do(); err != nil {
		return errors.Join(err, os.Chmod(file, info.Mode().Perm()))
	}
	return nil
}

// onSandbox is a command that does one thing with a sandbox.
type onSandbox struct {
	command
	name string
	do   func(*config.Config, *container.Container) error
}

func (c *onSandbox) Name() string         { return c.name }
func (*onSandbox) SetFlags(*flag.FlagSet) {}

// FetchSpec returns the sandbox's id and configuration to gVisor.
func (*onSandbox) FetchSpec(conf *config.Config, _ *flag.FlagSet) (string, *specs.Spec, error) {
	s, err := loadInner(conf)
	if err != nil {
		return "", nil, err
	}
	return s.ID, s.Spec, nil
}

func (c *onSandbox) Execute(_ context.Context, _ *flag.FlagSet, args ...any) subcommands.ExitStatus {
	conf := args[0].(*config.Config)
	s, err := loadInner(conf)
	if err == nil {
		err = c.do(conf, s)
	}
	if err == nil {
		return subcommands.ExitSuccess
	}
	fmt.Fprintln(os.Stderr, err)
	if _, ok := errors.AsType[*runner.NeedError](err); ok {
		os.Exit(runner.NoRoom) // an ExitStatus of subcommands cannot carry this value
	}
	return subcommands.ExitFailure
}
