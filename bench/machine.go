package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"cellhold/bench/report"
)

// eachSession is a generous estimate of the memory of a session with pandas.
const eachSession = 200 << 20

// roomFor returns an error if the memory is too small for so many sessions.
func roomFor(sessions int) error {
	if free, wanted := available(), int64(sessions)*eachSession; free < wanted {
		return fmt.Errorf("%d sessions can need %d MB, but only %d MB of memory are free", sessions, wanted>>20, free>>20)
	}
	return nil
}

// available returns MemAvailable in bytes.
func available() int64 { return field("/proc/meminfo", "MemAvailable:") << 10 }

// field returns the first number of a line of a file in /proc, or 0.
func field(path, name string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), name); found {
			n, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
			return n
		}
	}
	return 0
}

// machine describes this machine in general terms.
func machine() report.Machine {
	m := report.Machine{Cores: runtime.NumCPU(), Root: os.Geteuid() == 0, Cgroup: "v1"}
	m.Memory = float64(field("/proc/meminfo", "MemTotal:")) / (1 << 20)
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		m.Cgroup = "v2"
	}
	var u syscall.Utsname
	if syscall.Uname(&u) == nil {
		var release []byte
		for _, c := range u.Release {
			if c != '.' && (c < '0' || c > '9') {
				break // the rest can name the vendor
			}
			release = append(release, byte(c))
		}
		m.Kernel = string(release)
	}
	return m
}
