// Package engine starts a container engine of its own for tests, and runs the service in it.
//
// The engine is Docker. It has its own folders, socket, network and mounts, so it changes no other engine on this
// machine. The package asks no registry for images.
package engine
