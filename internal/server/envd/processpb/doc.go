// Package processpb has the messages of process.proto.
//
// protoc and protoc-gen-go generate process.pb.go. A comment at the top of that file has their versions.
package processpb

//go:generate protoc -I. --go_out=. --go_opt=paths=source_relative process.proto
