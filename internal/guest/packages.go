package guest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"cellhold/internal/guestapi"
	"cellhold/internal/lazy"
)

const (
	// maxInstalled bounds the report of an installation: the log, the hooks, and four kilobytes for each
	// package.
	maxInstalled = 6*guestapi.MaxInstallLog + 6*guestapi.MaxHooks*guestapi.MaxHookText + guestapi.MaxPackages*4<<10
	// maxInstalledCommas bounds the commas in the first installedLevels levels of the report.
	maxInstalledCommas = guestapi.MaxPackages * (10 + guestapi.MaxModules)
	installedLevels    = 4
	// maxAsk bounds one question of the installer: a path and a number.
	maxAsk = 4 << 10
	// maxModule bounds the name of a module.
	maxModule = 128
)

// Patterns with large counts are compiled at their first use. Each compilation takes milliseconds, and most runs
// of the program do not use these patterns.
var (
	packageName    = lazy.Regexp(`^[a-z0-9](?:[a-z0-9-]{0,126}[a-z0-9])?$`)
	packageVersion = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9.!+_-]{0,99}$`)
	askPath        = lazy.Regexp(`^[A-Za-z0-9._/+!%-]{1,500}$`)
)

// InstallPackages changes the installed packages and returns when the change has ended. The end of
// the context ends the installation; there is no other timeout.
func (c *Client) InstallPackages(ctx context.Context, in guestapi.Install) (guestapi.Installed, error) {
	return c.postInstall(ctx, "/v1/packages", in)
}

// LookPackages reports whether requirements are met already, and changes nothing. The error is NotFound if
// the agent's version does not support this call.
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
	return acceptInstalled(out)
}

// readJSON reads a bounded answer.
func readJSON(r io.Reader, limit int64, levels, commas int, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return fmt.Errorf("the sandbox's answer ended early: %w", err)
	}
	if int64(len(b)) > limit || !fits(b, levels, commas) {
		return invalidData("an answer that is too long")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return invalidData("an answer that is not the expected JSON")
	}
	return nil
}

// acceptInstalled returns a report that is safe to show. It fails for a report that the agent never gives.
func acceptInstalled(in guestapi.Installed) (guestapi.Installed, error) {
	if err := checkInstalled(in); err != nil {
		return guestapi.Installed{}, err
	}
	return showableInstalled(in), nil
}

// checkInstalled fails for a report that the agent never gives.
func checkInstalled(in guestapi.Installed) error {
	switch in.Failure {
	case guestapi.InstallOK, guestapi.InstallRefused, guestapi.InstallTimeout, guestapi.InstallDiskFull, guestapi.InstallKilled:
	default:
		return invalidData("the result of an installation")
	}
	if len(in.Changes) > guestapi.MaxPackages || len(in.Named) > guestapi.MaxPackages || len(in.Hooks) > guestapi.MaxHooks ||
		len(in.Loaded) > guestapi.MaxPackages*guestapi.MaxModules || len(in.Silent) > maxKernelsReported {
		return invalidData("a report of an installation that is too long")
	}
	for _, list := range [][]guestapi.PackageChange{in.Changes, in.Named} {
		if !allOf(list, validChange) {
			return invalidData("a package")
		}
	}
	switch {
	case !allOf(in.Hooks, validHook):
		return invalidData("a start-up hook")
	case !allOf(in.Loaded, validLoaded):
		return invalidData("a module of a kernel")
	case !allOf(in.Silent, validKernel):
		return invalidData("the name of a kernel")
	}
	return nil
}

// showableInstalled returns a copy of a report with the end of a long log, and without characters that
// could control a terminal.
func showableInstalled(in guestapi.Installed) guestapi.Installed {
	out := in
	if len(out.Log) > guestapi.MaxInstallLog {
		out.Log = out.Log[len(out.Log)-guestapi.MaxInstallLog:]
	}
	out.Log = showable(out.Log)
	out.Hooks = slices.Clone(in.Hooks)
	for i, h := range out.Hooks {
		out.Hooks[i] = guestapi.StartHook{Path: sentence(h.Path), Text: showable(h.Text)}
	}
	return out
}

// maxKernelsReported is above the number of kernels that an agent runs.
const maxKernelsReported = 64

// allOf reports whether every element is valid.
func allOf[T any](list []T, valid func(T) bool) bool {
	return !slices.ContainsFunc(list, func(v T) bool { return !valid(v) })
}

func validHook(h guestapi.StartHook) bool {
	return len(h.Path) <= guestapi.MaxPath && len(h.Text) <= guestapi.MaxHookText+3
}

func validLoaded(l guestapi.LoadedModule) bool {
	return validKernel(string(l.Kernel)) && packageName().MatchString(l.Package) && validModule(l.Module)
}

func validKernel(name string) bool { return validName(name, 40) }

func validChange(c guestapi.PackageChange) bool {
	version := func(v string) bool { return v == "" || packageVersion().MatchString(v) }
	if !packageName().MatchString(c.Name) || !version(c.Before) || !version(c.After) || len(c.Modules) > guestapi.MaxModules {
		return false
	}
	return allOf(c.Modules, validModule)
}

// validModule reports whether a name is an identifier, because it becomes code, as in "import NAME".
func validModule(name string) bool {
	for i, c := range name {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && len(name) <= maxModule
}

// showable drops characters that could control a terminal, but keeps line breaks and tabs.
func showable(s string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// NextAsk waits for the next question of the installer. It returns false if no question comes for guestapi.AskWait.
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
		// No index has this path. The path of the guest is not used any further.
		ask.Path = "unknown"
	}
	return ask, true, nil
}

// AnswerAsk answers a question. A negative size means that the size is unknown.
func (c *Client) AnswerAsk(ctx context.Context, id int64, status int, kind string, size int64, body io.Reader) error {
	q := url.Values{"ask": {strconv.FormatInt(id, 10)}, "status": {strconv.Itoa(status)}, "type": {kind}}
	resp, err := c.do(ctx, request{method: http.MethodPut, path: "/v1/packages/answer", query: q, body: io.NopCloser(body), size: size, once: true})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
