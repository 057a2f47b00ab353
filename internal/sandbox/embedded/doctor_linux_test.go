package embedded

import (
	"errors"
	"strings"
	"testing"
)

func TestTheDoctorChecksTheUser(t *testing.T) {
	t.Parallel()
	none := errors.New("no cgroups")
	for name, x := range map[string]struct {
		root, admin, ids bool
		limits           error
		ok               bool
		says             string
	}{
		"root":                        {true, true, true, nil, true, "as root"},
		"root without capabilities":   {true, false, true, nil, false, "CAP_SYS_ADMIN"},
		"root without uids":           {true, true, false, nil, false, "uids from 200000 on"},
		"a plain user":                {false, false, false, none, false, "not enforced"},
		"a plain user with delegated": {false, false, false, nil, true, "limit memory, CPU and processes"},
	} {
		f := userFinding(x.root, x.admin, x.ids, 200000, x.limits)
		if f.OK != x.ok || f.OK != (f.Fix == "") || !strings.Contains(f.Detail, x.says) {
			t.Errorf("%s: got %+v, want OK %v and the detail %q", name, f, x.ok, x.says)
		}
	}
}
