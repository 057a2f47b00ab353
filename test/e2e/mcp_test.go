package e2e

import (
	"bytes"
	"image/png"
	"os/exec"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// stdioAgent starts `cellhold mcp` and connects to it. Its output must have only messages of the protocol.
func stdioAgent(t *testing.T, args ...string) *sdk.ClientSession {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	var problems bytes.Buffer
	cmd.Stderr = &problems
	c := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil)
	agent, err := c.Connect(t.Context(), &sdk.CommandTransport{Command: cmd}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, &problems)
	}
	t.Cleanup(func() {
		if err := agent.Close(); err != nil || problems.Len() > 0 {
			t.Errorf("the end of cellhold mcp: got %v and %q, want no error and nothing", err, &problems)
		}
	})
	return agent
}

// callTool calls a tool and returns its text and its images.
func callTool(t *testing.T, agent *sdk.ClientSession, name string, args map[string]any) (text string, images [][]byte, failed bool) {
	t.Helper()
	result, err := agent.CallTool(t.Context(), &sdk.CallToolParams{Name: name, Arguments: args})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range result.Content {
		switch part := part.(type) {
		case *sdk.TextContent:
			text += part.Text
		case *sdk.ImageContent:
			images = append(images, part.Data)
		}
	}
	return text, images, result.IsError
}

// An agent on a desktop analyses data: it keeps variables, sees its figure, corrects an error, and uses the shell and
// files.
func TestAnAgentAnalysesDataOverStdio(t *testing.T) {
	t.Parallel()
	agent := stdioAgent(t, "--home", newHome(t), "mcp")
	for _, step := range []struct {
		tool   string
		args   map[string]any
		want   string // part of the text
		images int
		failed bool
	}{
		{"run_code", map[string]any{"code": "import pandas as pd\nbirds = pd.Series([3.7, 5.1, 4.4])"}, "· ok ·", 0, false},
		{"run_code", map[string]any{"code": "birds.mean()"}, "4.4", 0, false},
		{"run_code", map[string]any{"code": "birds.plot()"}, "[image 1]", 1, false},
		{"run_code", map[string]any{"code": "birds.to_csv('birds.csv')"}, `wrote "birds.csv"`, 0, false},
		{"run_code", map[string]any{"code": "birds['x']"}, "KeyError: 'x'", 0, true},
		{"run_command", map[string]any{"command": "wc -l < birds.csv"}, "4\n", 0, false},
		{"run_code", map[string]any{"code": "echo $((6 * 7))", "language": "bash"}, "42", 0, false},
		{"write_file", map[string]any{"path": "src/numbers.txt", "content": "1 2 3\n"}, `wrote "/workspace/src/numbers.txt"`, 0, false},
		{"run_code", map[string]any{"code": "sum(map(int, open('src/numbers.txt').read().split()))"}, "6\n", 0, false},
		{"read_file", map[string]any{"path": "birds.csv"}, "0,3.7", 0, false},
		{"list_files", nil, "src/", 0, false},
	} {
		text, images, failed := callTool(t, agent, step.tool, step.args)
		if failed != step.failed || !strings.Contains(text, step.want) || len(images) != step.images || strings.Contains(text, "\x1b") {
			t.Errorf("%s %v: got error %v, %d images and %q; want error %v, %d images and %q", step.tool, step.args, failed, len(images), text, step.failed, step.images, step.want)
		}
		for _, raw := range images {
			if _, err := png.Decode(bytes.NewReader(raw)); err != nil {
				t.Errorf("the figure: %v", err)
			}
		}
	}
}
