package server

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"

	"cellhold/internal/server/article"

	"github.com/google/go-cmp/cmp"
)

// execute sends code to /execute, a route of the article's API, as the user ann. It returns the reply. Another status
// fails the test.
func (h *harness) execute(status int, code string) map[string]any {
	h.t.Helper()
	var reply map[string]any
	h.do(status, "POST", "/execute", string(mustJSON(map[string]string{"user_id": "ann", "code": code}))).decode(h.t, &reply)
	return reply
}

func TestTheArticlesRoutesAnswerAsDescribed(t *testing.T) {
	h := newHarness(t)
	var started article.ArticleMessage
	h.do(200, "POST", "/start_session", "user_id=ann").decode(t, &started)
	if started.Message != "Session started successfully" || !strings.HasSuffix(started.Notebook, ".ipynb") {
		t.Errorf("/start_session: got %+v, want \"Session started successfully\" and a notebook", started)
	}
	got := h.execute(200, "set x 42\nprint x = 42\nget x\ndisplay image/png aGVsbG8=")
	want := map[string]any{
		"output": "x = 42\n\n42",
		"outputs": []any{
			map[string]any{"output_type": "stream", "name": "stdout", "text": "x = 42\n"},
			map[string]any{"output_type": "execute_result", "data": map[string]any{"text/plain": "42"}, "execution_count": 1.0},
			map[string]any{"output_type": "display_data", "data": map[string]any{"image/png": "aGVsbG8="}},
		},
		"plots": []any{map[string]any{"plot_number": 1.0, "file_name": "output_1.png", "base64_data": "aGVsbG8="}},
	}
	for _, o := range got["outputs"].([]any) {
		delete(o.(map[string]any), "metadata") // optional, and empty here
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("the reply of /execute differs (-got +want):\n%s", diff)
	}
	if text, err := os.ReadFile(started.Notebook); err != nil || !strings.Contains(string(text), "print x = 42") {
		t.Errorf("got the notebook %s, %v; want the code of the cell in it", text, err)
	}
	if got := h.execute(200, ""); got["output"] != "" || len(got["outputs"].([]any)) != 0 || len(got["plots"].([]any)) != 0 {
		t.Errorf("/execute with empty code: got %v, want no output and no plots", got)
	}
	if got := string(h.do(200, "POST", "/reset", "user_id=ann").body); got != `{"message":"Kernel reset successful"}`+"\n" {
		t.Errorf("/reset: got %s, want \"Kernel reset successful\"", got)
	}
	if got := h.execute(400, "get x"); !strings.Contains(string(mustJSON(got)), "NameError") {
		t.Errorf("read a variable after a reset: got %v, want a NameError", got)
	}
	if got := string(h.do(200, "POST", "/end_session", "user_id=ann").body); got != `{"message":"Session ended successfully"}`+"\n" {
		t.Errorf("/end_session: got %s, want \"Session ended successfully\"", got)
	}
	if _, err := os.Stat(started.Notebook); !os.IsNotExist(err) {
		t.Errorf("the notebook after /end_session: got %v, want no such file", err)
	}
	for _, path := range []string{"/end_session", "/reset"} {
		h.do(404, "POST", path, "user_id=ann")
	}
	if got := h.execute(404, "print x"); got["detail"] != "Session not found. Please start a new session." {
		t.Errorf("/execute after /end_session: got %v, want \"Session not found\"", got)
	}
}

func TestAnExceptionIs400WithAPlainTraceback(t *testing.T) {
	h := newHarness(t)
	h.do(200, "POST", "/start_session", "user_id=ann")
	got := h.execute(400, "print before\nerror ValueError no good")
	detail := got["detail"].(map[string]any)
	traceback := string(mustJSON(detail["traceback"]))
	if len(got) != 1 || len(detail) != 2 || detail["error"] != "Execution error" || !strings.Contains(traceback, "ValueError") || strings.Contains(traceback, "u001b") {
		t.Errorf("got %v, want \"Execution error\" and a traceback with ValueError and without colours", got)
	}
	if got := h.execute(200, "print after"); got["output"] != "after\n" {
		t.Errorf("a cell after an exception: got %v, want the output after", got)
	}
}

func TestATimeoutIs408AndTheSessionIsUsable(t *testing.T) {
	h := newHarnessWith(t, shortCells, nil)
	h.do(200, "POST", "/start_session", "user_id=ann")
	h.execute(200, "set x 1")
	if got := h.execute(408, "loop"); cmp.Diff(got, map[string]any{"detail": "Code execution timed out"}) != "" {
		t.Errorf("got %v, want \"Code execution timed out\"", got)
	}
	if got := h.execute(200, "get x"); got["output"] != "1" {
		t.Errorf("a cell after a timeout: got %v, want the output 1", got)
	}
}

