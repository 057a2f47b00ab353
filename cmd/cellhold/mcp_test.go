package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"cellhold/internal/cli/console"
	"cellhold/internal/cli/setup"
	"cellhold/internal/image"
	"cellhold/internal/session"
)

func TestAProgramUsesTheToolsOverTheStandardStreams(t *testing.T) {
	driver, images := setup.NewDriver, setup.NewImages
	setup.NewDriver, setup.NewImages = openFake, func(*image.Store) session.Images { return noImages{} }
	t.Cleanup(func() { setup.NewDriver, setup.NewImages = driver, images })

	in, toCommand := io.Pipe()
	fromCommand, out := io.Pipe()
	var problems bytes.Buffer // read after the command's end
	ended := make(chan int, 1)
	go func() {
		ended <- command([]string{"--home", t.TempDir(), "mcp", "--session", "project"}, in, out, &problems)
		out.Close()
	}()
	// The client fails if the output has anything but messages of the protocol.
	c := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
	agent, err := c.Connect(t.Context(), &sdk.IOTransport{Reader: fromCommand, Writer: toCommand}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range [][2]string{{"set x 41", "[session s"}, {"add x 1\nget x", "42\n[session s"}} {
		code, want := step[0], step[1]
		got, err := agent.CallTool(t.Context(), &sdk.CallToolParams{Name: "run_code", Arguments: map[string]any{"code": code}})
		if err != nil {
			t.Fatal(err)
		}
		if text := got.Content[0].(*sdk.TextContent).Text; got.IsError || !strings.HasPrefix(text, want) {
			t.Errorf("%q: got %q, want %q", code, text, want)
		}
	}
	agent.Close()
	toCommand.Close()
	if status := <-ended; status != console.ExitOK || problems.Len() > 0 {
		t.Errorf("after the end of the input: got exit status %d and %q, want 0 and nothing", status, &problems)
	}
}
