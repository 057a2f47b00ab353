// Package rawio reads and writes pipes and sockets that never block, without a report of each call to Go's
// scheduler.
//
// The scheduler must know of calls that can block, so that it can run other goroutines. For calls that
// cannot block, the report costs more than the call. The first report after a rest wakes the runtime's
// monitor thread. The monitor then wakes every 20 microseconds while anything runs, and in gVisor each wake
// enters its kernel. The agent makes a dozen of such calls in every cell.
//
// The monitor is also needed: it lets goroutines share a processor, and it polls other descriptors while
// one keeps the processor busy. So in a long row of calls without a rest of any stream, some calls are
// reported.
//
// Every descriptor given to this package must be non-blocking (O_NONBLOCK). A blocking descriptor stops the
// whole program.
package rawio
