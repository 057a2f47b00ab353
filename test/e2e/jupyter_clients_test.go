package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The published clients of Jupyter use a server as they use any Jupyter server. Each program tells its story in
// test/clients, and prints its steps.
func TestClientsOfJupyterUseTheServer(t *testing.T) {
	t.Parallel()
	python, node := []string{absolute(t, "build/clientvenv/bin/python"), "-"}, []string{"node", "--input-type=module", "-"}
	for _, c := range []struct {
		name     string
		flags    []string
		client   clientProgram
		protocol string
		steps    int
	}{
		{"JupyterLab's client", nil, clientProgram{node, absolute(t, "test/clients/jupyter_lab.mjs")}, "v1.kernel.websocket.jupyter.org", 14},
		{"JupyterLab's client with the older form", []string{"--jupyter-older-form"}, clientProgram{node, absolute(t, "test/clients/jupyter_lab.mjs")}, "", 14},
		{"JupyterLab's file browser", nil, clientProgram{node, absolute(t, "test/clients/jupyter_contents.mjs")}, "", 10},
		{"programs with nbformat", nil, clientProgram{python, absolute(t, "test/clients/jupyter_contents.py")}, "", 3},
		{"gateway clients", []string{"--jupyter-path-token"}, clientProgram{python, absolute(t, "test/clients/jupyter_gateway.py")}, "", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, newHome(t), slices.Clone(c.flags)...)
			args := []string{s.url + "/jupyter/", s.token, c.protocol}
			switch filepath.Base(c.client.file) {
			case "jupyter_gateway.py":
				args = []string{s.url + "/jupyter", s.token, s.url + "/jupyter/t/" + s.token}
			case "jupyter_contents.mjs":
				args = args[:2]
			case "jupyter_contents.py":
				args = []string{s.url, s.token}
			}
			out, err := c.client.run(t, args...)
			if steps := strings.Split(out, "\n"); err != nil || len(steps) != c.steps {
				t.Errorf("the client: got %v and %d steps:\n%s\nwant %d steps", err, len(steps), out, c.steps)
			}
		})
	}
}
