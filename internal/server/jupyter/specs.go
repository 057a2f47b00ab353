package jupyter

import (
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"

	"cellhold"
	"cellhold/internal/server/jupyter/specs"
	"cellhold/internal/session"
)

// maxImages is the maximum number of images whose kernelspecs are kept.
const maxImages = 64

// specCache keeps the kernelspecs of images. Clients ask every few seconds, and images do not change.
type specCache struct {
	mu     sync.Mutex
	byRoot map[string][]specs.Spec
}

// read returns the kernelspecs of an image.
func (c *specCache) read(img session.Image) ([]specs.Spec, error) {
	key := img.Digest + " " + img.Rootfs
	c.mu.Lock()
	defer c.mu.Unlock()
	if list, ok := c.byRoot[key]; ok {
		return list, nil
	}
	list, err := specs.Read(img.Rootfs)
	if err != nil {
		return nil, err
	}
	if c.byRoot == nil || len(c.byRoot) >= maxImages {
		c.byRoot = map[string][]specs.Spec{}
	}
	c.byRoot[key] = list
	return list, nil
}

// offer is a kernelspec that clients can choose: a kernelspec of the image of a template. The offers of the default
// template have the names of the kernelspecs. For other templates, the template's name and a dot come first.
type offer struct {
	name     string
	template string // empty: the server has no templates
	image    session.Image
	spec     specs.Spec
}

// offers returns the kernelspecs that clients can choose, and the name of the default.
func (s *Server) offers() (list []offer, standard string, err error) {
	templates := s.Sessions.Templates()
	if len(templates) == 0 {
		templates = []cellhold.Template{{}}
	}
	for i, t := range templates {
		img, rerr := s.Sessions.Image(t.Image)
		var found []specs.Spec
		if rerr == nil {
			found, rerr = s.specs.read(img)
		}
		if rerr != nil { // sessions of other templates can start
			err = errors.Join(err, rerr)
			continue
		}
		for _, spec := range found {
			o := offer{name: spec.Name, template: t.Name, image: img, spec: spec}
			if i > 0 {
				o.name = t.Name + "." + spec.Name
			}
			list = append(list, o)
		}
	}
	if len(list) == 0 {
		return nil, "", cellhold.Wrap(cellhold.Unavailable, err, "No image of this server has a kernelspec. `cellhold doctor` checks the images.")
	}
	standard = list[0].name
	if slices.ContainsFunc(list, func(o offer) bool { return o.name == s.Sessions.Kernel() }) {
		standard = s.Sessions.Kernel()
	}
	return list, standard, nil
}

// find returns the offer with a name. Empty means the default.
func (s *Server) find(name string) (offer, error) {
	list, standard, err := s.offers()
	if err != nil {
		return offer{}, err
	}
	if name == "" {
		name = standard
	}
	for _, o := range list {
		if o.name == name {
			return o, nil
		}
	}
	return offer{}, cellhold.Errorf(cellhold.NotFound, "No such kernel named %.100q. GET /api/kernelspecs lists the names.", name)
}

// nameOf returns the name of the offer that a client chose for a kernel.
func nameOf(list []offer, info cellhold.Session, k cellhold.Kernel) string {
	for _, o := range list {
		if o.template == info.Template && o.spec.Name == k.Spec {
			return o.name
		}
	}
	return k.Spec
}

// specModel is a kernelspec as Jupyter shows it.
type specModel struct {
	Name      string            `json:"name"`
	Spec      specDetails       `json:"spec"`
	Resources map[string]string `json:"resources"`
}

type specDetails struct {
	Argv          []string          `json:"argv"`
	Env           map[string]string `json:"env"`
	DisplayName   string            `json:"display_name"`
	Language      string            `json:"language"`
	InterruptMode string            `json:"interrupt_mode"`
	Metadata      map[string]any    `json:"metadata"`
}

// model returns a kernelspec as Jupyter shows it. No kernel has a debugger, whatever its kernelspec says.
func (o offer) model(prefix string) specModel {
	title := o.spec.DisplayName
	if o.name != o.spec.Name {
		title += " (" + o.template + ")"
	}
	m := specModel{Name: o.name, Resources: map[string]string{}, Spec: specDetails{Argv: o.spec.Argv, Env: map[string]string{}, DisplayName: title,
		Language: o.spec.Language, InterruptMode: o.spec.InterruptMode, Metadata: map[string]any{"debugger": false}}}
	if o.template != "" {
		m.Spec.Metadata["cellhold"] = map[string]string{"template": o.template}
	}
	for _, file := range o.spec.Logos {
		key, _, _ := strings.Cut(file, ".")
		m.Resources[key] = prefix + "/kernelspecs/" + o.name + "/" + file
	}
	return m
}

func (s *Server) listSpecs(w http.ResponseWriter, r *http.Request, _ string) error {
	list, standard, err := s.offers()
	if err != nil {
		return err
	}
	all := map[string]specModel{}
	for _, o := range list {
		all[o.name] = o.model(prefixOf(r))
	}
	write(w, http.StatusOK, map[string]any{"default": standard, "kernelspecs": all})
	return nil
}

func (s *Server) getSpec(w http.ResponseWriter, r *http.Request, _ string) error {
	o, err := s.find(r.PathValue("name"))
	if err != nil {
		return err
	}
	write(w, http.StatusOK, o.model(prefixOf(r)))
	return nil
}

// getLogo answers with a logo. An image is not trusted: the headers of all answers keep a browser from running scripts
// in it.
func (s *Server) getLogo(w http.ResponseWriter, r *http.Request, _ string) error {
	o, err := s.find(r.PathValue("name"))
	if err != nil {
		return err
	}
	file := r.PathValue("file")
	logo, err := specs.Logo(o.image.Rootfs, o.spec.Name, file)
	if errors.Is(err, fs.ErrNotExist) {
		return cellhold.Errorf(cellhold.NotFound, "The kernelspec has no file %.100q.", file)
	}
	if err != nil {
		return err
	}
	kind := "image/png"
	if strings.HasSuffix(file, ".svg") {
		kind = "image/svg+xml"
	}
	w.Header().Set("Content-Type", kind)
	if len(s.Origins) > 0 { // their pages show the logo in an element, which sends no origin
		w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
	}
	_, _ = w.Write(logo) // fails only if the client left
	return nil
}
