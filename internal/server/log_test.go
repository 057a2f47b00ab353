package server

import (
	"strings"
	"testing"
)

func TestTheLogHasOneLinePerRequestAndNoSecrets(t *testing.T) {
	h := newHarness(t)
	path := h.create()
	h.run(path, "print s3cr3t-c0de")
	req := h.request("GET", "/x%0alevel=ERROR%1b[31m"+strings.Repeat("y", 5000)+"?q=s3cr3t-query", "")
	h.send(req)
	log := h.log.String()
	for _, secret := range []string{annToken, bobToken, "s3cr3t", "\x1b", "\nlevel=ERROR"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log contains %q, want a log without it:\n%s", secret, log)
		}
	}
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if len(lines) != 3 {
		t.Errorf("got %d lines for 3 requests, want 3:\n%s", len(lines), log)
	}
	for _, line := range lines {
		if len(line) > 1000 || !strings.Contains(line, "caller=ann") || !strings.Contains(line, "request=r") {
			t.Errorf("got the line %s, want at most 1000 bytes with caller=ann and request=r", line)
		}
	}
}
