// Package rawio reads and writes pipes and sockets that never wait in the operating system, without
// telling Go's scheduler of each call.
//
// The scheduler must know of calls that may wait, to run something else meanwhile. For those that do
// not, telling it costs more than the call: the first one after a rest wakes the runtime's monitor, a
// thread that then wakes every 20 microseconds for as long as anything runs, and in gVisor each time is
// a way to its kernel and back. The agent has a dozen of such calls in every cell.
//
// The monitor is also what lets goroutines share a processor, and what looks at other descriptors while
// one keeps everything busy. So where many calls follow each other without a rest, it is told again.
//
// What it is given must not block (O_NONBLOCK), or the program stands still.
package rawio
