package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"cellhold/client"
)

// ask sends a request without the Go client, and returns the status and the JSON answer.
func (s *server) ask(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(raw, &answer); err != nil {
		t.Fatalf("%s: %v: %s", path, err, raw)
	}
	return res.StatusCode, answer
}

func TestLimitsAreBytesOrSizesAsInFlags(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	status, x := s.ask(t, "POST", "/v1/sessions", `{"limits": {"memory": "512MiB", "disk": "64M", "tmp": 1048576, "output": "1.5 MiB"}}`)
	want := map[string]float64{"memory": 512 << 20, "disk": 64 << 20, "tmp": 1 << 20, "output": 3 << 19}
	limits, _ := x["limits"].(map[string]any)
	for name, bytes := range want {
		if limits[name] != bytes {
			t.Errorf("%d: limits.%s is %v, want %v", status, name, limits[name], bytes)
		}
	}
	for body, reason := range map[string]string{
		`{"limits": {"memory": "2 parsecs"}}`: "such as 512MiB or 2GiB",
		`{"limits": {"memory": "-1GiB"}}`:     "such as 512MiB or 2GiB",
		`{"limits": {"memory": "1TiB"}}`:      "Invalid limit memory",
		`{"limits": {"memory": true}}`:        "memory",
		`{"limits": {"memory": -1}}`:          "memory",
		`{"limits": {"memry": "1GiB"}}`:       "memry",
	} {
		status, answer := s.ask(t, "POST", "/v1/sessions", body)
		if status < 400 || status > 422 || !strings.Contains(fmt.Sprint(answer), reason) {
			t.Errorf("%s: got %d %v, want %q", body, status, answer, reason)
		}
	}
}

func TestAWaitThatEndsBeforeItsCellSetsWaitOver(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	cells := "/v1/sessions/" + string(id) + "/cells"
	status, c := s.ask(t, "POST", cells+"?wait=100ms", `{"code": "import time, os\nwhile not os.path.exists('go'): time.sleep(0.05)"}`)
	if status != http.StatusAccepted || c["wait_over"] != true || c["state"] == "done" {
		t.Errorf("before the end of the cell: %d, %v; want 202, wait_over true, state queued or running", status, c)
	}
	cell := cells + "/" + c["id"].(string)
	if status, c = s.ask(t, "GET", cell+"?wait=100ms", ""); status != http.StatusAccepted || c["wait_over"] != true {
		t.Errorf("the second wait: %d, %v; want 202, wait_over true", status, c)
	}
	if status, c = s.ask(t, "GET", cell, ""); status != http.StatusOK || c["wait_over"] != nil {
		t.Errorf("without wait: %d, %v; want 200 without wait_over", status, c)
	}
	if err := s.MakeDir(t.Context(), id, "go"); err != nil {
		t.Fatal(err)
	}
	if status, c = s.ask(t, "GET", cell+"?wait=30s", ""); status != http.StatusOK || c["wait_over"] != nil || c["status"] != "ok" {
		t.Errorf("when it is done: %d, %v; want 200 without wait_over, status ok", status, c)
	}
	if status, c = s.ask(t, "POST", cells+"?wait=30s", `{"code": "1"}`); status != http.StatusOK || c["wait_over"] != nil {
		t.Errorf("a short cell: %d, %v; want 200 without wait_over", status, c)
	}
}

func TestAWaitThatEndsBeforeItsCommandSetsWaitOver(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	commands := "/v1/sessions/" + string(id) + "/commands"
	status, c := s.ask(t, "POST", commands+"?wait=100ms", `{"args": ["cat"]}`)
	if status != http.StatusAccepted || c["wait_over"] != true || c["state"] != "running" {
		t.Errorf("while the command runs: %d, %v; want 202, wait_over true, state running", status, c)
	}
	command := commands + "/" + c["id"].(string)
	if status, c = s.ask(t, "GET", command+"?wait=100ms", ""); status != http.StatusAccepted || c["wait_over"] != true {
		t.Errorf("the second wait: %d, %v; want 202, wait_over true", status, c)
	}
	if status, _ := s.ask(t, "POST", command+"/stdin?eof=true", ""); status >= 300 {
		t.Fatalf("close the input: got status %d, want below 300", status)
	}
	if status, c = s.ask(t, "GET", command+"?wait=30s", ""); status != http.StatusOK || c["wait_over"] != nil || c["status"] != "ok" {
		t.Errorf("when it is done: %d, %v; want 200 without wait_over, status ok", status, c)
	}
}
