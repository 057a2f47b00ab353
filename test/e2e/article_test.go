package e2e

import (
	"os"
	"strings"
	"testing"
)

const (
	form = "application/x-www-form-urlencoded"
	js   = "application/json"
)

// detail returns the detail of an error answer if it is text.
func detail(answer map[string]any) string {
	s, _ := answer["detail"].(string)
	return s
}

func TestTheArticlesAPIRunsCodeFromStartToEndOfASession(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t), "--auth", "off", "--cell-timeout", "8s")
	status, a := s.post(t, "/start_session", form, "user_id=user_test")
	path, _ := a["notebook_path"].(string)
	if status != 200 || a["message"] != "Session started successfully" || path == "" {
		t.Fatalf("start_session: %d %v, want 200, the message and a notebook_path", status, a)
	}
	status, a = s.post(t, "/execute", js, `{"user_id": "user_test", "code": "x = 42\nprint(f\"x = {x}\")"}`)
	if status != 200 || strings.TrimSpace(a["output"].(string)) != "x = 42" {
		t.Errorf("execute: %d %v, want 200 and the output x = 42", status, a)
	}
	status, a = s.post(t, "/execute", js, `{"user_id": "user_test", "code": "plt.plot(np.arange(x)); plt.show(); pd.Series([x]).sum()"}`)
	plots, _ := a["plots"].([]any)
	if status != 200 || len(plots) != 1 || !strings.Contains(a["output"].(string), "42") {
		t.Errorf("plot: %d %.300v, want 200, one plot and 42 in the output", status, a)
	}
	if raw, err := os.ReadFile(path); err != nil || !strings.Contains(string(raw), "x = 42") {
		t.Errorf("the notebook at %s: %v, want the code x = 42 in it", path, err)
	}
	status, a = s.post(t, "/execute", js, `{"user_id": "user_test", "code": "1/0"}`)
	if d, _ := a["detail"].(map[string]any); status != 400 || d["error"] != "Execution error" || len(d["traceback"].([]any)) == 0 {
		t.Errorf("exception: %d %v, want 400, \"Execution error\" and a traceback", status, a)
	}
	status, a = s.post(t, "/execute", js, `{"user_id": "user_test", "code": "while True: pass"}`)
	if status != 408 || detail(a) != "Code execution timed out" {
		t.Errorf("timeout: %d %v, want 408 and \"Code execution timed out\"", status, a)
	}
	if status, a = s.post(t, "/execute", js, `{"user_id": "user_test", "code": "x"}`); status != 200 || a["output"] != "42" {
		t.Errorf("after the timeout: %d %v, want 200 and the output 42", status, a)
	}
	if status, a = s.post(t, "/reset", form, "user_id=user_test"); status != 200 || a["message"] != "Kernel reset successful" {
		t.Errorf("reset: %d %v, want 200 and \"Kernel reset successful\"", status, a)
	}
	if status, a = s.post(t, "/execute", js, `{"user_id": "user_test", "code": "'x' in globals(), pd.__name__"}`); status != 200 || a["output"] != "(False, 'pandas')" {
		t.Errorf("after the reset: %d %v, want 200 and (False, 'pandas')", status, a)
	}
	if status, a = s.post(t, "/end_session", form, "user_id=user_test"); status != 200 || a["message"] != "Session ended successfully" {
		t.Errorf("end_session: %d %v, want 200 and \"Session ended successfully\"", status, a)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the notebook exists after /end_session, want no file")
	}
	for _, p := range []string{"/execute", "/reset", "/end_session"} {
		body, kind := "user_id=user_test", form
		if p == "/execute" {
			body, kind = `{"user_id": "user_test", "code": "1"}`, js
		}
		if status, a = s.post(t, p, kind, body); status != 404 {
			t.Errorf("%s without a session: %d %v, want 404", p, status, a)
		}
	}
	if status, a = s.post(t, "/execute", js, `{"user_id": "user_test"}`); status != 422 {
		t.Errorf("without code: %d %v, want 422", status, a)
	}
}
