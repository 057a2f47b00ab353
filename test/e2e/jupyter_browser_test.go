package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// notebookCells are the cells of the notebook. test/clients/jupyter_browser.mjs runs them by their place.
var notebookCells = []string{
	"%pip install -q ipywidgets",
	"import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()",
	"import ipywidgets as widgets\nfrom IPython.display import display\nslider = widgets.IntSlider(value=3, max=9)\ndisplay(slider)",
	"print('slider', slider.value)",
	"widgets.interact(lambda n: print('square', n * n), n=widgets.IntSlider(value=2, max=5));",
	"name = input('name? ')\nprint('hello', name)",
	"display(widgets.Image(value=bytes(range(256))))\nprint('after the picture')",
	"upload = widgets.FileUpload()\ndisplay(upload)",
	"print('uploaded', bytes(upload.value[0].content))",
	"import time\nprint('sleeping', flush=True)\ntime.sleep(600)",
	"ticks = 0\nprint('ticking', flush=True)\nwhile True:\n    ticks += 1\n    time.sleep(0.1)",
	"print('ticks', ticks > 0, 'name' in globals())",
	"print('new', 'name' not in globals())",
	"import os\nos._exit(1)",
}

// jupyterLab starts JupyterLab with a server as its gateway, and returns the URL of a notebook in a folder.
func jupyterLab(t *testing.T, s *server, folder, notebook string) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0") // JupyterLab cannot tell a port that it chooses
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	cmd := exec.Command(absolute(t, "build/clientvenv/bin/jupyter"), "lab", "--gateway-url="+s.url+"/jupyter", "--no-browser", "--allow-root",
		"--ServerApp.root_dir="+folder, fmt.Sprintf("--ServerApp.port=%d", port), "--ServerApp.port_retries=0", "--IdentityProvider.token=local",
		"--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate")
	cmd.Env = append(os.Environ(), "HOME="+folder, "JUPYTER_GATEWAY_AUTH_TOKEN="+s.token)
	out, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	log, ready, ended := &strings.Builder{}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Fprintln(log, lines.Text())
			if strings.Contains(lines.Text(), "is running at") {
				close(ready)
			}
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Logf("log of JupyterLab:\n%s", log)
		}
	})
	select {
	case <-ready:
	case <-ended:
		t.Fatal("JupyterLab did not start")
	}
	return fmt.Sprintf("http://127.0.0.1:%d/lab/tree/%s?token=local", port, notebook)
}

func TestJupyterLabInABrowserRunsANotebookWithPlotsAndWidgets(t *testing.T) {
	t.Parallel()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v; run: make needs-test", err)
	}
	folder := t.TempDir()
	cells := []map[string]any{}
	for i, code := range notebookCells {
		cells = append(cells, map[string]any{"cell_type": "code", "id": fmt.Sprint("c", i), "source": code, "metadata": map[string]any{}, "outputs": []any{}, "execution_count": nil})
	}
	text, err := json.Marshal(map[string]any{"nbformat": 4, "nbformat_minor": 5, "cells": cells,
		"metadata": map[string]any{"kernelspec": map[string]string{"name": "python3", "display_name": "Python 3", "language": "python"}}})
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "story.ipynb"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, newHome(t), "--package-folder", absolute(t, "build/wheels"), "--package-offline")
	url := jupyterLab(t, s, folder, "story.ipynb")
	client := clientProgram{[]string{"node", "--input-type=module", "-"}, absolute(t, "test/clients/jupyter_browser.mjs")}
	if d := os.Getenv("DEBUG_STORY"); d != "" {
		client.file = d
	}
	out, err := client.run(t, url, browser)
	t.Log(out)
	if err != nil {
		t.Fatal(err)
	}
}
