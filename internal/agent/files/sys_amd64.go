package files

// sysRenameat2 is a system call that package syscall has no name for.
const sysRenameat2 = 316
