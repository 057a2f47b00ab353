package embedded

import (
	"strings"
	"testing"
)

func TestAServerThatCanOpenFewFilesIsRefusedWithTheRemedy(t *testing.T) {
	for limit, ok := range map[uint64]bool{0: false, 1024: false, 4095: false, 4096: true, 1 << 20: true} {
		f := checkOpenFiles(limit)
		if f.OK != ok || (f.Fix == "") != ok {
			t.Errorf("%d: got %+v, want OK %v", limit, f, ok)
		}
		err := requireOpenFiles(limit)
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "LimitNOFILE") {
			t.Errorf("%d: got %v, want a remedy if the limit is too low", limit, err)
		}
	}
}
