package e2b

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http"
	"path"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// codeContext is a kernel as E2B shows it.
type codeContext struct {
	ID       string `json:"id"`
	Language string `json:"language"`
	Dir      string `json:"cwd"`
}

const (
	python     = "python"
	javascript = "javascript"
)

// languages has E2B's names of languages by the names that callers use, in lower case.
var languages = map[string]string{"": python, "py": python, "python": python, "js": javascript, "javascript": javascript,
	"ts": "typescript", "typescript": "typescript", "sh": "bash", "bash": "bash", "r": "r"}

// languageOf returns E2B's name of a language.
func languageOf(name string) string {
	name = strings.ToLower(name)
	if known, ok := languages[name]; ok {
		return known
	}
	return name
}

// describeContext returns a kernel of a session as E2B shows it.
func describeContext(s cellhold.Session, k cellhold.Kernel) codeContext {
	language := k.Language
	if language == "" { // the kernel has not answered yet
		language = strings.TrimRight(k.Spec, "0123456789")
	}
	dir := k.Dir
	if dir == "" {
		dir = s.Dir
	}
	return codeContext{ID: string(k.ID), Language: languageOf(language), Dir: dir}
}

// defaultKernel returns the default kernel of a language. The first kernel is the default of its language. Other default
// kernels have the name of their kernelspec.
func defaultKernel(s cellhold.Session, language string) (id cellhold.KernelID, started bool) {
	for i, k := range s.Kernels {
		isDefault := i == 0 || string(k.ID) == k.Spec
		if isDefault && (describeContext(s, k).Language == languageOf(language) || strings.EqualFold(k.Spec, language)) {
			return k.ID, true
		}
	}
	return "", false
}

// newContextID returns an id that is no name of a kernelspec, so that no default kernel has it.
func newContextID() cellhold.KernelID {
	return cellhold.KernelID("context-" + strings.ToLower(rand.Text()[:16]))
}

// contexts lists the kernels. The clients expect a context for JavaScript, whose kernel starts at its first use.
func (d *door) contexts(w http.ResponseWriter, r *http.Request, s *session.Session) {
	a, leave, err := s.Enter(r.Context())
	if err != nil {
		d.failText(w, r, err)
		return
	}
	defer leave()
	specs, err := a.Specs(r.Context())
	if err != nil {
		d.failText(w, r, err)
		return
	}
	info, list := s.Info(), []codeContext{}
	for _, k := range info.Kernels {
		list = append(list, describeContext(info, k))
	}
	_, started := defaultKernel(info, javascript)
	if spec, ok := findSpec(specs, javascript); ok && !started {
		list = slices.Insert(list, 0, codeContext{ID: spec.Name, Language: javascript, Dir: info.Dir})
	}
	exchange.WriteJSON(w, http.StatusOK, "application/json", list)
}

// findSpec returns the kernelspec of a language, which is named by the language or by the kernelspec.
func findSpec(specs []cellhold.KernelSpec, language string) (cellhold.KernelSpec, bool) {
	want := languageOf(language)
	for _, spec := range specs {
		if languageOf(spec.Language) == want || strings.EqualFold(spec.Name, language) {
			return spec, true
		}
	}
	return cellhold.KernelSpec{}, false
}

func (d *door) createContext(w http.ResponseWriter, r *http.Request, s *session.Session) {
	var q struct {
		Language string `json:"language"`
		Dir      string `json:"cwd"`
	}
	if err := exchange.DecodeJSON(r, &q); err != nil {
		d.failText(w, r, err)
		return
	}
	ctx, cancel := acting(r)
	defer cancel()
	dir := absolute(q.Dir, s.Info())
	k, err := d.addKernel(ctx, s, q.Language, dir, newContextID())
	if err != nil {
		d.failText(w, r, err)
		return
	}
	shown := describeContext(s.Info(), k)
	shown.Dir = cmp.Or(dir, shown.Dir) // as E2B, also if the kernel could not start there
	exchange.WriteJSON(w, http.StatusOK, "application/json", shown)
}

// absolute returns the directory that a client means. Relative ones begin at the directory of the session.
func absolute(dir string, s cellhold.Session) string {
	switch {
	case dir == "":
		return ""
	case dir == "~", strings.HasPrefix(dir, "~/"):
		return path.Join(home, dir[1:])
	case path.IsAbs(dir):
		return path.Clean(dir)
	}
	return path.Join(cmp.Or(s.Dir, workspace), dir)
}

// workspace is the working directory of sessions that have no other one.
const workspace = "/workspace"

