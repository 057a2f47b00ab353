package guest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"cellhold/internal/guestapi"
)

// agentSays returns the result of readCode for an agent that answers the upgrade and then sends text.
func agentSays(t *testing.T, text string) (guestapi.CodeRequest, error) {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	done := make(chan struct{})
	defer func() { <-done }()
	go func() {
		defer close(done)
		defer theirs.Close()
		if _, err := http.ReadRequest(bufio.NewReader(theirs)); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(theirs, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+guestapi.CodeUpgrade+"\r\n\r\n"+text)
	}()
	defer ours.Close() // ends a write in progress
	return readCode(ours)
}

func TestARequestOfCodeIsCheckedBeforeItIsDecoded(t *testing.T) {
	for _, text := range []string{
		"", "{}", "nothing\n", "[]\n", "{\"requirements\": 1}\n", "{\"requirements\": [[\"a\"]]}\n",
		strings.Repeat("[", 1000) + "\n",
		"{\"requirements\": [" + strings.Repeat("\"a\",", 3*guestapi.MaxRequirements) + "\"a\"]}\n",
		"{\"file\": \"" + strings.Repeat("x", guestapi.MaxCodeRequest) + "\"}\n",
	} {
		if r, err := agentSays(t, text); err == nil {
			t.Errorf("%.60q was accepted as %+v", text, r)
		}
	}
	r, err := agentSays(t, "{\"requirements\": [\"a\"], \"upgrade\": true, \"other\": 1}\nmore")
	if err != nil || len(r.Requirements) != 1 || !r.Upgrade {
		t.Errorf("the request is %+v, %v", r, err)
	}
}
