package embedded

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded/process"
)

// gvisorDir is the name of gVisor's own directory in the directory of a sandbox.
const gvisorDir = "gv"

// lost returns the running sandboxes without a directory, apart from known. Their directory was deleted, and their
// processes still name it. A sandbox that has an owner is not lost: the owner can destroy it.
func (d *Driver) lost(known []sandbox.ID) []sandbox.ID {
	var lost []sandbox.ID
	for root, procs := range d.users().Roots() {
		id, ours := d.idOf(root)
		if ours && !slices.Contains(known, id) && d.onOurDisk(procs) && !hasOwner(d.paths(id).lock) {
			lost = append(lost, id)
		}
	}
	return lost
}

// idOf returns the id of the sandbox with a gVisor directory. It returns false if the sandbox is not of this driver.
func (d *Driver) idOf(root string) (sandbox.ID, bool) {
	dir, name := filepath.Split(root)
	parent, id := filepath.Split(filepath.Clean(dir))
	return sandbox.ID(id), name == gvisorDir && filepath.Clean(parent) == d.dir && checkID(sandbox.ID(id)) == nil
}

// onOurDisk reports whether one of the processes has a deleted FIFO open on the disk of this driver's directory, as every
// sentry without a directory has. If the FIFO is not deleted, the directory was moved, or belongs to a server in another
// container: its path is the same there.
func (d *Driver) onOurDisk(procs []process.Process) bool {
	ours, err := os.Stat(d.dir)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(procs, func(p process.Process) bool {
		return process.HasOpen(p.PID, func(file string) bool {
			info, err := os.Stat(file)
			return err == nil && info.Mode()&os.ModeNamedPipe != 0 && stat(info).Nlink == 0 && stat(info).Dev == stat(ours).Dev
		})
	})
}

func stat(info os.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }

// hasOwner reports whether a process has the lock of a sandbox open, although the lock was deleted.
func hasOwner(lock string) bool {
	const deleted = " (deleted)"                                                         // the kernel appends it to the path of a deleted file
	if dir, err := filepath.EvalSymlinks(filepath.Dir(filepath.Dir(lock))); err == nil { // the kernel shows this path
		lock = filepath.Join(dir, filepath.Base(filepath.Dir(lock)), filepath.Base(lock))
	}
	return slices.ContainsFunc(process.All(), func(pid int) bool {
		return process.HasOpen(pid, func(file string) bool {
			to, err := os.Readlink(file)
			return err == nil && strings.TrimSuffix(to, deleted) == lock
		})
	})
}
