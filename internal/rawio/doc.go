// Package rawio reads and writes pipes and sockets that never block, without a report of each call to Go's
// scheduler.
//
// The scheduler must know of calls that can block, so that it can run other goroutines. For calls that
// cannot block, the report costs more than the call. The runtime's monitor thread sleeps while all goroutines
// wait, and the next report wakes it. The monitor then runs every 20 microseconds until all goroutines wait again,
// and in gVisor each of its runs enters gVisor's kernel. The agent makes a dozen of such calls in every cell.
//
// The monitor is also needed: it lets goroutines share a processor, and it polls other descriptors while
// one goroutine keeps the processor busy. So if a stream makes many calls while no stream waits, some of these
// calls are reported.
//
// Every descriptor given to this package must be non-blocking (O_NONBLOCK). A blocking descriptor stops the
// whole program.
package rawio
