package embedded

import (
	"cellhold/internal/sandbox/embedded/runsc"
)

// Main runs a sandbox process and does not return, if this process was started for that. Otherwise it returns at once. It
// must be the first call in main and TestMain: a sandbox process must not do anything that a server does at its start.
func Main() { runsc.Main() }
