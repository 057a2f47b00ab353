package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// procField returns a number from a process's status.
func procField(pid int, name string) int64 { return field(fmt.Sprintf("/proc/%d/status", pid), name) }

// forgetPeak resets the peak memory of a process.
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// inParallel calls do for all elements at once.
func inParallel[T any](all []T, do func(T) error) error {
	failed := make([]error, len(all))
	var wait sync.WaitGroup
	for i, x := range all {
		wait.Go(func() { failed[i] = do(x) })
	}
	wait.Wait()
	return errors.Join(failed...)
}
