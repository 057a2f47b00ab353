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
			t.Errorf("the log has %q:\n%s", secret, log)
		}
	}
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if len(lines) != 3 {
		t.Errorf("%d lines for 3 requests:\n%s", len(lines), log)
	}
	for _, line := range lines {
		if len(line) > 1000 || !strings.Contains(line, "caller=ann") || !strings.Contains(line, "request=r") {
			t.Errorf("line: %s", line)
		}
	}
}
