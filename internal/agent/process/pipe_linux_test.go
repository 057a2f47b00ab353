package process

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestAPipeIsClosedWhenTheUidCannotBeRestored(t *testing.T) {
	made := map[string]string{} // descriptors that were opened between the two changes of the uid
	open := func() map[string]string {
		all := map[string]string{}
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			if leads, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
				all[e.Name()] = leads
			}
		}
		return all
	}
	no := errors.New("no")
	var before map[string]string
	setEffective := func(uid int) error {
		if uid != 0 {
			before = open()
			return nil
		}
		for fd, leads := range open() {
			if before[fd] != leads && strings.HasPrefix(leads, "pipe:") {
				made[fd] = leads
			}
		}
		return no
	}
	done := make(chan error)
	go func() { // pipeAs leaves its thread locked, so that the thread ends with this goroutine
		r, w, err := pipeAs(1000, setEffective)
		if r != nil || w != nil {
			err = errors.New("pipeAs returned files and an error")
		}
		done <- err
	}()
	if err := <-done; !errors.Is(err, no) || len(made) != 2 {
		t.Errorf("%v, %v", err, made)
	}
	after := open()
	for fd, leads := range made {
		if after[fd] == leads {
			t.Errorf("descriptor %s is still open", fd)
		}
	}
}
