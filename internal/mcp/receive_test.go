package mcp

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// withTool connects a client to a server that has one more tool.
func withTool(t *testing.T, o Options, f func(call, context.Context, Session) (*sdk.CallToolResult, error)) (*sdk.ClientSession, *Server) {
	t.Helper()
	s := New(o)
	add(s, &sdk.Tool{Name: "test"}, f)
	inner, outer := sdk.NewInMemoryTransports()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.run(t.Context(), Caller{}, inner) // the test ends it
	}()
	client, err := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), outer, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); <-done })
	return client, s
}

func try(t *testing.T, client *sdk.ClientSession, args map[string]any) (text string, failed bool) {
	t.Helper()
	got, err := client.CallTool(t.Context(), &sdk.CallToolParams{Name: "test", Arguments: args})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range got.Content {
		text += c.(*sdk.TextContent).Text
	}
	return text, got.IsError
}

func TestAPanicInAToolIsAnErrorAndALineInTheLog(t *testing.T) {
	var log bytes.Buffer
	bad := true
	client, _ := withTool(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(call, context.Context, Session) (*sdk.CallToolResult, error) {
		if bad {
			panic("a bad value")
		}
		return say("fine"), nil
	})
	if text, failed := try(t, client, nil); !failed || !strings.Contains(text, "error of the server") || strings.Contains(text, "bad value") {
		t.Errorf("got %q, want an error that does not have the value", text)
	}
	bad = false
	if text, failed := try(t, client, nil); failed || text != "fine" {
		t.Errorf("the next call: got %q, want fine", text)
	}
	if !strings.Contains(log.String(), "a bad value") || !strings.Contains(log.String(), "receive_test.go") {
		t.Errorf("got the log %q, want the value and the stack", &log)
	}
}

func TestACallerHasAtMost32RunningCalls(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	client, _ := withTool(t, Options{}, func(_ call, ctx context.Context, _ Session) (*sdk.CallToolResult, error) {
		begun <- struct{}{}
		<-end
		return say("fine"), nil
	})
	ended := make(chan struct{})
	for range maxCalls {
		go func() {
			_, _ = client.CallTool(t.Context(), &sdk.CallToolParams{Name: "test"})
			ended <- struct{}{}
		}()
	}
	for range maxCalls {
		<-begun
	}
	if text, failed := try(t, client, nil); !failed || text != "You have 32 calls running. Wait for one, or call interrupt." {
		t.Errorf("one more call: got %q, want an error", text)
	}
	close(end)
	for range maxCalls {
		<-ended
	}
	go func() { <-begun }()
	if text, failed := try(t, client, nil); failed {
		t.Errorf("after the others: got %q, want no error", text)
	}
}

func TestCloseEndsACallAfterTheGraceTime(t *testing.T) {
	begun, cause := make(chan struct{}), make(chan error, 1)
	client, s := withTool(t, Options{Grace: time.Millisecond}, func(_ call, ctx context.Context, _ Session) (*sdk.CallToolResult, error) {
		close(begun)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return say("late"), nil
	})
	go func() { _, _ = client.CallTool(t.Context(), &sdk.CallToolParams{Name: "test"}) }()
	<-begun
	s.Close()
	if got := <-cause; got != errClosing {
		t.Errorf("got the cause %v, want %v", got, errClosing)
	}
}

func TestErrorsThatQuoteArgumentsAreShort(t *testing.T) {
	client, _ := withTool(t, Options{}, func(call, context.Context, Session) (*sdk.CallToolResult, error) { return say("fine"), nil })
	if text, failed := try(t, client, map[string]any{strings.Repeat("x", 50_000): 1}); !failed || len(text) > 2*maxError {
		t.Errorf("got %d bytes, want an error of about %d", len(text), maxError)
	}
}
