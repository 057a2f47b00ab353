package docker

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// profile is what this package's test reads of the profile (OCI runtime specification, "Seccomp").
type profile struct {
	Syscalls []struct {
		Names  []string
		Action string
		Args   []struct {
			Index           int
			Value, ValueTwo uint64
			Op              string
		}
	}
}

func read(t *testing.T) (p profile) {
	t.Helper()
	if err := json.Unmarshal(Seccomp, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// allows reports whether one of the rules allows a call with these arguments. All conditions of a rule must hold.
func (p profile) allows(t *testing.T, call string, args ...uint64) bool {
	t.Helper()
rules:
	for _, rule := range p.Syscalls {
		if rule.Action != "SCMP_ACT_ALLOW" || !slices.Contains(rule.Names, call) {
			continue
		}
		for _, a := range rule.Args {
			switch a.Op {
			case "SCMP_CMP_EQ":
				if args[a.Index] != a.Value {
					continue rules
				}
			case "SCMP_CMP_MASKED_EQ":
				if args[a.Index]&a.Value != a.ValueTwo {
					continue rules
				}
			default:
				t.Fatalf("the test does not know the operator %s", a.Op)
			}
		}
		return true
	}
	return false
}

func TestTheProfileAllowsOnlySocketsThatTheServerUses(t *testing.T) {
	const stream, datagram, dccp, sequential, raw, flags = 1, 2, 6, 5, 3, 0x80800 // flags: CLOEXEC and NONBLOCK
	p := read(t)
	for _, x := range []struct {
		call                   string
		family, kind, protocol uint64
		want                   bool
	}{
		{"socket", 1, stream, 0, true},
		{"socketpair", 1, stream | flags, 0, true},
		{"socket", 2, stream | flags, 0, true},
		{"socket", 2, stream | flags, 6, true},
		{"socket", 10, stream, 6, true},
		{"socket", 10, datagram | flags, 17, true},
		{"socket", 16, raw | flags, 0, true}, // NETLINK_ROUTE

		{"socketpair", 2, stream, 0, false},
		{"socketpair", 30, stream, 0, false}, // AF_TIPC
		{"socket", 2, stream, 132, false},    // SCTP
		{"socket", 2, stream, 262, false},    // MPTCP
		{"socket", 2, sequential, 0, false},  // SCTP as the default of its type
		{"socket", 10, dccp, 0, false},
		{"socket", 2, datagram, 1, false}, // ICMP
		{"socket", 10, datagram, 136, false},
		{"socket", 2, raw, 6, false},
		{"socket", 16, raw, 12, false}, // NETLINK_NETFILTER
		{"socket", 16, raw, 6, false},  // NETLINK_XFRM
		{"socket", 38, sequential, 0, false},
		{"socket", 17, raw, 0, false},
	} {
		if got := p.allows(t, x.call, x.family, x.kind, x.protocol); got != x.want {
			t.Errorf("%s(%d, %#x, %d): got %t, want %t", x.call, x.family, x.kind, x.protocol, got, x.want)
		}
	}
}

func TestThePageHasTheNumberOfAllowedCalls(t *testing.T) {
	calls := map[string]bool{}
	for _, rule := range read(t).Syscalls {
		for _, name := range rule.Names {
			calls[name] = calls[name] || rule.Action == "SCMP_ACT_ALLOW"
		}
	}
	allowed := 0
	for _, is := range calls {
		if is {
			allowed++
		}
	}
	if got := number(t, "../docs/how-to/docker.md", `allows (\d+) system calls`); got != allowed {
		t.Errorf("docs/how-to/docker.md has %d system calls, the profile %d", got, allowed)
	}
}

// The cgroups of sandboxes are below the container's, so its limits bound all sessions together. docs/how-to/docker.md has
// the rule, for sessions of 1 GiB and 256 processes.
func TestTheLimitsOfTheComposeFileFitItsSessions(t *testing.T) {
	const file = "compose.yaml"
	sessions := number(t, file, `CELLHOLD_MAX_SESSIONS: "(\d+)"`)
	if got, want := number(t, file, `mem_limit: (\d+)g`), sessions*1+2; got < want {
		t.Errorf("mem_limit: got %d GiB, want %d for %d sessions", got, want, sessions)
	}
	if got, want := number(t, file, `pids_limit: (\d+)`), sessions*(256+4*256)+2500; got < want {
		t.Errorf("pids_limit: got %d, want %d for %d sessions", got, want, sessions)
	}
}

// number returns the number that an expression finds in a file.
func number(t *testing.T, file, expression string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(expression).FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s has no %s", file, expression)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
