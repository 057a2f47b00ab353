package embedded

import (
	"fmt"
	"syscall"
)

// minOpenFiles is the number of descriptors that a sandbox of the stock image needs. gVisor opens the files of the image
// on the host, and passes its own limit to the programs inside. With 1,024 the Python kernel does not start.
const minOpenFiles = openFiles

// openFilesLimit returns the number of descriptors that this process and its sandboxes can open. Go raises the soft limit
// to the hard limit when a program starts.
func openFilesLimit() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return limit.Cur
}

// checkOpenFiles checks that sandboxes can open enough files.
func checkOpenFiles(limit uint64) Finding {
	f := Finding{Name: "open files", OK: limit >= minOpenFiles, Detail: fmt.Sprintf("a process can open %d files", limit)}
	if !f.OK {
		f.Detail += fmt.Sprintf("; a sandbox needs %d", minOpenFiles)
		f.Fix = "raise the limit of the server: ulimit -Hn 65536, or LimitNOFILE=65536 in its unit, or --ulimit nofile=65536 for a container"
	}
	return f
}

// requireOpenFiles refuses a limit with which sandboxes start and their kernels do not.
func requireOpenFiles(limit uint64) error {
	if f := checkOpenFiles(limit); !f.OK {
		return fmt.Errorf("%s; %s", f.Detail, f.Fix)
	}
	return nil
}
