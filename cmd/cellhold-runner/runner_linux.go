// Command cellhold-runner runs gVisor for the server: each process of a sandbox is a run of this program. Only cellhold
// starts it. It is a program of its own, so that these processes do not initialise the packages of a server.
package main

import (
	"fmt"
	"os"

	"cellhold/internal/sandbox/embedded/runsc"
)

func main() {
	runsc.Main()
	fmt.Fprintln(os.Stderr, "only cellhold starts this program; run: cellhold serve")
	os.Exit(2)
}
