package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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
	"print('again', 6 * 7)",
}

// jupyterLab starts JupyterLab with a server as its gateway, and returns its URL. Its files are those of a folder.
func jupyterLab(t *testing.T, s *server, folder string) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0") // JupyterLab cannot tell a port that it chooses
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	cmd := exec.CommandContext(ctx, absolute(t, "build/clientvenv/bin/python"), "-m", "jupyterlab", "--gateway-url="+s.url+"/jupyter", "--no-browser", "--allow-root",
		"--ServerApp.root_dir="+folder, fmt.Sprint("--ServerApp.port=", port), "--ServerApp.port_retries=0", "--IdentityProvider.token=local", "--LabApp.news_url=")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "JUPYTER_GATEWAY_AUTH_TOKEN="+s.token)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	out, in := io.Pipe()
	cmd.Stderr = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log, ready, ended := &strings.Builder{}, make(chan struct{}), make(chan struct{})
	go func() {
		_ = cmd.Wait()
		in.Close()
	}()
	go func() {
		defer close(ended)
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			log.WriteString(line)
			if strings.Contains(line, "is running at") {
				close(ready)
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
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
	return fmt.Sprintf("http://127.0.0.1:%d/lab/tree/story.ipynb?token=local", port)
}

// writeNotebook writes a notebook without outputs.
func writeNotebook(t *testing.T, file string, codes []string) {
	t.Helper()
	cells := []map[string]any{}
	for i, code := range codes {
		cells = append(cells, map[string]any{"cell_type": "code", "id": fmt.Sprint("c", i), "source": code, "metadata": map[string]any{}, "outputs": []any{}, "execution_count": nil})
	}
	text, err := json.Marshal(map[string]any{"nbformat": 4, "nbformat_minor": 5, "cells": cells,
		"metadata": map[string]any{"kernelspec": map[string]string{"name": "python3", "display_name": "Python 3", "language": "python"}}})
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// JupyterLab runs in a browser, with a server as its gateway. The saved notebook has the outputs.
func TestJupyterLabInABrowserRunsANotebookWithPlotsAndWidgets(t *testing.T) {
	t.Parallel()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v; run: make needs-test", err)
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "story.ipynb")
	writeNotebook(t, file, notebookCells)
	s := serve(t, newHome(t), "--package-folder", absolute(t, "build/wheels"), "--package-offline")
	client := clientProgram{[]string{"node", "--input-type=module", "-"}, absolute(t, "test/clients/jupyter_browser.mjs")}
	out, err := client.run(t, jupyterLab(t, s, folder), browser)
	if steps := strings.Split(out, "\n"); err != nil || len(steps) != 10 {
		t.Fatalf("the browser: got %v and %d steps:\n%s\nwant 10 steps", err, len(steps), out)
	}
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"image/png"`, "slider 7", "hello Ada", "after the picture", "KeyboardInterrupt", "ticks True True", "new True"} {
		if !strings.Contains(string(saved), want) {
			t.Errorf("the saved notebook does not have %s:\n%s", want, saved)
		}
	}
}
