package kernelproxy

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
)

func TestTheOwnerOfAConnectionIsFoundInTheTable(t *testing.T) {
	local, mapped := "0100007F", "0000000000000000FFFF00000100007F"
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		local, mapped = "7F000001", "00000000000000000000FFFF7F000001"
	}
	table := func(address, state string) string {
		return "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
			"   0: " + address + ":0050 " + address + ":1F90 01 00000000:00000000 00:00000000 00000000  1 0 1\n" +
			"   1: " + address + ":C001 " + address + ":1F90 " + state + " 00000000:00000000 00:00000000 00000000  1234 0 2\n" +
			"   2: zz:C001 short\n"
	}
	from, to := netip.MustParseAddrPort("127.0.0.1:49153"), netip.MustParseAddrPort("127.0.0.1:8080")
	for _, address := range []string{local, mapped} {
		if uid, found := ownerOf(strings.NewReader(table(address, "01")), from, to); !found || uid != 1234 {
			t.Errorf("%s: got %d, %t; want 1234", address, uid, found)
		}
		if uid, found := ownerOf(strings.NewReader(table(address, "06")), from, to); found { // a closed connection seems to be root's
			t.Errorf("%s: got %d for a closed connection, want none", address, uid)
		}
		if uid, found := ownerOf(strings.NewReader(table(address, "01")), to, from); found {
			t.Errorf("%s: got %d for the other end, want none", address, uid)
		}
	}
}
