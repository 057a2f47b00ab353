//go:build cgo

package setup

const withCgo = true
