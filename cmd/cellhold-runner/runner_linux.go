// Command cellhold-runner runs gVisor for the server: it becomes the processes of a sandbox. cellhold starts it; nobody
// calls it by hand. It is a program of its own, so that these processes do not initialise the packages of a server.
package main

import (
	"fmt"
	"os"

	"cellhold/internal/sandbox/embedded/runsc"
)

func main() {
	runsc.Main()
	fmt.Fprintln(os.Stderr, "cellhold starts this program; there is no use of it by hand")
	os.Exit(2)
}
