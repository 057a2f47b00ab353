package image

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// aptConfig is the host's apt configuration for fetching from Debian.
type aptConfig struct {
	mirror  string   // for messages
	lines   []string // sources of the suite to build; empty means mmdebstrap's default
	options []string // options for proxies and certificates
}

// readAptConfig reads the configuration from apt, so that a host with a local mirror or a proxy uses them for the build. On
// a host without apt or without Debian, mmdebstrap chooses the mirror.
func readAptConfig(ctx context.Context, suite string) aptConfig {
	var c aptConfig
	if dump, err := exec.CommandContext(ctx, "apt-config", "dump", "Acquire").Output(); err == nil {
		c.options = aptOptions(dump)
	}
	host, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return c
	}
	targets, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		return c
	}
	c.mirror, c.lines = debianSources(string(host), string(targets), suite)
	return c
}

// debianSources converts the host's sources to those of another suite.
func debianSources(osRelease, targets, suite string) (mirror string, lines []string) {
	release := map[string]string{}
	for line := range strings.Lines(osRelease) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			release[key] = strings.Trim(value, `"'`)
		}
	}
	if release["ID"] != "debian" {
		return "", nil
	}
	bases := []string{release["VERSION_CODENAME"], "oldstable", "stable", "testing", "unstable", "sid", suite}
	for target := range strings.Lines(targets) {
		fields := strings.Fields(target)
		if len(fields) != 3 || fields[2] != "main" {
			continue
		}
		uri, name := fields[0], fields[1]
		base, part := strings.TrimSuffix(name, "/updates"), "" // the format before Debian 11
		for _, suffix := range []string{"-updates", "-security"} {
			if b, ok := strings.CutSuffix(name, suffix); ok {
				base, part = b, suffix
			}
		}
		if base == "" || !slices.Contains(bases, base) {
			continue
		}
		if part == "" && mirror == "" {
			mirror = uri
		}
		line := "deb " + uri + " " + suite + part + " main"
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	if mirror == "" {
		return "", nil
	}
	return mirror, lines
}

// aptOptions selects the options about fetching from a dump of apt's configuration.
func aptOptions(dump []byte) []string {
	wanted := []string{"Acquire::http", "Acquire::https", "Acquire::Check-Valid-Until",
		"Acquire::Check-Date", "Acquire::ForceIPv4", "Acquire::ForceIPv6"}
	options := []string{`Acquire::Retries "3"`} // a lost connection must not fail the build
	lines := bufio.NewScanner(bytes.NewReader(dump))
	for lines.Scan() {
		option := strings.TrimSuffix(strings.TrimSpace(lines.Text()), ";")
		key, value, _ := strings.Cut(option, " ")
		if value == "" || value == `""` {
			continue
		}
		if slices.ContainsFunc(wanted, func(w string) bool { return key == w || strings.HasPrefix(key, w+"::") }) {
			options = append(options, option)
		}
	}
	return options
}
