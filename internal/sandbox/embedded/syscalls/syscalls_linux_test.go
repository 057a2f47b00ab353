package syscalls

import (
	"testing"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	table "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"
)

// call makes a call with one argument and without a task: the call must be refused before it needs one.
func call(t *testing.T, tab *kernel.SyscallTable, name string, arg uintptr) error {
	t.Helper()
	number, err := tab.LookupNo(name)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = tab.Lookup(number)(nil, number, arch.SyscallArguments{{Value: arg}})
	return err
}

func TestEverySandboxIsWithoutCallsThatLeadToNamespaces(t *testing.T) {
	var reached int
	own := func(*kernel.Task, uintptr, arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		reached++
		return 0, nil, nil
	}
	tables := []*kernel.SyscallTable{table.AMD64, table.ARM64}
	for _, tab := range tables {
		for _, name := range []string{"clone", "unshare"} { // the real calls need a task
			if err := replace(tab, name, func(kernel.SyscallFn) kernel.SyscallFn { return own }); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := Narrow(); err != nil {
		t.Fatal(err)
	}
	for _, tab := range tables {
		for _, name := range denied {
			if err := call(t, tab, name, 0); !linuxerr.Equals(linuxerr.EPERM, err) {
				t.Errorf("%v %s: %v", tab.Arch, name, err)
			}
		}
		if err := call(t, tab, "clone3", 0); !linuxerr.Equals(linuxerr.ENOSYS, err) {
			t.Errorf("%v clone3: %v", tab.Arch, err)
		}
		for _, name := range []string{"clone", "unshare"} {
			for _, flag := range []uintptr{linux.CLONE_NEWUSER, linux.CLONE_NEWNS, linux.CLONE_NEWNET | linux.CLONE_FILES, linux.CLONE_NEWCGROUP} {
				if err := call(t, tab, name, flag); !linuxerr.Equals(linuxerr.EPERM, err) {
					t.Errorf("%v %s(%#x): %v", tab.Arch, name, flag, err)
				}
			}
			reached = 0
			if err := call(t, tab, name, linux.CLONE_FILES|linux.CLONE_FS|17); err != nil || reached != 1 {
				t.Errorf("%v %s of files: %v, reached %d times", tab.Arch, name, err, reached)
			}
		}
	}
}

func TestACallThatGvisorDoesNotHaveIsAnError(t *testing.T) {
	if err := narrow(&kernel.SyscallTable{Table: map[uintptr]kernel.Syscall{}}); err == nil {
		t.Error("an empty table was narrowed")
	}
}
