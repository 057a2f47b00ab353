//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cellhold/internal/sandbox/sandboxtest"
)

// try makes one attempt. An error in the result means that the attempt was refused.
func try(what, arg string) sandboxtest.Attempt {
	text, err := attempts[what](arg)
	a := sandboxtest.Attempt{Text: text}
	if err != nil {
		a.Err = err.Error()
	}
	return a
}

var attempts = map[string]func(arg string) (string, error){
	"dial":       dial,
	"resolve":    resolve,
	"interfaces": interfaces,
	"read":       read,
	"list":       list,
	"write":      write,
	"fill":       fill,
	"eat":        eat,
	"fork":       fork,
	"sleep":      func(string) (string, error) { select {} },
	"kill":       kill,
	"mount":      mount,
	"unshare":    unshare,
	"socket":     socket,
	"status":     func(string) (string, error) { return read("/proc/self/status") },
	"env":        func(string) (string, error) { return strings.Join(os.Environ(), "\n"), nil },
	"ids":        func(string) (string, error) { return fmt.Sprintf("%d %d", os.Getuid(), os.Getgid()), nil },
	"become":     become,
	"bomb":       bomb,
	"give":       func(path string) (string, error) { return "", os.Chown(path, guestUser, guestUser) },
	"spin":       spin,
	"remember":   remember,
	"recall":     func(string) (string, error) { return memory, nil },
	"linger":     linger,
	"hoard":      hoard,
	"release":    release,
}

// memory is the value that remember stored.
var memory string

func remember(text string) (string, error) {
	memory = text
	return "", nil
}

// linger starts a process that keeps running, and returns its pid.
func linger(string) (string, error) {
	c := exec.Command("/proc/self/exe", "try", "sleep")
	if err := c.Start(); err != nil {
		return "", err
	}
	return strconv.Itoa(c.Process.Pid), nil
}

func dial(addr string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return "", err
	}
	return "connected", c.Close()
}

func resolve(name string) (string, error) {
	addrs, err := net.LookupHost(name)
	return strings.Join(addrs, " "), err
}

func interfaces(string) (string, error) {
	ifs, err := net.Interfaces()
	var names []string
	for _, i := range ifs {
		names = append(names, i.Name)
	}
	return strings.Join(names, " "), err
}

func read(path string) (string, error) {
	b, err := os.ReadFile(path)
	if len(b) > 4096 {
		b = b[:4096]
	}
	return string(b), err
}

func list(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " "), err
}

func write(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString("x")
	return "", err
}

// fill writes a file until an error, and returns the number of bytes.
func fill(dir string) (string, error) {
	f, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	block := make([]byte, 1<<20)
	const most = 4 << 30 // a bound, in case there is no limit
	total := 0
	for total < most {
		n, err := f.Write(block)
		total += n
		if err != nil {
			return strconv.Itoa(total), err
		}
	}
	return strconv.Itoa(total), nil
}

// eat touches mb megabytes.
func eat(mb string) (string, error) {
	n, err := strconv.Atoi(mb)
	if err != nil {
		return "", err
	}
	for i := range n {
		b, err := syscall.Mmap(-1, 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			return strconv.Itoa(i), err
		}
		for j := 0; j < len(b); j += 4096 {
			b[j] = 1
		}
	}
	return strconv.Itoa(n), nil
}

// fork starts sleeping processes until an error, and returns their number.
func fork(most string) (string, error) {
	n, err := strconv.Atoi(most)
	if err != nil {
		return "", err
	}
	var started []*exec.Cmd
	defer func() {
		for _, c := range started {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}()
	for range n {
		c := exec.Command("/proc/self/exe", "try", "sleep")
		if err := c.Start(); err != nil {
			return strconv.Itoa(len(started)), err
		}
		started = append(started, c)
	}
	return strconv.Itoa(len(started)), nil
}

// bomb starts copies of itself forever.
func bomb(string) (string, error) {
	for {
		c := exec.Command("/proc/self/exe", "try", "bomb")
		if err := c.Start(); err == nil {
			go func() { _ = c.Wait() }()
		}
	}
}

func kill(pid string) (string, error) {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return "", err
	}
	return "", syscall.Kill(n, syscall.SIGKILL)
}

func mount(dir string) (string, error) {
	return "", syscall.Mount("tmpfs", dir, "tmpfs", 0, "")
}

// unshare mounts in a user namespace of a child process.
func unshare(string) (string, error) {
	c := exec.Command("/proc/self/exe", "try", "mount", "/tmp")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
	}
	out, err := c.Output()
	return string(out), err
}

// socket opens a socket described as "family type protocol".
func socket(arg string) (string, error) {
	var family, kind, protocol int
	if _, err := fmt.Sscan(arg, &family, &kind, &protocol); err != nil {
		return "", err
	}
	fd, err := syscall.Socket(family, kind, protocol)
	if err == nil {
		_ = syscall.Close(fd)
	}
	return "", err
}

// become tries to become root again.
func become(string) (string, error) {
	_, _, errno := syscall.RawSyscall(syscall.SYS_SETUID, 0, 0, 0)
	if errno != 0 {
		return "", errno
	}
	return strconv.Itoa(os.Getuid()), nil
}

// spin computes for a second in two threads, and returns the number of rounds.
func spin(string) (string, error) {
	counts := make(chan int)
	end := time.Now().Add(time.Second)
	for range 2 {
		go func() {
			n := 0
			for time.Now().Before(end) {
				n++
			}
			counts <- n
		}()
	}
	return strconv.Itoa(<-counts + <-counts), nil
}
