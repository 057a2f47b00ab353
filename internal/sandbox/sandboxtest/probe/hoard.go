//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// hoarded are the descriptors that hoard opened.
var hoarded []int

// hoard makes "kind n" objects that occupy the memory of the sandbox's kernel, and keeps them.
func hoard(arg string) (string, error) {
	var kind string
	var n int
	if _, err := fmt.Sscan(arg, &kind, &n); err != nil {
		return "", err
	}
	one, ok := map[string]func(i int) error{
		"pipes": fullPipe, "pairs": fullPair, "connections": fullConnection, "files": smallFile, "maps": smallMap,
	}[kind]
	if !ok {
		return "", fmt.Errorf("unknown kind %q", kind)
	}
	for i := range n {
		if err := one(i); err != nil {
			return strconv.Itoa(i), err
		}
	}
	return strconv.Itoa(n), nil
}

// pour writes to a non-blocking descriptor until it is full. gVisor saves zeros in less memory.
func pour(fd int) error {
	block := bytes.Repeat([]byte{0xff}, 64<<10)
	for {
		_, err := syscall.Write(fd, block)
		if errors.Is(err, syscall.EAGAIN) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func fullPipe(int) error {
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_NONBLOCK); err != nil {
		return err
	}
	hoarded = append(hoarded, p[:]...)
	return pour(p[1])
}

func fullPair(int) error {
	p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	hoarded = append(hoarded, p[:]...)
	return errors.Join(pour(p[0]), pour(p[1]))
}

// fullConnection makes a TCP connection over the loopback device whose ends do not read.
func fullConnection(int) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		return err
	}
	defer s.Close()
	for _, end := range []net.Conn{c, s} {
		f, err := end.(*net.TCPConn).File()
		if err != nil {
			return err
		}
		fd, err := syscall.Dup(int(f.Fd()))
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		hoarded = append(hoarded, fd)
		if err := errors.Join(syscall.SetNonblock(fd, true), pour(fd)); err != nil {
			return err
		}
	}
	return nil
}

// release closes what hoard opened.
func release(string) (string, error) {
	var errs []error
	for _, fd := range hoarded {
		errs = append(errs, syscall.Close(fd))
	}
	hoarded = nil
	return "", errors.Join(errs...)
}

func smallFile(i int) error {
	dir := fmt.Sprintf("/tmp/hoard-%d", i/1000)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o644)
}

// smallMap maps a page, with other rights than its neighbour, so that the two stay apart.
func smallMap(i int) error {
	rights := syscall.PROT_READ
	if i%2 == 1 {
		rights |= syscall.PROT_WRITE
	}
	_, err := syscall.Mmap(-1, 0, 4096, rights, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	return err
}
