// Package runner is the contract between the driver and the runner, which is the program that runs gVisor.
//
// The driver starts the runner with one of the commands run, restore, checkpoint, pause and resume. It also starts
// runners of former builds, for their sandboxes and snapshots. The package does not link gVisor. In this package and in
// the flags of the runner, an image is the folder with the files of one snapshot.
package runner

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Version is the version of gVisor in go.mod; a test compares them. It is not read from the build information,
// because test binaries have none.
const Version = "v0.0.0-20260905035102-160fafc42237"

// Contract is the version of everything in this package, and of the commands with their flags. A driver starts no
// runner with another contract.
const Contract = "1"

// InnerID is the name of every sandbox in its own gVisor directory. gVisor finds containers by prefixes of names; with
// one name for each directory there is no ambiguity.
const InnerID = "s"

// CommandPrefix begins the name of a command that a server starts. The server's process id follows it.
const CommandPrefix = "runsc-of-"

// NoSidecars is the environment of every runner. Without it, gVisor starts a sandbox with the programs of a folder
// gvisor-bin next to its own file, if there is one. The server does not compare the bytes of these programs.
const NoSidecars = "GVISOR_SIDECAR_BINARIES_DIR=/dev/null"

// CoresAnnotation is the annotation with the number of processors that programs in a sandbox see.
const CoresAnnotation = "cellhold.cores"

// BadImage is the exit status of a restore in which gVisor could not continue from the image.
const BadImage = 3

// NoRoom is the exit status of a checkpoint that could need more memory than the sandbox can get. The standard error then
// has a NeedError.
const NoRoom = 4

// NeedError says that a save could need more memory than the sandbox can get.
type NeedError struct{ Need, Free int64 } // in bytes

const needFormat = "a save can need %d bytes of memory, and %d are free"

func (n *NeedError) Error() string { return fmt.Sprintf(needFormat, n.Need, n.Free) }

// FindNeed returns the NeedError in a text. Numbers that are missing are 0.
func FindNeed(text string) (n NeedError) {
	begin, _, _ := strings.Cut(needFormat, "%")
	if at := strings.Index(text, begin); at >= 0 {
		_, _ = fmt.Sscanf(text[at:], needFormat, &n.Need, &n.Free)
	}
	return n
}

// PipeFile is the file in an image with the input that the agent had not read yet.
const PipeFile = "in"

// PIDs are the host processes of a sandbox.
type PIDs struct{ Sentry, Gofer int }

// Save writes the process ids of a started sandbox for the driver.
func (p PIDs) Save(file string) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

// LoadPIDs reads the process ids that the runner wrote.
func LoadPIDs(file string) (p PIDs, err error) {
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		return PIDs{}, fmt.Errorf("read the processes of the sandbox: %w", err)
	}
	return p, nil
}

// Refill writes the unread input of an image's agent into a new FIFO.
func Refill(fifo, image string) error {
	content, err := os.ReadFile(filepath.Join(image, PipeFile))
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
		err = fmt.Errorf("only %d of %d bytes fit into the pipe", n, len(content))
	}
	if err != nil {
		return fmt.Errorf("restore the input of the agent: %w", err)
	}
	return nil
}
