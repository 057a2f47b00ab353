package runsc

import (
	"os/exec"
	"strings"
	"testing"

	"gvisor.dev/gvisor/runsc/version"
)

func TestThePinnedVersionIsTheOneInGoMod(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "gvisor.dev/gvisor").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != Version {
		t.Errorf("go.mod has %s, Version is %s", got, Version)
	}
}

func TestGvisorKnowsItsVersion(t *testing.T) {
	before := gvisorVersion
	defer func() { gvisorVersion = before }()
	gvisorVersion = Version
	if version.Version() != Version {
		t.Errorf("gVisor has the version %q", version.Version())
	}
}
