//go:build !cgo

package main

// withCgo says that this binary was built with cgo, in which gVisor's processes die at their start
// without saying why.
const withCgo = false
