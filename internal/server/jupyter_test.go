package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/session"
)

// folderImages has one image, whose files are in a folder.
type folderImages struct{ rootfs string }

func (f folderImages) Resolve(string) (session.Image, error) {
	return session.Image{Name: "toy", Digest: "sha256:toy", Rootfs: f.rootfs}, nil
}

// newJupyter starts a server whose image has two kernelspecs.
func newJupyter(t testing.TB, options func(*Options)) *harness {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"python3/kernel.json": `{"argv":["python3"],"display_name":"Python 3","language":"python","metadata":{"debugger":true}}`,
		"toy/kernel.json":     `{"argv":["toy"],"display_name":"Toy","language":"toy"}`, "toy/logo-svg.svg": "<svg/>",
	} {
		p := filepath.Join(root, "usr/local/share/jupyter/kernels", name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return newHarnessWith(t, func(o *registry.Options) { o.Images = folderImages{root} }, options)
}

// jupyterKernel is a kernel as Jupyter's clients see it.
type jupyterKernel struct {
	ID, Name     string
	LastActivity string `json:"last_activity"`
	State        string `json:"execution_state"`
	Connections  *int
}

type jupyterSession struct {
	ID, Path, Name, Type string
	Kernel               jupyterKernel
	Notebook             *struct{ Path string }
}

// jupyter sends a request as Jupyter's clients do: with a bare number as the query, and with JSON as text.
func (h *harness) jupyter(status int, method, path, body string, into any) answered {
	h.t.Helper()
	req := h.request(method, path+"?1795900584123", body)
	req.Header.Set("Authorization", "token "+annToken)
	req.Header.Set("Content-Type", "text/plain;charset=UTF-8")
	a := h.send(req)
	if a.StatusCode != status {
		h.t.Fatalf("%s %s: got status %d with %s, want %d", method, path, a.StatusCode, a.body, status)
	}
	if into != nil {
		a.decode(h.t, into)
	}
	return a
}

func TestAKernelOfJupyterIsASessionOfTheCaller(t *testing.T) {
	h := newJupyter(t, nil)
	h.create() // other sessions are not shown
	var k, again jupyterKernel
	location := h.jupyter(201, "POST", "/jupyter/api/kernels", `{"name":"toy","env":{"KERNEL_USERNAME":"ann","KERNEL_WORKING_DIR":"/x","PATH":"/x"},"path":null}`, &k).Header.Get("Location")
	if location != "/jupyter/api/kernels/"+k.ID || !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(k.ID) {
		t.Errorf("got the id %s at %s, want a UUID", k.ID, location)
	}
	if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`).MatchString(k.LastActivity) || k.Name != "toy" || k.State != "idle" || k.Connections == nil {
		t.Errorf("got %+v, want an idle kernel with a time that clients parse", k)
	}
	if h.jupyter(200, "GET", location, "", &again); again.ID != k.ID {
		t.Errorf("got %+v, want the kernel %s", again, k.ID)
	}
	sessions := h.manager.List("ann")
	if s := sessions[0]; s.Kernels[0].Spec != "toy" {
		t.Errorf("got the session %+v, want one whose first kernel is toy", s)
	}
	of, err := h.manager.Session(t.Context(), "ann", sessions[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if env := of.Record().Env; len(env) != 1 || env["KERNEL_USERNAME"] != "ann" {
		t.Errorf("got the environment %v, want only KERNEL_USERNAME", env)
	}
	h.jupyter(204, "POST", location+"/interrupt", "{}", nil)
	if h.jupyter(200, "POST", location+"/restart", "", &again); again.ID != k.ID || again.State != "idle" {
		t.Errorf("after a restart: got %+v, want the idle kernel %s", again, k.ID)
	}
	var list []jupyterKernel
	if h.jupyter(200, "GET", "/api/kernels", "", &list); len(list) != 1 || list[0].ID != k.ID {
		t.Errorf("got %+v, want one kernel", list)
	}
	h.jupyter(204, "DELETE", location, "", nil)
	h.jupyter(404, "DELETE", location, "", nil)
	if h.jupyter(200, "GET", "/api/kernels", "", &list); len(list) != 0 || len(h.manager.List("ann")) != 1 {
		t.Errorf("after its end: got %+v, want no kernel, and the other session", list)
	}
}

func TestAKernelNeedsNoBodyAndAnUnknownKernelspecIsRefused(t *testing.T) {
	h := newJupyter(t, nil)
	var k jupyterKernel
	if h.jupyter(201, "POST", "/api/kernels", "", &k); k.Name != "python3" {
		t.Errorf("got %+v, want the default kernelspec", k)
	}
	for body, status := range map[string]int{`null`: 201, `{"name":null,"env":null}`: 201, `{"name":"nope"}`: 404, `{`: 400, `[]`: 400} {
		h.jupyter(status, "POST", "/api/kernels", body, nil)
	}
	h.jupyter(501, "POST", "/api/sessions", `{"path":"a","type":"notebook","kernel":{"name":"nope"}}`, nil)
}

func TestAHibernatedKernelStaysInTheListAsIdle(t *testing.T) {
	h := newJupyter(t, nil)
	var k jupyterKernel
	h.jupyter(201, "POST", "/api/kernels", "", &k)
	path := "/v1/sessions/" + string(h.manager.List("ann")[0].ID)
	h.do(200, "POST", path+"/hibernate", "")
	var list []jupyterKernel
	if h.jupyter(200, "GET", "/api/kernels", "", &list); len(list) != 1 || list[0].ID != k.ID || list[0].State != "idle" {
		t.Errorf("got %+v, want the idle kernel", list)
	}
	h.jupyter(204, "POST", "/api/kernels/"+k.ID+"/interrupt", "", nil)
	var s cellhold.Session
	if h.do(200, "GET", path, "").decode(t, &s); s.State != cellhold.SessionHibernated {
		t.Errorf("the session is %s, want hibernated: nothing used it", s.State)
	}
}

func TestAForkIsNotShownToJupyter(t *testing.T) {
	h := newJupyter(t, nil)
	var a jupyterSession
	h.jupyter(201, "POST", "/api/sessions", `{"path":"a","type":"notebook"}`, &a)
	h.do(201, "POST", "/v1/sessions/"+string(h.manager.List("ann")[0].ID)+"/fork", `{}`)
	var list []jupyterSession
	if h.jupyter(200, "GET", "/api/sessions", "", &list); len(list) != 1 || list[0].Kernel.ID != a.Kernel.ID || len(h.manager.List("ann")) != 2 {
		t.Errorf("got %+v, want the session of the parent only", list)
	}
}

func TestASessionOfAnotherProgramCanBeShownToJupyter(t *testing.T) {
	h := newJupyter(t, nil)
	h.do(201, "POST", "/v1/sessions", `{"metadata":{"jupyter":"[]"}}`)
	h.do(201, "POST", "/v1/sessions", `{"metadata":{"jupyter":"not JSON"}}`)
	var list []jupyterKernel
	if h.jupyter(200, "GET", "/api/kernels", "", &list); len(list) != 2 || list[0].Name != "python3" {
		t.Errorf("got %+v, want two kernels", list)
	}
	var s jupyterSession
	if h.jupyter(201, "POST", "/api/sessions", fmt.Sprintf(`{"path":"a","type":"notebook","kernel":{"id":%q}}`, list[0].ID), &s); s.Kernel.ID != list[0].ID {
		t.Errorf("got %+v, want a session of the kernel %s", s, list[0].ID)
	}
}

func TestASessionOfJupyterNamesAKernel(t *testing.T) {
	h := newJupyter(t, nil)
	var a, b jupyterSession
	body := `{"path":"n/a.ipynb","name":"","type":"notebook","kernel":{"name":"toy","id":null}}`
	h.jupyter(201, "POST", "/api/sessions", body, &a)
	if h.jupyter(201, "POST", "/api/sessions", body, &b); a.ID != b.ID || a.Kernel.ID != b.Kernel.ID || a.Notebook == nil || a.Notebook.Path != "n/a.ipynb" || a.Kernel.Name != "toy" {
		t.Errorf("got %+v and %+v, want the same session twice", a, b)
	}
	path := "/api/sessions/" + a.ID
	if h.jupyter(200, "PATCH", path, `{"path":"b.ipynb","name":"b.ipynb","kernel":null}`, &b); b.Path != "b.ipynb" || b.Name != "b.ipynb" || b.Kernel.ID != a.Kernel.ID {
		t.Errorf("renamed: got %+v, want the path b.ipynb and the same kernel", b)
	}
	if h.jupyter(200, "PATCH", path, `{"kernel":{"name":"python3"}}`, &b); b.ID != a.ID || b.Path != "b.ipynb" || b.Kernel.ID == a.Kernel.ID || b.Kernel.Name != "python3" {
		t.Errorf("with another kernelspec: got %+v, want the same session with another kernel", b)
	}
	h.jupyter(404, "GET", "/api/kernels/"+a.Kernel.ID, "", nil)
	var k jupyterKernel
	h.jupyter(201, "POST", "/api/kernels", "", &k)
	if h.jupyter(200, "PATCH", path, fmt.Sprintf(`{"kernel":{"id":%q}}`, k.ID), &a); a.Kernel.ID != k.ID {
		t.Errorf("with another kernel: got %+v, want the kernel %s", a, k.ID)
	}
	h.jupyter(404, "GET", "/api/kernels/"+b.Kernel.ID, "", nil)
	b = jupyterSession{}
	h.jupyter(201, "POST", "/api/sessions", fmt.Sprintf(`{"path":"c","type":"console","kernel":{"id":%q}}`, k.ID), &b)
	if b.Kernel.ID != k.ID || b.Notebook != nil || b.Name != "c" {
		t.Errorf("a console of the same kernel: got %+v", b)
	}
	var list []jupyterSession
	if h.jupyter(200, "GET", "/api/sessions", "", &list); len(list) != 2 {
		t.Errorf("got %+v, want two sessions of one kernel", list)
	}
	h.jupyter(204, "DELETE", path, "", nil)
	h.jupyter(200, "GET", "/api/kernels/"+k.ID, "", nil) // the console uses it
	h.jupyter(204, "DELETE", "/api/sessions/"+b.ID, "", nil)
	h.jupyter(404, "GET", "/api/kernels/"+k.ID, "", nil)
	for _, body := range []string{"", `{"path":"a"}`, `{"type":"notebook"}`} {
		h.jupyter(400, "POST", "/api/sessions", body, nil)
	}
	h.jupyter(201, "POST", "/api/sessions", `{"notebook":{"path":"old.ipynb"},"kernel":{}}`, nil)
}

func TestTwoRequestsForOnePathGiveOneSession(t *testing.T) {
	h := newJupyter(t, nil)
	var got [4]jupyterSession
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			a := h.send(h.request("POST", "/api/sessions", `{"path":"a.ipynb","type":"notebook"}`))
			if err := json.Unmarshal(a.body, &got[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range got {
		if s.ID == "" || s.ID != got[0].ID {
			t.Errorf("got %+v, want one session", got)
		}
	}
}

func TestTheSessionsOfAKernelHaveABoundedSpace(t *testing.T) {
	h := newJupyter(t, nil)
	long := strings.Repeat("&<", 200) + "/" + strings.Repeat("é", 200)
	var a, again jupyterSession
	h.jupyter(201, "POST", "/api/sessions", fmt.Sprintf(`{"path":%q,"name":%q,"type":"notebook"}`, long, strings.Repeat("é", 200)), &a)
	if h.jupyter(200, "GET", "/api/sessions/"+a.ID, "", &again); again.Path != long || again.Name != strings.Repeat("é", 200) {
		t.Errorf("got %+v, want the path and the name of the request", again)
	}
	refused := h.jupyter(400, "POST", "/api/sessions", fmt.Sprintf(`{"path":"b%s","type":"console","kernel":{"id":%q}}`, long, a.Kernel.ID), nil)
	if !strings.Contains(string(refused.body), "shorter paths") {
		t.Errorf("a second long path: got %s, want the remedy", refused.body)
	}
	h.jupyter(400, "POST", "/api/sessions", fmt.Sprintf(`{"path":"c%s%s","type":"notebook"}`, long, long), nil)
}

func TestAKernelLivesWhileASessionOfJupyterUsesIt(t *testing.T) {
	h := newJupyter(t, nil)
	for i := range 20 {
		var a jupyterSession
		h.jupyter(201, "POST", "/api/sessions", fmt.Sprintf(`{"path":"a%d","type":"notebook"}`, i), &a)
		var wg sync.WaitGroup
		var bound answered
		wg.Go(func() { h.send(h.request("DELETE", "/api/sessions/"+a.ID, "")) })
		wg.Go(func() {
			bound = h.send(h.request("POST", "/api/sessions", fmt.Sprintf(`{"path":"b%d","type":"console","kernel":{"id":%q}}`, i, a.Kernel.ID)))
		})
		wg.Wait()
		if bound.StatusCode == 201 {
			h.jupyter(200, "GET", "/api/kernels/"+a.Kernel.ID, "", nil)
		}
	}
}

func TestKernelspecsHaveTheFormOfJupyter(t *testing.T) {
	h := newJupyter(t, nil)
	var all struct {
		Default     string
		Kernelspecs map[string]struct {
			Name string
			Spec struct {
				Argv        []string
				Env         map[string]string
				DisplayName string `json:"display_name"`
				Metadata    map[string]any
			}
			Resources map[string]string
		}
	}
	h.jupyter(200, "GET", "/jupyter/api/kernelspecs", "", &all)
	toy := all.Kernelspecs["toy"]
	if all.Default != "python3" || len(all.Kernelspecs) != 2 || toy.Name != "toy" || toy.Spec.Env == nil || toy.Spec.DisplayName != "Toy" || toy.Spec.Metadata["debugger"] != false {
		t.Errorf("got %+v", all)
	}
	logo := toy.Resources["logo-svg"]
	if a := h.jupyter(200, "GET", logo, "", nil); a.Header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
		t.Errorf("without other origins: got the logo with %v", a.Header)
	}
	if a := h.jupyter(200, "GET", logo, "", nil); !strings.HasPrefix(logo, "/jupyter/") || string(a.body) != "<svg/>" || a.Header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(a.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the logo at %s: got %s with %v", logo, a.body, a.Header)
	}
	h.jupyter(200, "GET", "/api/kernelspecs/toy", "", &toy)
	h.jupyter(404, "GET", "/api/kernelspecs/nope", "", nil)
	h.jupyter(404, "GET", "/kernelspecs/toy/kernel.json", "", nil)
}

func TestATemplateOffersItsKernelspecs(t *testing.T) {
	h := newJupyter(t, nil)
	templates := toyTemplates{{Name: "small", Image: "toy"}, {Name: "large", Image: "toy", Limits: cellhold.Limits{Memory: 1 << 27}}}
	h = newHarnessWith(t, func(o *registry.Options) {
		img, err := h.manager.Image("")
		if err != nil {
			t.Fatal(err)
		}
		o.Images, o.Templates = folderImages{img.Rootfs}, templates
	}, nil)
	var k jupyterKernel
	if h.jupyter(201, "POST", "/api/kernels", `{"name":"large.toy"}`, &k); k.Name != "large.toy" {
		t.Errorf("got %+v, want the name large.toy", k)
	}
	if s := h.manager.List("ann")[0]; s.Template != "large" || s.Kernels[0].Spec != "toy" || s.Limits.Memory != 1<<27 {
		t.Errorf("got %+v, want a session of the template large", s)
	}
}

func TestOtherRoutesOfJupyterAnswer(t *testing.T) {
	h := newJupyter(t, nil)
	for _, prefix := range []string{"", "/jupyter"} {
		req := h.request("GET", prefix+"/api", "")
		req.Header.Del("Authorization")
		var v struct{ Version string }
		if h.send(req).decode(t, &v); v.Version != "2.21.1" {
			t.Errorf("%s/api: got %+v, want a version without a token", prefix, v)
		}
		var me struct {
			Identity struct{ Username, Initials string }
		}
		if h.jupyter(200, "GET", prefix+"/api/me", "", &me); me.Identity.Username != "ann" || me.Identity.Initials != "A" {
			t.Errorf("got %+v, want ann", me)
		}
		if a := h.jupyter(200, "GET", prefix+"/api/terminals", "", nil); string(a.body) != "[]\n" {
			t.Errorf("got the terminals %s, want none", a.body)
		}
		h.jupyter(200, "GET", prefix+"/tree", "", nil)
		h.jupyter(404, "GET", prefix+"/api/contents/a.ipynb", "", nil)
		h.jupyter(404, "GET", prefix+"/api/nope", "", nil)
		var status struct {
			Started     string
			Kernels     *int
			Connections *int
		}
		if h.jupyter(200, "GET", prefix+"/api/status", "", &status); status.Kernels == nil || status.Connections == nil || status.Started == "" {
			t.Errorf("got the status %+v", status)
		}
	}
}

func TestATokenInTheQueryIsForJupyterOnly(t *testing.T) {
	h := newJupyter(t, nil)
	for path, status := range map[string]int{
		"/api/kernels?token=" + annToken: 200, "/jupyter/api/kernels?token=" + annToken: 200, "/api/kernels?token=x": 403, "/api/kernels?token=" + annToken + "&token=" + annToken: 403,
		"/v1/sessions?token=" + annToken: 401, "/api/kernels?token=": 403,
	} {
		req := h.request("GET", path, "")
		req.Header.Del("Authorization")
		if a := h.send(req); a.StatusCode != status {
			t.Errorf("%.40s: got status %d with %s, want %d", path, a.StatusCode, a.body, status)
		}
	}
	req := h.request("GET", "/api/kernels?token="+annToken, "")
	req.Header.Set("Authorization", "Bearer wrong")
	if a := h.send(req); a.StatusCode != 403 {
		t.Errorf("a wrong token in the header: got status %d, want 403", a.StatusCode)
	}
	if strings.Contains(h.log.String(), annToken) {
		t.Error("the log has a token")
	}
}

func TestATokenInThePathNeedsASettingAndIsNeverLogged(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		h := newJupyter(t, func(o *Options) { o.JupyterPathToken = allowed })
		for _, path := range []string{"/jupyter/t/" + annToken + "/api/kernels", "/jupyter//t/" + annToken + "/api/kernels", "/jupyter/%74/" + annToken + "/api/kernels?x=1"} {
			req := h.request("GET", path, "")
			req.Header.Set("Authorization", "token ") // as gateway clients without a token do
			if a := h.send(req); (a.StatusCode == 200) != allowed {
				t.Errorf("allowed %t, %s: got status %d with %s", allowed, path, a.StatusCode, a.body)
			}
		}
		for _, path := range []string{"/jupyter/t/" + annToken, "/jupyter/t/" + annToken + "/../../nowhere", "/jupyter/t/" + annToken + "/nowhere", "/jupyter/t/" + bobToken + "x/api/kernels"} {
			req := h.request("GET", path, "")
			req.Header.Del("Authorization")
			if a := h.send(req); a.StatusCode == 200 || strings.Contains(fmt.Sprint(a.Header, string(a.body)), annToken) {
				t.Errorf("allowed %t, %s: got status %d with %v %s, want an error without the token", allowed, path, a.StatusCode, a.Header, a.body)
			}
		}
		if log := h.log.String(); strings.Contains(log, annToken) || strings.Contains(log, bobToken) {
			t.Errorf("allowed %t: the log has a token:\n%s", allowed, log)
		}
	}
}

func TestPagesOfConfiguredOriginsCanReadAnswersOfJupyter(t *testing.T) {
	h := newJupyter(t, func(o *Options) { o.Origins = []string{"https://notes.example"} })
	for _, prefix := range []string{"", "/jupyter"} {
		req := h.request("OPTIONS", prefix+"/api/kernels", "")
		req.Header.Del("Authorization")
		req.Header.Set("Origin", "https://notes.example")
		req.Header.Set("Access-Control-Request-Method", "POST")
		a := h.send(req)
		if a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Origin") != "https://notes.example" || !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), "authorization") || !strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), "PATCH") {
			t.Errorf("preflight: got status %d with %v", a.StatusCode, a.Header)
		}
		req.Header.Set("Origin", "https://evil.example")
		if a := h.send(req); a.StatusCode != 403 || a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight of another origin: got status %d with %v", a.StatusCode, a.Header)
		}
		get := h.request("GET", prefix+"/api/kernels", "")
		get.Header.Set("Origin", "https://notes.example")
		if a := h.send(get); a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Origin") != "https://notes.example" {
			t.Errorf("got status %d with %v", a.StatusCode, a.Header)
		}
		logo := h.jupyter(200, "GET", prefix+"/kernelspecs/toy/logo-svg.svg", "", nil)
		if got := logo.Header.Get("Cross-Origin-Resource-Policy"); got != "cross-origin" {
			t.Errorf("a logo: got the policy %q, want cross-origin", got)
		}
		get.Header.Set("Origin", h.url)
		if a := h.send(get); a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("the own origin: got status %d with %v", a.StatusCode, a.Header)
		}
	}
}

func TestAWebSocketIsRefusedBeforeTheUpgrade(t *testing.T) {
	h := newJupyter(t, nil)
	var k jupyterKernel
	h.jupyter(201, "POST", "/api/kernels", "", &k)
	for _, c := range []struct {
		name, kernel, query, authorization string
		status                             int
	}{
		{"no token", k.ID, "", "", 403}, {"another caller", k.ID, "", "token " + bobToken, 404}, {"an unknown kernel", "x", "", "token " + annToken, 404},
		{"a long session_id", k.ID, "?session_id=" + strings.Repeat("x", 300), "token " + annToken, 400},
	} {
		req := h.request("GET", "/api/kernels/"+c.kernel+"/channels"+c.query, "")
		req.Header.Set("Authorization", c.authorization)
		if c.authorization == "" {
			req.Header.Del("Authorization")
		}
		for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
			req.Header.Set(name, value)
		}
		if a := h.send(req); a.StatusCode != c.status {
			t.Errorf("%s: got status %d with %s, want %d", c.name, a.StatusCode, a.body, c.status)
		}
	}
	if a := h.send(h.request(http.MethodGet, "/api/kernels/"+k.ID+"/channels", "")); a.StatusCode != 400 {
		t.Errorf("no upgrade: got status %d with %s, want 400", a.StatusCode, a.body)
	}
}

// toyTemplates are templates without snapshots.
type toyTemplates []cellhold.Template

func (l toyTemplates) List() []cellhold.Template { return l }

func (l toyTemplates) Find(name string) (cellhold.Template, error) {
	for _, t := range l {
		if t.Name == name || name == "" {
			return t, nil
		}
	}
	return cellhold.Template{}, cellhold.Errorf(cellhold.NotFound, "Template %q not found.", name)
}

func (toyTemplates) Start(string, sandbox.Spec, bool) (string, []cellhold.Package) { return "", nil }

func (toyTemplates) PrimedClient(sandbox.ID) (*guest.Client, guestapi.Info) {
	return nil, guestapi.Info{}
}

func (toyTemplates) Failed(string, error) {}
