package warm

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
)

// Memory is the host's memory in bytes.
type Memory struct {
	Total     int64
	Available int64 // without making programs wait, as the kernel estimates
}

// hostMemory reads the kernel's figures.
func hostMemory() (Memory, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var name string
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), "%s %d kB", &name, &kib); n < 2 {
			continue
		}
		switch name {
		case "MemTotal:":
			m.Total = kib << 10
		case "MemAvailable:":
			m.Available = kib << 10
		}
	}
	if m.Total == 0 || m.Available == 0 {
		return m, fmt.Errorf("/proc/meminfo has no MemTotal or MemAvailable")
	}
	return m, nil
}
