package process

import (
	"fmt"
	"os"
	"syscall"
)

// StartMany starts processes, and then returns an error if the main thread does not see the descriptors of its process.
func StartMany(n int) error {
	for range n {
		pid, err := forkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
		if err != nil {
			return err
		}
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			return err
		}
	}
	f, err := os.Open("/")
	if err != nil {
		return err
	}
	defer f.Close()
	at, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil || at != "/" {
		return fmt.Errorf("the main thread shows %q, %v for an open directory, want /", at, err)
	}
	return nil
}
