// Package docker carries the seccomp profile for containers inside the binary.
package docker

import _ "embed"

// Seccomp is the profile, in the form that Docker and Podman read.
//
//go:embed seccomp.json
var Seccomp []byte
