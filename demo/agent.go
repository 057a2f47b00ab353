package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"path/filepath"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"cellhold"
)

// askOverMCP asks for the plot as an AI agent does: it connects to the server's MCP address, runs the cell of the plot in
// the session, and gets a PNG image.
func askOverMCP(ctx context.Context, s *service, id cellhold.SessionID, out string) (err error) {
	code, err := files.ReadFile("cells/5-plot.py")
	if err != nil {
		return err
	}
	agent, err := mcp.NewClient(&mcp.Implementation{Name: "demo", Version: "1"}, nil).Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: s.url + "/mcp", HTTPClient: &http.Client{Transport: bearer(s.token)},
	}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, agent.Close()) }()
	answer, err := agent.CallTool(ctx, &mcp.CallToolParams{Name: "run_code", Arguments: map[string]any{"code": string(code), "session_id": id}})
	if err != nil {
		return err
	}
	for _, part := range answer.Content {
		if plot, ok := part.(*mcp.ImageContent); ok {
			size, err := png.DecodeConfig(bytes.NewReader(plot.Data))
			if err != nil {
				return err
			}
			fmt.Printf("   the answer has an image with %d x %d pixels\n", size.Width, size.Height)
			return save(filepath.Join(out, "penguins-mcp.png"), func(w io.Writer) error {
				_, err := w.Write(plot.Data)
				return err
			})
		}
	}
	return fmt.Errorf("the answer has no image: %v", answer.Content)
}

// bearer sends a token with each request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}
