package contender

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// OpenMCP creates a session, and connects the MCP client of the official SDK to the server.
func (c *Cellhold) OpenMCP(ctx context.Context) (Session, error) {
	s, err := c.OpenOne(ctx)
	if err != nil {
		return nil, err
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "bench", Version: "1"}, nil)
	agent, err := client.Connect(ctx, &mcp.StreamableClientTransport{
		Endpoint: c.url + "/mcp", HTTPClient: &http.Client{Transport: authorized(c.auth)},
	}, nil)
	if err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return &overMCP{s, agent}, nil
}

// overMCP is a session that runs its cells through the MCP tool run_code.
type overMCP struct {
	*CellholdSession
	agent *mcp.ClientSession
}

func (s *overMCP) Run(ctx context.Context, code string) (Output, error) {
	answer, err := s.agent.CallTool(ctx, &mcp.CallToolParams{Name: "run_code", Arguments: map[string]any{"code": code, "session_id": s.ID}})
	if err != nil {
		return Output{}, err
	}
	var out Output
	for _, part := range answer.Content {
		switch p := part.(type) {
		case *mcp.TextContent:
			out.Text += p.Text
		case *mcp.ImageContent:
			out.PNG = p.Data
		}
	}
	if answer.IsError {
		return out, fmt.Errorf("a cell failed: %s", out.Text)
	}
	return out, nil
}

func (s *overMCP) Time(ctx context.Context, code string, rounds int) ([]time.Duration, error) {
	return timeEach(ctx, s, code, rounds)
}

func (s *overMCP) Close(ctx context.Context) error {
	return errors.Join(s.agent.Close(), s.CellholdSession.Close(ctx))
}

// authorized is an http.RoundTripper that adds its headers to each request.
type authorized http.Header

func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, values := range a {
		r.Header[name] = values
	}
	return caller.Transport.RoundTrip(r)
}

// OpenE2B creates a sandbox through the E2B API. Run then sends the same request as run_code in E2B's SDK.
func (c *Cellhold) OpenE2B(ctx context.Context) (Session, error) {
	var box struct {
		ID      string `json:"sandboxID"`
		Envd    string `json:"envdAccessToken"`
		Traffic string `json:"trafficAccessToken"`
	}
	key := http.Header{"X-Api-Key": {strings.TrimPrefix(c.auth.Get("Authorization"), "Bearer ")}}
	if err := call(ctx, http.MethodPost, c.url+"/e2b/v2/sandboxes", key, map[string]any{"timeout": 3600}, &box); err != nil {
		return nil, err
	}
	return &overE2B{c: c, id: box.ID, key: key, access: http.Header{
		"Content-Type": {"application/json"}, "E2b-Sandbox-Id": {box.ID}, "E2b-Sandbox-Port": {"49999"},
		"X-Access-Token": {box.Envd}, "E2b-Traffic-Access-Token": {box.Traffic},
	}}, nil
}

// overE2B is a cellhold sandbox that the benchmark uses through the E2B API.
type overE2B struct {
	c           *Cellhold
	id          string
	key, access http.Header
}

// Run sends code to the route of E2B's code interpreter, and collects the lines of JSON in the answer.
func (s *overE2B) Run(ctx context.Context, code string) (Output, error) {
	body, err := json.Marshal(map[string]string{"code": code})
	if err != nil {
		return Output{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.c.url+"/e2b/execute", strings.NewReader(string(body)))
	if err != nil {
		return Output{}, err
	}
	req.Header = s.access.Clone()
	res, err := caller.Do(req)
	if err != nil {
		return Output{}, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		return Output{}, fmt.Errorf("a cell got the status %s: %s", res.Status, text)
	}
	return readE2B(io.LimitReader(res.Body, most))
}

// readE2B collects the outputs of a cell from lines of JSON.
func readE2B(from io.Reader) (out Output, err error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, most)
	for lines.Scan() {
		var line struct {
			Type  string `json:"type"`
			Text  string `json:"text"`
			PNG   []byte `json:"png"`
			Name  string `json:"name"`
			Value string `json:"value"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return out, err
		}
		switch line.Type {
		case "stdout", "result":
			out.Text += line.Text
			if line.PNG != nil {
				out.PNG = line.PNG
			}
		case "error":
			return out, fmt.Errorf("a cell failed: %s: %s", line.Name, line.Value)
		}
	}
	return out, lines.Err()
}

func (s *overE2B) Time(ctx context.Context, code string, rounds int) ([]time.Duration, error) {
	return timeEach(ctx, s, code, rounds)
}

func (s *overE2B) Close(ctx context.Context) error {
	return call(ctx, http.MethodDelete, s.c.url+"/e2b/sandboxes/"+s.id, s.key, nil, nil)
}
