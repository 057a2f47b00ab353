// Package syscalls removes from sandboxes the system calls for namespaces, mounts and other processes.
//
// An unprivileged process gets capabilities when it creates a user namespace: as root of the namespace it can mount, pivot
// and more. These parts of gVisor's kernel are otherwise unused, and so less tested. The package changes gVisor's table
// of system calls. A filter in the guest would slow down all other calls, and a process could start without it.
//
// The package never ends a process. A removed call returns an error, as in most containers, and packages handle that.
package syscalls

import (
	"fmt"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/sentry/arch"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	table "gvisor.dev/gvisor/pkg/sentry/syscalls/linux"
)

// denied are the calls that fail with EPERM. Calls that gVisor does not have, or refuses itself, are not listed.
var denied = []string{
	// Namespaces and mounts.
	"setns", "mount", "umount2", "pivot_root", "chroot",
	"open_tree", "move_mount", "fsopen", "fsconfig", "fsmount",
	// Access to other processes: a Jupyter kernel does not need it.
	"ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd",
	// Only partly implemented by gVisor, and not needed by any package.
	"bpf", "io_uring_setup", "io_uring_enter", "keyctl",
}

// newNamespaces are the flags of clone and unshare that create a namespace.
const newNamespaces = linux.CLONE_NEWNS | linux.CLONE_NEWCGROUP | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC |
	linux.CLONE_NEWUSER | linux.CLONE_NEWPID | linux.CLONE_NEWNET

// Narrow restricts the system calls of sandboxes in this process. The caller must call it once, before the first sandbox
// starts. An error means that this version of gVisor has other system calls than this package expects.
func Narrow() error {
	for _, t := range []*kernel.SyscallTable{table.AMD64, table.ARM64} {
		if err := narrow(t); err != nil {
			return fmt.Errorf("table of %v: %w", t.Arch, err)
		}
		t.Init() // rebuilds the copy of the table that is used for lookups
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
	// clone3 has its flags in memory, which another thread can change after a check. C libraries treat ENOSYS as a sign
	// of an old kernel, and use clone.
	return replace(t, "clone3", refuse(linuxerr.ENOSYS))
}

// replace replaces the function of a call.
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

// withoutNamespaces allows a call only without flags for namespaces. In both calls the flags are the first argument.
func withoutNamespaces(own kernel.SyscallFn) kernel.SyscallFn {
	return func(t *kernel.Task, number uintptr, args arch.SyscallArguments) (uintptr, *kernel.SyscallControl, error) {
		if args[0].Uint()&newNamespaces != 0 {
			return 0, nil, linuxerr.EPERM
		}
		return own(t, number, args)
	}
}
