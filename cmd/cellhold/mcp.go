package main

import (
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/remote"
	"cellhold/internal/cli/setup"
	"cellhold/internal/mcp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kong"
)

// mcpCmd serves the tools for AI agents over the standard streams.
type mcpCmd struct {
	URL            string   `help:"Server for the sessions. Default: this process. Sessions on a server stay when the command ends." name:"url" placeholder:"URL"`
	Token          string   `help:"Token for the server. Default: the first token in the home." secret:"" placeholder:"TOKEN"`
	Session        string   `help:"Name of the agent's default session, such as the name of a project." default:"default" placeholder:"NAME"`
	Template       string   `help:"Template of new sessions; requires --url." placeholder:"NAME"`
	AllowHost      []string `help:"Host that code can reach: a name, or *.example.org for its subdomains; can be repeated. Default: no network access." placeholder:"NAME"`
	setup.Settings `embed:""`
}

const (
	// agentSessions is the maximum number of running sessions of an agent with a private server.
	agentSessions = 8
	// agentIdle is the time after which an unused session of a private server ends. It is long, because people leave
	// programs open for a day.
	agentIdle = 24 * time.Hour
	// agentHibernate is the time after which the private server hibernates an unused session.
	agentHibernate = 15 * time.Minute
)

// Help returns text that shows how to configure the programs that use the tools.
func (mcpCmd) Help() string {
	return `AI agents use this command as an MCP server over stdio. A program starts and ends the command. Use one of these settings:

Claude Code:     claude mcp add cellhold -- cellhold mcp

Claude Desktop, Cursor (mcpServers in claude_desktop_config.json, .cursor/mcp.json):

    {"mcpServers": {"cellhold": {"command": "cellhold", "args": ["mcp"]}}}

VS Code (.vscode/mcp.json):

    {"servers": {"cellhold": {"type": "stdio", "command": "cellhold", "args": ["mcp"]}}}

Codex (~/.codex/config.toml):

    [mcp_servers.cellhold]
    command = "cellhold"
    args = ["mcp"]

LibreChat (librechat.yaml):

    mcpServers:
      cellhold: {type: stdio, command: cellhold, args: [mcp], timeout: 120000}

Open WebUI: add an external tool of type MCP with the URL http://HOST:5002/mcp of a server, and a bearer token.

Programs that use HTTP can use the same URL with the header "Authorization: Bearer TOKEN".`
}

// Run serves until the input ends or a signal comes.
func (c *mcpCmd) Run(ctx context.Context, k *kong.Context, all *console.Globals, t *console.Terminal) error {
	c.Environ = t.Environ
	if err := mcp.CheckName(c.Session); err != nil {
		return console.Usage(fmt.Errorf("--session: %w", err))
	}
	if console.InputTerminal(t.In) != nil {
		fmt.Fprintln(t.Err, "cellhold: the input is a terminal; a program must start this command, see cellhold mcp --help")
	}
	if c.URL != "" {
		if err := forServer(k); err != nil {
			return err
		}
		calls, err := remote.NewClient(c.URL, c.Token, all.Home)
		if err != nil {
			return err
		}
		return c.serve(ctx, calls, t, c.created())
	}
	if c.Template != "" {
		return console.Usage(errors.New("--template requires --url: add the URL of a server"))
	}
	private := privateServer{settings: &c.Settings, hosts: c.AllowHost, users: "agents", server: setup.ServerSettings{
		Output: defaultOutput, MaxSessions: agentSessions, IdleTimeout: agentIdle, HibernateAfter: agentHibernate,
	}}
	// A signal first ends the tools. Then the private server ends its sessions.
	return private.run(context.WithoutCancel(ctx), ctx, all, t, func(_ context.Context, calls *client.Client) error {
		return c.serve(ctx, calls, t, client.CreateSession{Egress: c.egress()})
	})
}

// created returns the settings of new sessions on the server of --url.
func (c *mcpCmd) created() client.CreateSession {
	return client.CreateSession{Template: c.Template, Image: c.Image, Limits: c.Limits(&setup.ServerSettings{}), Egress: c.egress()}
}

// egress returns the network access of new sessions, or nil for the server's default.
func (c *mcpCmd) egress() *cellhold.Egress {
	if len(c.AllowHost) == 0 {
		return nil
	}
	return &cellhold.Egress{Policy: cellhold.EgressAllowlist, Hosts: c.AllowHost}
}

// serve serves the tools over the standard streams. Only messages of the protocol go to the output.
func (c *mcpCmd) serve(ctx context.Context, calls *client.Client, t *console.Terminal, created client.CreateSession) error {
	tools := mcp.New(mcp.Options{Version: version(), Logger: t.Log, Create: created, Network: c.URL != "" || len(c.AllowHost) > 0})
	defer context.AfterFunc(ctx, tools.Close)()
	defer tools.Close()
	return tools.Run(ctx, mcp.Caller{Client: calls, Session: c.Session}, io.NopCloser(t.In), nopCloser{t.Out})
}

// nopCloser keeps the output open, because the output belongs to the process.
type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
