package kernelproxy

import (
	"bufio"
	"cellhold/internal/pause"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// isOwn reports whether the program at the other end of a loopback connection belongs to this user, or to root. Other users
// could otherwise read all outputs, because subscriptions are not signed. Only Linux names the owner of a connection. On
// other systems isOwn returns true, and programs are as safe as with every kernel over TCP.
func isOwn(ctx context.Context, nc net.Conn) bool {
	if runtime.GOOS != "linux" {
		return true
	}
	for range ownerTries {
		if uid, found := owner(nc); found {
			return uid == 0 || uid == os.Getuid()
		}
		if !pause.For(ctx, ownerPause) {
			break
		}
	}
	return false
}

const (
	// ownerTries is the number of times that the tables are read. They change while they are read, and a table can then lack
	// a connection that exists.
	ownerTries = 20
	ownerPause = 5 * time.Millisecond
)

// owner finds the owner of the other end of a connection in the tables of Linux.
func owner(nc net.Conn) (uid int, found bool) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue
		}
		uid, found = ownerOf(f, portOf(nc.RemoteAddr()), portOf(nc.LocalAddr()))
		f.Close()
		if found {
			return uid, true
		}
	}
	return 0, false
}

func portOf(a net.Addr) netip.AddrPort {
	p, _ := netip.ParseAddrPort(a.String()) // the addresses of TCP connections are always valid
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

const (
	// established is the state of an open connection. The kernel of Linux gives other connections to root.
	established = "01"
	// uidColumn is the column of the owner, after the addresses, the state, two queues, a timer and retransmissions.
	uidColumn = 7
)

// ownerOf finds the owner of the end of a connection in a table of Linux.
func ownerOf(table io.Reader, from, to netip.AddrPort) (uid int, found bool) {
	for lines := bufio.NewScanner(table); lines.Scan(); {
		columns := strings.Fields(lines.Text())
		if len(columns) <= uidColumn || columns[3] != established {
			continue
		}
		local, err1 := parseAddress(columns[1])
		remote, err2 := parseAddress(columns[2])
		if err1 != nil || err2 != nil || local != from || remote != to {
			continue
		}
		uid, err := strconv.Atoi(columns[uidColumn])
		return uid, err == nil
	}
	return 0, false
}

// parseAddress reads an address such as 0100007F:1F90: words in the order of the processor, and the port.
func parseAddress(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	if err != nil || len(b)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("address %.80q", text)
	}
	for word := range slices.Chunk(b, 4) {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	ip, ok := netip.AddrFromSlice(b)
	n, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %.80q", text)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), nil
}
