// Package syscalls takes from everything in a sandbox the system calls that lead to namespaces,
// mounts and other processes.
//
// An unprivileged process gets capabilities by making a namespace of users: it is root in it, and may
// mount, pivot and more, in parts of gVisor's kernel that nothing else exercises. The calls are taken
// away in gVisor's table of them and not by a filter in the guest, so that no process in there can be
// without, and so that all other calls cost what they cost before.
//
// It refuses to end a process. A call that is gone is an error to its caller, as in most containers,
// and packages go on without it.
package syscalls

import (
	"fmt"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	table "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"
)

// denied are the calls that fail with EPERM. What gVisor does not have, or refuses by itself, is not
// among them.
var denied = []string{
	// Namespaces and mounts.
	"setns", "mount", "umount2", "pivot_root", "chroot",
	"open_tree", "move_mount", "fsopen", "fsconfig", "fsmount",
	// Hands on other processes: a kernel has nothing to do in another.
	"ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd",
	// Done in part by gVisor, and needed by no package.
	"bpf", "io_uring_setup", "io_uring_enter", "keyctl",
}

// newNamespaces are the flags of clone and unshare that make a namespace.
const newNamespaces = linux.CLONE_NEWNS | linux.CLONE_NEWCGROUP | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC |
	linux.CLONE_NEWUSER | linux.CLONE_NEWPID | linux.CLONE_NEWNET

// Narrow narrows what sandboxes of this process can call. It is called once, before there is one. An
// error means that this version of gVisor has other calls than those that were thought of here.
func Narrow() error {
	for _, t := range []*kernel.SyscallTable{table.AMD64, table.ARM64} {
		if err := narrow(t); err != nil {
			return fmt.Errorf("table of %v: %w", t.Arch, err)
		}
		t.Init() // it looks calls up in a copy of the table
	}
	return nil
}

func narrow(t *kernel.SyscallTable) error {
	for _, name := range denied {
		if err := replace(t, name, refuse(linuxerr.EPERM)); err != nil {
			return err
		}
	}
	for _, name := range []string{"clone", "unshare"} {
		if err := replace(t, name, withoutNamespaces); err != nil {
			return err
		}
	}
	// Its flags are in memory that another thread can change after a look. C libraries take ENOSYS for
	// an old system and use clone.
	return replace(t, "clone3", refuse(linuxerr.ENOSYS))
}

// replace puts another function in the place of a call's own.
func replace(t *kernel.SyscallTable, name string, by func(own kernel.SyscallFn) kernel.SyscallFn) error {
	number, err := t.LookupNo(name)
	if err != nil {
		return err
	}
	call := t.Table[number]
	call.Fn = by(call.Fn)
	t.Table[number] = call
	return nil
}

func refuse(err error) func(kernel.SyscallFn) kernel.SyscallFn {
	return func(kernel.SyscallFn) kernel.SyscallFn {
		return func(*kernel.Task, uintptr, arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
			return 0, nil, err
		}
	}
}

// withoutNamespaces lets threads and processes start, and nothing else. In both calls the flags are
// the first argument.
func withoutNamespaces(own kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, number uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		if args[0].Uint()&newNamespaces != 0 {
			return 0, nil, linuxerr.EPERM
		}
		return own(t, number, args)
	}
}
