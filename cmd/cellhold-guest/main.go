// Command cellhold-guest runs inside every sandbox. It is PID 1 and the agent of the server, to which it
// speaks over its stdin and stdout.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"

	"cellhold"
	"cellhold/internal/agent"
	"cellhold/internal/agent/command"
	"cellhold/internal/agent/deputy"
	"cellhold/internal/agent/files"
	"cellhold/internal/agent/install"
	"cellhold/internal/agent/process"
	"cellhold/internal/agent/written"
	"cellhold/internal/guestapi"
	"cellhold/internal/link"
	"cellhold/internal/rawio"
)

// The layout of every image; see the recipes under images.
const (
	runDir   = "/run/cellhold"
	workDir  = guestapi.WorkDir
	homeDir  = "/home/user"
	userName = "user"
	userID   = 1000
	// installerID is the user that installs packages. It differs from the user of the code, because code
	// with the same user could control the installer. No stock image gives this user a name.
	installerID = 1001
	installDir  = "/opt/cellhold/install"                                        // on the same file system as Python's packages
	proxyPort   = 3128                                                           // of the egress proxy, if there is one; a usual port for proxies
	pathInUse   = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" // if the driver sets none
)

// filesMode is the argument that makes the program the deputy that works on files.
const filesMode = "files"

// The agent is small and shares the memory of the sandbox with user code. Below softMemory it collects
// garbage only when its heap has grown to five times its size. A heap of 2 MB is collected at 16 MB, so the
// collector's threads do not wake in every cell.
const (
	gcPercent  = 400
	softMemory = 96 << 20
)

func main() {
	runtime.GOMAXPROCS(1) // in gVisor a second thread costs more than it gains here
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(softMemory)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if len(os.Args) == 2 && os.Args[1] == filesMode {
		if err := deputy.Serve(files.Handler(workDir)); err != nil {
			os.Exit(1)
		}
		return
	}
	if err := run(context.Background(), log); err != nil {
		log.Error("the agent ended", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger) error {
	in, err := moveAway(0, "host-in")
	if err != nil {
		return err
	}
	out, err := moveAway(1, "host-out")
	if err != nil {
		return err
	}
	return serve(ctx, log, link.Listen(in, out))
}

// serve runs the agent until the listener fails: then the server has released the sandbox for good.
func serve(ctx context.Context, log *slog.Logger, ln net.Listener) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	path := os.Getenv("PATH")
	if path == "" {
		path = pathInUse
	}
	launcher, err := process.New(process.Options{
		Run: runDir, Dir: workDir, Home: homeDir, User: userName, Path: path,
		UID: userID, GID: userID, Init: os.Getpid() == 1, Logger: log,
	})
	if err != nil {
		return err
	}
	defer launcher.Close()
	proxy, err := deputy.New(deputy.Options{Logger: log, Start: func(control *os.File) (deputy.Process, error) {
		return launcher.Deputy(control, self, filesMode)
	}})
	if err != nil {
		return err
	}
	defer proxy.Close()
	wrote, err := written.New(log, workDir, guestapi.OutputDir)
	if err != nil {
		return fmt.Errorf("watch the files of cells: %w", err)
	}
	defer wrote.Close()
	var a *agent.Agent
	installer, err := install.New(install.Options{
		Do: func(ctx context.Context, argv, env []string, dir string) (install.Ended, error) {
			e, err := launcher.Do(ctx, process.Job{Argv: argv, Env: env, Dir: dir, UID: installerID, GID: installerID, Keep: guestapi.MaxInstallLog})
			return install.Ended(e), err
		},
		Kernels: func(ctx context.Context) (map[cellhold.KernelID]install.Modules, []string) {
			said := map[cellhold.KernelID]install.Modules{}
			kernels, silent := a.Loaded(ctx)
			for id, m := range kernels {
				said[id] = install.Modules(m)
			}
			return said, silent
		},
		Path: path, Dir: installDir, UID: installerID, GID: installerID, Logger: log,
	})
	if err != nil {
		return err
	}
	stop, err := serveCode(ctx, installer)
	if err != nil {
		return err
	}
	defer stop()
	a, err = agent.New(agent.Options{
		Routes:   []func(*http.ServeMux, func(http.ResponseWriter, error)){installer.Serve},
		Launcher: launcher,
		Commands: command.Options{Spawner: launcher},
		Files:    proxy,
		Written:  wrote,
		UID:      userID,
		GID:      userID,
		Own:      []string{workDir, homeDir, guestapi.OutputDir},
		Port:     proxyPort,
		Trust:    runDir,
		Etc:      "/etc",
		Logger:   log,
	})
	if err != nil {
		return err
	}
	return a.Run(ctx, ln)
}

// serveCode lets code in the sandbox ask for packages. stop ends that and waits.
func serveCode(ctx context.Context, installer *install.Installer) (stop func(), err error) {
	at := filepath.Join(runDir, "packages")
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", at)
	if err != nil {
		return nil, fmt.Errorf("listen for code that asks for packages: %w", err)
	}
	if err := os.Chmod(at, 0o666); err != nil { // every user in the sandbox can ask; the server decides
		ln.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var run sync.WaitGroup
	run.Go(func() { installer.ServeCode(ctx, ln) })
	return func() { cancel(); run.Wait() }, nil
}

// moveAway takes a standard stream for the agent and puts /dev/null in its place. So no print can break the
// link, and no child inherits it.
func moveAway(fd int, name string) (io.ReadWriteCloser, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	moved, err := syscall.Dup(fd)
	if err != nil {
		return nil, fmt.Errorf("take over stream %d: %w", fd, err)
	}
	syscall.CloseOnExec(moved)
	// A blocking read would keep its thread, and another thread must then run the goroutine that gets the
	// data. In gVisor waking that thread costs more than the rest of a request. A round trip over the link
	// took 1.5 ms with blocking streams and 0.9 ms without.
	if err := syscall.SetNonblock(moved, true); err != nil {
		return nil, fmt.Errorf("take over stream %d: %w", fd, err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	if err := syscall.Dup3(int(null.Fd()), fd, 0); err != nil {
		return nil, fmt.Errorf("put /dev/null in place of stream %d: %w", fd, err)
	}
	return rawio.Pipe(os.NewFile(uintptr(moved), name))
}
