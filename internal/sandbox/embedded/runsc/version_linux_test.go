package runsc

import (
	"os/exec"
	"strings"
	"testing"

	"cellhold/internal/sandbox/embedded/runner"

	"gvisor.dev/gvisor/runsc/version"
)

func TestThePinnedVersionIsTheOneInGoMod(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "gvisor.dev/gvisor").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != runner.Version {
		t.Errorf("go.mod has %s, Version is %s", got, runner.Version)
	}
}

func TestGvisorKnowsItsVersion(t *testing.T) {
	before := gvisorVersion
	defer func() { gvisorVersion = before }()
	gvisorVersion = runner.Version
	if version.Version() != runner.Version {
		t.Errorf("gVisor has the version %q", version.Version())
	}
}
