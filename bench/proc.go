package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// procField returns a number of a process's status.
func procField(pid int, name string) int64 { return field(fmt.Sprintf("/proc/%d/status", pid), name) }

// forgetPeak has the kernel count a process's most memory anew.
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// inParallel does something with all at once.
func inParallel[T any](all []T, do func(T) error) error {
	failed := make([]error, len(all))
	var wait sync.WaitGroup
	for i, x := range all {
		wait.Go(func() { failed[i] = do(x) })
	}
	wait.Wait()
	return errors.Join(failed...)
}