// addKernel starts a kernel for a language. A directory that the user cannot enter is no error for E2B, so the kernel
// then starts in that of the session.
func (d *door) addKernel(ctx context.Context, s *session.Session, language, dir string, id cellhold.KernelID) (cellhold.Kernel, error) {
	a, leave, err := s.Enter(ctx)
	if err != nil {
		return cellhold.Kernel{}, err
	}
	specs, err := a.Specs(ctx)
	if err == nil && dir != "" {
		if _, _, derr := a.ListDir(ctx, dir, "", 1); derr != nil {
			dir = ""
		}
	}
	leave()
	if err != nil {
		return cellhold.Kernel{}, err
	}
	spec, ok := findSpec(specs, language)
	if !ok {
		return cellhold.Kernel{}, cellhold.Errorf(cellhold.Invalid, "Unsupported language %.40q: the image of the sandbox has no kernel for it.", language)
	}
	q := attachment.KernelRequest{Spec: spec.Name, ID: id, Dir: dir}
	if spec.Name == attachment.PythonSpec {
		q.Startup = pythonStartup
	}
	return s.AddKernel(ctx, q)
}

// kernelFor returns the default kernel of a language, and starts it if there is none. The first kernel is the default
// of its language. Other default kernels have the name of their kernelspec.
func (d *door) kernelFor(ctx context.Context, s *session.Session, language string) (cellhold.KernelID, error) {
	leave, err := d.inTurn.Hold(ctx, "start "+string(s.ID())+" "+languageOf(language))
	if err != nil {
		return "", err
	}
	defer leave()
	info := s.Info()
	if language == "" && len(info.Kernels) > 0 {
		return info.Kernels[0].ID, nil
	}
	if id, started := defaultKernel(info, language); started {
		return id, nil
	}
	a, leaveSandbox, err := s.Enter(ctx)
	if err != nil {
		return "", err
	}
	specs, err := a.Specs(ctx)
	leaveSandbox()
	if err != nil {
		return "", err
	}
	spec, ok := findSpec(specs, language)
	if !ok {
		return "", cellhold.Errorf(cellhold.Invalid, "Unsupported language %.40q: the image of the sandbox has no kernel for it.", language)
	}
	if i := slices.IndexFunc(info.Kernels, func(k cellhold.Kernel) bool { return string(k.ID) == spec.Name && k.Spec == spec.Name }); i >= 0 {
		return info.Kernels[i].ID, nil
	}
	k, err := d.addKernel(ctx, s, spec.Name, "", cellhold.KernelID(spec.Name))
	return k.ID, err
}

// revive restarts a kernel that has died, as E2B does. If several requests come together, only the first one restarts
// it: another restart would end the code of the first request. If the sandbox has ended too, revive returns an error,
// because a new sandbox would have lost the files.
func (d *door) revive(ctx context.Context, s *session.Session, id cellhold.KernelID) error {
	if !isDead(s, id) {
		return nil
	}
	leave, err := d.inTurn.Hold(ctx, "restart "+string(s.ID())+" "+string(id))
	if err != nil {
		return err
	}
	defer leave()
	if !isDead(s, id) {
		return nil
	}
	_, leaveSandbox, err := s.Enter(ctx)
	if err != nil {
		return err
	}
	leaveSandbox()
	return s.Restart(ctx, id)
}

func isDead(s *session.Session, id cellhold.KernelID) bool {
	return slices.ContainsFunc(s.Info().Kernels, func(k cellhold.Kernel) bool { return k.ID == id && k.State == cellhold.KernelDead })
}

// contextKernel returns the kernel of a context.
func (d *door) contextKernel(ctx context.Context, s *session.Session, id string) (cellhold.KernelID, error) {
	for _, k := range s.Info().Kernels {
		if string(k.ID) == id {
			return k.ID, nil
		}
	}
	a, leave, err := s.Enter(ctx)
	if err != nil {
		return "", err
	}
	specs, err := a.Specs(ctx)
	leave()
	if err != nil {
		return "", err
	}
	if spec, ok := findSpec(specs, javascript); ok && spec.Name == id { // listed, and not started yet
		return d.kernelFor(ctx, s, javascript)
	}
	return "", cellhold.Errorf(cellhold.NotFound, "Context %.100s not found", id)
}

func (d *door) restartContext(w http.ResponseWriter, r *http.Request, s *session.Session) {
	ctx, cancel := acting(r)
	defer cancel()
	id, err := d.contextKernel(ctx, s, r.PathValue("id"))
	if err == nil {
		err = s.Restart(ctx, id)
	}
	if err != nil {
		d.failText(w, r, err)
		return
	}
	exchange.WriteJSON(w, http.StatusOK, "application/json", struct{}{})
}

func (d *door) removeContext(w http.ResponseWriter, r *http.Request, s *session.Session) {
	ctx, cancel := acting(r)
	defer cancel()
	id, err := d.contextKernel(ctx, s, r.PathValue("id"))
	if err == nil {
		err = s.RemoveKernel(ctx, id)
	}
	if err != nil {
		d.failText(w, r, err)
		return
	}
	exchange.WriteJSON(w, http.StatusOK, "application/json", struct{}{})
}
