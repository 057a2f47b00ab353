package guest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"cellhold/internal/guestapi"
	"cellhold/internal/lazy"
)

const (
	// maxInstalled bounds the report of an installation: the log, the hooks, and a kilobyte for each
	// package.
	maxInstalled = 6*guestapi.MaxInstallLog + 6*guestapi.MaxHooks*guestapi.MaxHookText + guestapi.MaxPackages*4<<10
	// maxInstalledCommas bounds its parts, and installedLevels how deep it nests.
	maxInstalledCommas = guestapi.MaxPackages * (10 + guestapi.MaxModules)
	installedLevels    = 4
	// maxAsk bounds one question: a path and a number.
	maxAsk = 4 << 10
	// maxModule bounds the name of a module.
	maxModule = 128
)

// Patterns with large counts are compiled when they are used first: each sandbox starts four processes of this
// program, which have no use for them and would pay milliseconds each.
var (
	packageName    = lazy.Regexp(`^[a-z0-9](?:[a-z0-9-]{0,126}[a-z0-9])?$`)
	packageVersion = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9.!+_-]{0,99}$`)
	askPath        = lazy.Regexp(`^[A-Za-z0-9._/+!%-]{1,500}$`)
)

// InstallPackages changes the installed packages and returns when that has ended. It takes as long as
// it takes: the context bounds it, and its end ends the installation.
func (c *Client) InstallPackages(ctx context.Context, in guestapi.Install) (guestapi.Installed, error) {
	return c.postInstall(ctx, "/v1/packages", in)
}

// LookPackages says whether requirements are met already, and changes nothing. The error is NotFound when the
// agent is of a version that cannot say.
func (c *Client) LookPackages(ctx context.Context, in guestapi.Install) (guestapi.Installed, error) {
	return c.postInstall(ctx, "/v1/packages/look", in)
}

func (c *Client) postInstall(ctx context.Context, path string, in guestapi.Install) (guestapi.Installed, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return guestapi.Installed{}, err
	}
	resp, err := c.do(ctx, request{method: http.MethodPost, path: path, body: strings.NewReader(string(body)), once: true})
	if err != nil {
		return guestapi.Installed{}, fmt.Errorf("install packages: %w", err)
	}
	defer resp.Body.Close()
	var out guestapi.Installed
	if err := readJSON(resp.Body, maxInstalled, installedLevels, maxInstalledCommas, &out); err != nil {
		return guestapi.Installed{}, fmt.Errorf("install packages: %w", err)
	}
	if err := checkInstalled(&out); err != nil {
		return guestapi.Installed{}, err
	}
	return out, nil
}

// readJSON reads a bounded answer.
func readJSON(r io.Reader, limit int64, levels, commas int, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return fmt.Errorf("the sandbox broke off its answer: %w", err)
	}
	if int64(len(b)) > limit || !fits(b, levels, commas) {
		return strange("an answer that is too long")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return strange("an answer that is not the expected JSON")
	}
	return nil
}

// checkInstalled refuses a report that our agent would not give, and makes its texts fit to show.
func checkInstalled(out *guestapi.Installed) error {
	switch out.Failure {
	case guestapi.InstallOK, guestapi.InstallRefused, guestapi.InstallTimeout, guestapi.InstallDiskFull, guestapi.InstallKilled:
	default:
		return strange("the end of an installation")
	}
	if len(out.Log) > guestapi.MaxInstallLog {
		out.Log = out.Log[len(out.Log)-guestapi.MaxInstallLog:]
	}
	out.Log = showable(out.Log)
	if len(out.Changes) > guestapi.MaxPackages || len(out.Named) > guestapi.MaxPackages || len(out.Hooks) > guestapi.MaxHooks ||
		len(out.Loaded) > guestapi.MaxPackages*guestapi.MaxModules || len(out.Silent) > maxKernelsReported {
		return strange("a report of an installation that is too long")
	}
	for _, list := range [][]guestapi.PackageChange{out.Changes, out.Named} {
		for i := range list {
			if !validChange(&list[i]) {
				return strange("a package")
			}
		}
	}
	for i, h := range out.Hooks {
		if len(h.Path) > guestapi.MaxPath || len(h.Text) > guestapi.MaxHookText+3 {
			return strange("a start-up hook")
		}
		out.Hooks[i] = guestapi.StartHook{Path: sentence(h.Path), Text: showable(h.Text)}
	}
	for _, l := range out.Loaded {
		if !validName(string(l.Kernel), 40) || !packageName().MatchString(l.Package) || !validModule(l.Module) {
			return strange("a module of a kernel")
		}
	}
	for _, k := range out.Silent {
		if !validName(k, 40) {
			return strange("the name of a kernel")
		}
	}
	return nil
}

// maxKernelsReported is above the number of kernels that an agent runs.
const maxKernelsReported = 64

func validChange(c *guestapi.PackageChange) bool {
	version := func(v string) bool { return v == "" || packageVersion().MatchString(v) }
	if !packageName().MatchString(c.Name) || !version(c.Before) || !version(c.After) || len(c.Modules) > guestapi.MaxModules {
		return false
	}
	for _, m := range c.Modules {
		if !validModule(m) {
			return false
		}
	}
	return true
}

// validModule reports whether a name is an identifier: it becomes code, as in "import NAME".
func validModule(name string) bool {
	for i, c := range name {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && len(name) <= maxModule
}

// showable keeps lines and drops what could command a terminal.
func showable(s string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// NextAsk waits for the next question of the installer; false when there was none for a while.
func (c *Client) NextAsk(ctx context.Context) (guestapi.Question, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, guestapi.AskWait+callTimeout)
	defer cancel()
	resp, err := c.do(ctx, request{method: http.MethodGet, path: "/v1/packages/ask", once: true})
	if err != nil {
		return guestapi.Question{}, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return guestapi.Question{}, false, nil
	}
	var ask guestapi.Question
	if err := readJSON(resp.Body, maxAsk, 1, 10, &ask); err != nil {
		return guestapi.Question{}, false, err
	}
	if ask.ID <= 0 || !askPath().MatchString(ask.Path) {
		// A question that no index can answer; the path is not looked at further.
		ask.Path = "unknown"
	}
	return ask, true, nil
}

// AnswerAsk answers a question. A size below zero is unknown.
func (c *Client) AnswerAsk(ctx context.Context, id int64, status int, kind string, size int64, body io.Reader) error {
	q := url.Values{"ask": {strconv.FormatInt(id, 10)}, "status": {strconv.Itoa(status)}, "type": {kind}}
	resp, err := c.do(ctx, request{method: http.MethodPut, path: "/v1/packages/answer", query: q, body: io.NopCloser(body), size: size, once: true})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
