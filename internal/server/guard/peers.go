package guard

import (
	"bufio"
	"cellhold"
	"cellhold/internal/server/exchange"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// OnlyFrom returns a handler that passes only requests from the given addresses, and from loopback. It does not replace
// tokens: programs can forge the address from which they connect, or share it with others. A gateway is the address of
// every connection that it passes on.
func OnlyFrom(peers []netip.Addr, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		from := peer.Addr().Unmap().WithZone("")
		if err != nil || !from.IsLoopback() && !slices.Contains(peers, from) {
			w.Header().Set("Connection", "close")
			exchange.WriteProblem(w, exchange.NewProblem(r.Context(), http.StatusForbidden, cellhold.Denied,
				fmt.Sprintf("Address %s is not allowed: without tokens, this server answers only its network's gateway (--trust-gateway). Publish its port at 127.0.0.1 of the host, or start it with tokens.", from)))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Gateways returns the addresses of the default gateways. They are the host's if the engine connects the container by a
// bridge. In a container with the network of the host, or with macvlan, they are those of a router.
func Gateways() ([]netip.Addr, error) {
	var all []netip.Addr
	for file, read := range map[string]func(io.Reader) ([]netip.Addr, error){"/proc/net/route": gateways4, "/proc/net/ipv6_route": gateways6} {
		f, err := os.Open(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		found, err := read(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		return nil, errors.New("this network has no default gateway")
	}
	return all, nil
}

// gateways4 reads lines of the form "interface destination gateway ...". The addresses are numbers in the byte order of
// the machine, in hexadecimal (proc(5)). The first line names the columns.
func gateways4(r io.Reader) (all []netip.Addr, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" || f[2] == "00000000" {
			continue
		}
		b, err := hex.DecodeString(f[2])
		if err != nil || len(b) != 4 {
			return nil, fmt.Errorf("%q is not an address", f[2])
		}
		var at [4]byte
		binary.NativeEndian.PutUint32(at[:], binary.BigEndian.Uint32(b))
		all = append(all, netip.AddrFrom4(at))
	}
	return all, lines.Err()
}

// gateways6 reads lines of the form "destination length source length gateway ...", with addresses in hexadecimal.
func gateways6(r io.Reader) (all []netip.Addr, err error) {
	none := strings.Repeat("0", 32)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 5 || f[0] != none || f[1] != "00" || f[4] == none {
			continue
		}
		b, err := hex.DecodeString(f[4])
		at, ok := netip.AddrFromSlice(b)
		if err != nil || !ok {
			return nil, fmt.Errorf("%q is not an address", f[4])
		}
		all = append(all, at)
	}
	return all, lines.Err()
}
