package guard

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestOnlyTheGatewayAndLoopbackPassWithoutTokens(t *testing.T) {
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	h := OnlyFrom([]netip.Addr{netip.MustParseAddr("172.17.0.1"), netip.MustParseAddr("fe80::1")}, next)
	for from, want := range map[string]int{
		"172.17.0.1:4000": 204, "127.0.0.1:4000": 204, "[::1]:4000": 204, "[::ffff:172.17.0.1]:4000": 204, "[fe80::1%eth0]:4000": 204,
		"172.17.0.3:4000": 403, "192.0.2.9:4000": 403, "[fe80::2]:4000": 403, "@": 403, "": 403,
	} {
		r := httptest.NewRequest("POST", "/start_session", nil)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("from %q: got %d, want %d", from, w.Code, want)
		}
		if want == 403 && !strings.Contains(w.Body.String(), "127.0.0.1 of the host") {
			t.Errorf("from %q: got %s, want a remedy", from, w.Body)
		}
	}
}

func TestTheDefaultGatewaysAreRead(t *testing.T) {
	const four = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
	if got, err := gateways4(strings.NewReader(four)); err != nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr("172.17.0.1")}) {
		t.Errorf("IPv4: got %v, %v; want 172.17.0.1", got, err)
	}
	const zero = "00000000000000000000000000000000"
	six := zero + " 00 " + zero + " 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n" +
		zero + " 00 " + zero + " 00 " + zero + " ffffffff 00000001 00000000 00200200 lo\n"
	if got, err := gateways6(strings.NewReader(six)); err != nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr("fe80::1")}) {
		t.Errorf("IPv6: got %v, %v; want fe80::1", got, err)
	}
}
