package engine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// TestTheServiceRunsInAContainer builds the image once and runs its stories one after the other: they share the port.
func TestTheServiceRunsInAContainer(t *testing.T) {
	d := startDocker(t)
	d.build(t)
	t.Run("with the fewest rights it has all limits, and a restart keeps what is saved", d.keepsItsPromises)
	t.Run("clients of the article need no token", d.servesTheArticlesClient)
	t.Run("each missing right is named at the start", d.namesMissingRights)
	t.Run("as a plain user it says what it cannot limit", d.runsAsAPlainUser)
}

// execute runs code in a session, and returns the ended cell.
func execute(t *testing.T, c *client.Client, id cellhold.SessionID, code string) cellhold.Cell {
	t.Helper()
	cell, err := c.Execute(t.Context(), id, client.Code{Code: code})
	if err != nil {
		t.Fatalf("%s: %v", code, err)
	}
	return cell
}

func (d *docker) keepsItsPromises(t *testing.T) {
	const name = "promises"
	d.start(t, name, append(least(t), "--memory", "4g", "--pids-limit", "4096")...)
	for line := range strings.Lines(d.do(t, "top", name, "-eo", "pid,uid,comm")) {
		if f := strings.Fields(line); f[0] != "PID" && f[1] != "1000" {
			t.Errorf("got a process of uid %s, want only those of uid 1000: %s", f[1], line)
		}
	}
	pid := strings.TrimSpace(d.do(t, "inspect", "--format", "{{.State.Pid}}", name))
	rights, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(string(rights), want) {
			t.Errorf("the server: got %s, want %q", rights, want)
		}
	}
	if log := d.do(t, "logs", name); strings.Contains(log, "level=WARN") {
		t.Errorf("got a warning at the start, want none:\n%s", log)
	}

	token := d.token(t, name)
	c := d.client(t, token)
	kept, err := c.CreateSession(t.Context(), client.CreateSession{User: "kept"})
	if err != nil {
		t.Fatal(err)
	}
	execute(t, c, kept.ID, "import pandas as pd; x = int(pd.Series([40, 2]).sum())")
	if _, err := c.Hibernate(t.Context(), kept.ID); err != nil {
		t.Fatal(err)
	}
	big, err := c.CreateSession(t.Context(), client.CreateSession{})
	if err != nil {
		t.Fatal(err)
	}
	if cell := execute(t, c, big.ID, "b = bytearray(3 * 10**9)"); cell.Status != "oom" {
		t.Errorf("a cell with 3 GB: got the status %q, want oom", cell.Status)
	}

	d.do(t, "exec", name, "/usr/bin/cellhold", "health")
	began := time.Now()
	d.do(t, "restart", name)
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("a restart took %s, want less than the 10 s after which Docker kills", took)
	}
	d.ready(t, name)
	if d.token(t, name) != token {
		t.Error("the token changed by the restart")
	}
	c = d.client(t, token)
	cells, err := c.Cells(t.Context(), kept.ID)
	if err != nil || len(cells) != 1 {
		t.Errorf("the journal after the restart: got %d cells, %v; want 1", len(cells), err)
	}
	if cell := execute(t, c, kept.ID, "assert x == 42"); cell.Status != "ok" {
		t.Errorf("the variable of a hibernated session after the restart: got the status %q, want ok", cell.Status)
	}
	books, err := filepath.Glob(filepath.Join(d.dir, "host/jupyter_sessions/kept-*.ipynb"))
	if err != nil || len(books) != 1 {
		t.Errorf("the notebooks in the volume: got %v, %v; want one", books, err)
	}
}

func (d *docker) servesTheArticlesClient(t *testing.T) {
	const name = "article"
	d.start(t, name, append(least(t), "--env", "CELLHOLD_AUTH=off", "--env", "CELLHOLD_TRUST_GATEWAY=true")...)
	python, err := filepath.Abs("../../build/clientvenv/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := os.ReadFile(filepath.Join(d.dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "nsenter", "--target", strings.TrimSpace(string(pid)), "--net", python, "../clients/article.py").CombinedOutput()
	for _, want := range []string{"Session started successfully", "x = 42", "'output': '43'"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("the article's client: got %v\n%s\nwant %q", err, out, want)
		}
	}
	at := strings.TrimSpace(d.do(t, "inspect", "--format", "{{.NetworkSettings.IPAddress}}", name))
	other, err := d.run(t, nil, "run", "--rm", base, "wget", "-q", "-O", "-", "http://"+at+":5000/v1/health")
	if err == nil || !strings.Contains(other, "403") {
		t.Errorf("another container: got %v, %s; want 403", err, other)
	}
}

func (d *docker) namesMissingRights(t *testing.T) {
	all := least(t)
	without := func(words ...string) []string {
		text := strings.Join(all, "\n")
		for _, w := range words {
			text = strings.Replace(text, w, "", 1)
		}
		return strings.Fields(text)
	}
	for want, flags := range map[string][]string{
		"add --cap-add SYS_ADMIN --cgroupns=private --security-opt seccomp=seccomp.json to docker run": nil,
		"add --cap-add SYS_ADMIN to docker run":                                                        without("--cap-add\nSYS_ADMIN\n"),
		"add --cap-add SETPCAP to docker run":                                                          without("--cap-add\nSETPCAP\n"),
		"add --cgroupns=private to docker run":                                                         without("--cgroupns=private\n"),
		"add --security-opt seccomp=seccomp.json to docker run":                                        without(all[len(all)-7] + "\n" + all[len(all)-6] + "\n"),
		"/mnt/jupyter_sessions: permission denied; give a folder with --notebooks":                     append(without(), "--user", "1001", "--tmpfs", "/var/lib/cellhold:uid=1001,exec"),
	} {
		out, err := d.run(t, nil, append(append([]string{"run", "--rm", images(t), "--volume=" + d.dir + "/host/jupyter_sessions:/mnt/jupyter_sessions"}, flags...), service)...)
		if err == nil || !strings.Contains(out, want) || strings.Count(strings.TrimSpace(out), "\n") > 0 {
			t.Errorf("with %v: got %v\n%s\nwant one line with %q", flags, err, out, want)
		}
	}
}

func (d *docker) runsAsAPlainUser(t *testing.T) {
	const name = "plain"
	all := least(t)
	profile := all[len(all)-6]
	d.start(t, name, "--user", "1000", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--security-opt", profile)
	c := d.client(t, d.token(t, name))
	s, err := c.CreateSession(t.Context(), client.CreateSession{})
	if err != nil {
		t.Fatal(err)
	}
	if cell := execute(t, c, s.ID, "6 * 7"); cell.Status != "ok" {
		t.Errorf("got the status %q, want ok", cell.Status)
	}
	log := d.do(t, "logs", name)
	for _, want := range []string{"memory limit of a sandbox is not enforced", "CPU limit of a sandbox is not enforced"} {
		if !strings.Contains(log, want) {
			t.Errorf("got the log\n%s\nwant %q", log, want)
		}
	}
}
