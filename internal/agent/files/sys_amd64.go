package files

// sysRenameat2 is a system call for which package syscall has no name.
const sysRenameat2 = 316