func TestClosingTheConnectionDoesNotStopTheArticlesCode(t *testing.T) {
	h := newHarness(t)
	h.do(200, "POST", "/start_session", "user_id=ann")
	ctx, disconnect := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := http.DefaultClient.Do(h.request("POST", "/execute", `{"user_id":"ann","code":"sleep 2s\nset x 5"}`).WithContext(ctx))
		result <- err
	}()
	var list SessionList
	h.do(200, "GET", "/v1/sessions", "").decode(t, &list)
	_, lines := h.stream("/v1/sessions/"+string(list.Sessions[0].ID)+"/events", "")
	until(t, lines, "cell_started")
	disconnect()
	if err := <-result; err == nil {
		t.Fatal("the answer came before the client closed the connection")
	}
	if got := h.execute(200, "get x"); got["output"] != "5" {
		t.Errorf("read the variable of the code: got %v, want the output 5", got)
	}
}

func TestADeadKernelIsReportedWithItsCauseAndARemedy(t *testing.T) {
	h := newHarness(t)
	h.do(200, "POST", "/start_session", "user_id=ann")
	got := h.execute(400, "exit 3")
	trace := got["detail"].(map[string]any)["traceback"].([]any)
	if len(trace) != 1 || !strings.Contains(trace[0].(string), "exit") || !strings.Contains(trace[0].(string), "/reset") {
		t.Errorf("the code that ended the kernel: got %v, want one line with exit and /reset", got)
	}
	if got := h.execute(409, "print x"); !strings.Contains(got["detail"].(string), "/reset") {
		t.Errorf("a cell for a dead kernel: got %v, want a detail with /reset", got)
	}
	h.do(200, "POST", "/reset", "user_id=ann")
	h.execute(200, "print alive")
}

func TestASecondStartReplacesTheSessionOfTheUser(t *testing.T) {
	h := newHarness(t)
	h.do(200, "POST", "/start_session", "user_id=ann")
	h.execute(200, "set x 1")
	h.do(200, "POST", "/start_session", "user_id=ann")
	h.do(200, "POST", "/start_session", "user_id=bob")
	h.execute(400, "get x") // the new session has no x
	var list SessionList
	h.do(200, "GET", "/v1/sessions", "").decode(t, &list)
	if len(list.Sessions) != 2 {
		t.Errorf("got %d sessions, want 2: one for each user", len(list.Sessions))
	}
}

func TestUserIDsAreNotUsedAsPathsOfNotebooks(t *testing.T) {
	h := newHarness(t)
	seen := map[string]bool{}
	for _, user := range []string{"..%2F..%2Fetc%2Fpasswd", "%2Fabs", "a%00b", ".", "%E5%9B%BE", "a%20b", "A", "a"} {
		a := h.send(h.request("POST", "/start_session", "user_id="+user))
		if a.StatusCode == 422 && strings.Contains(user, "%00") {
			continue // the server can refuse control characters
		}
		var m article.ArticleMessage
		a.decode(t, &m)
		if a.StatusCode != 200 || strings.Contains(m.Notebook, "..") || seen[m.Notebook] {
			t.Errorf("%s: got status %d with %s, want 200 with a new notebook without dots", user, a.StatusCode, a.body)
		}
		seen[m.Notebook] = true
	}
	h.do(422, "POST", "/start_session", "user_id="+strings.Repeat("u", 257))
	h.do(422, "POST", "/start_session", "user_id=")
	h.do(422, "POST", "/start_session", `{"user_id":"ann"}`)
	h.do(422, "POST", "/execute", `{"user_id":7}`)
}

func TestPackagesAreRefusedByTheOperatorsPolicy(t *testing.T) {
	h := newHarness(t)
	h.do(200, "POST", "/start_session", "user_id=ann")
	var d article.ArticleDetail
	h.do(http.StatusInternalServerError, "POST", "/install_package", `{"user_id":"ann","package_name":"x"}`).decode(t, &d)
	if !strings.HasPrefix(d.Detail, "Failed to install x: ") || !strings.Contains(d.Detail, "operator") {
		t.Errorf("got the detail %q, want \"Failed to install x: \" and the word operator", d.Detail)
	}
	session := h.create()
	h.do(403, "POST", session+"/packages", `{"requirements":["x"]}`)
	h.do(422, "POST", session+"/packages", `{"requirements":["--index-url=http://x"]}`)
	h.do(403, "DELETE", session+"/packages/x", "")
}

func TestTheArticlesClientsNeedNoTokenIfAuthIsOff(t *testing.T) {
	h := newHarnessWith(t, nil, func(o *Options) { o.Tokens, o.AuthOff = nil, true })
	req := h.request("POST", "/start_session", "user_id=ann")
	req.Header.Del("Authorization")
	if a := h.send(req); a.StatusCode != 200 {
		t.Errorf("got status %d with %s, want 200", a.StatusCode, a.body)
	}
}
