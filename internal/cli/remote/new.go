package remote

import (
	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

type sessionNewCmd struct {
	Template   string                  `help:"Template of the session. Default: set by the server." placeholder:"NAME"`
	Image      string                  `help:"Image of the session. Default: that of the template." placeholder:"NAME" predictor:"image"`
	User       string                  `help:"Label of the person or agent." placeholder:"NAME"`
	Cwd        string                  `help:"Working directory of its kernels and commands." short:"w" placeholder:"DIR"`
	Env        []string                `help:"Environment variable of its kernels and commands; can be repeated." short:"e" placeholder:"NAME=VALUE" sep:"none"`
	Meta       []string                `help:"Note to store with the session; can be repeated." placeholder:"NAME=TEXT" sep:"none"`
	Startup    string                  `help:"File with code that runs without output after each start of the kernel." placeholder:"PATH" type:"existingfile"`
	Memory     console.Size            `help:"Memory. 0: default (set by the server), as for all limits." default:"0"`
	CPU        float64                 `help:"CPU cores." name:"cpu" default:"0"`
	Processes  int                     `help:"Maximum number of processes and threads." default:"0"`
	Disk       console.Size            `help:"Bytes that code can write outside /tmp and /mnt/data/output." default:"0"`
	Tmp        console.Size            `help:"Size of /tmp." default:"0"`
	Output     console.Size            `help:"Size of /mnt/data/output." default:"0"`
	AllowHost  []string                `help:"Host that code can reach: a name, or *.example.org for its subdomains; can be repeated." placeholder:"NAME"`
	Egress     cellhold.EgressPolicy   `help:"Network access: none, allowlist or public. Default: allowlist with --allow-host, otherwise set by the server." placeholder:"POLICY" enum:",none,allowlist,public" default:""`
	Secret     []string                `help:"Secret that code can send to a host without seeing it; can be repeated. Its value is in the environment variable VARIABLE of this command." placeholder:"NAME@HOST=VARIABLE" sep:"none"`
	Lifetime   time.Duration           `help:"Time to the deadline of the session. 0: no deadline." default:"0s"`
	AtDeadline cellhold.DeadlineAction `help:"Action at the deadline: end or hibernate." enum:"end,hibernate" default:"end"`
	Resume     cellhold.ResumePolicy   `help:"Use or request that resumes the session after a hibernation: use or request." enum:"use,request" default:"use"`
	Public     bool                    `help:"Let everybody reach the ports of the session through hosts of the server."`
	Format     []string                `help:"Format of figures: png, svg, jpeg or pdf; can be repeated." name:"figures" placeholder:"FORMAT"`
	DPI        int                     `help:"Resolution of figures in dots per inch. 0: default (set by the code)." name:"dpi" default:"0"`
	Key        string                  `help:"Your name for this session. A second command with the same name prints the same session." placeholder:"NAME"`
}

// Run creates a session, and prints its id when its kernel is idle.
func (c *sessionNewCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	r, err := c.request(t)
	if err != nil {
		return err
	}
	s, err := remote.CreateSession(ctx, r)
	if err != nil {
		return err
	}
	return out.Result(s, string(s.ID))
}

// request returns the request for the session. Flags that are not given leave the server's defaults.
func (c *sessionNewCmd) request(t *console.Terminal) (r client.CreateSession, err error) {
	r = client.CreateSession{Template: c.Template, Image: c.Image, User: c.User, Dir: c.Cwd, Env: environment(c.Env, t),
		Limits:   cellhold.Limits{Memory: int64(c.Memory), CPU: c.CPU, Processes: c.Processes, Disk: int64(c.Disk), Tmp: int64(c.Tmp), Output: int64(c.Output)},
		Lifetime: c.Lifetime.Seconds(), PublicPorts: c.Public, Key: c.Key, Metadata: map[string]string{}}
	if c.Lifetime > 0 {
		r.AtDeadline = c.AtDeadline
	}
	if c.Resume != cellhold.ResumeOnUse {
		r.Resume = c.Resume
	}
	if len(c.Format) > 0 || c.DPI > 0 {
		r.Figures = &cellhold.Figures{Formats: c.Format, DPI: c.DPI}
	}
	for _, note := range c.Meta {
		name, text, ok := strings.Cut(note, "=")
		if !ok {
			return r, console.Usage(fmt.Errorf("--meta: write a name, = and a text instead of %q", note))
		}
		r.Metadata[name] = text
	}
	if c.Startup != "" {
		text, err := os.ReadFile(c.Startup)
		if err != nil {
			return r, err
		}
		r.Startup = string(text)
	}
	return r, c.network(&r, t)
}

// network sets the network access and the secrets of the request.
func (c *sessionNewCmd) network(r *client.CreateSession, t *console.Terminal) error {
	switch {
	case c.Egress != "":
		r.Egress = &cellhold.Egress{Policy: c.Egress, Hosts: c.AllowHost}
	case len(c.AllowHost) > 0:
		r.Egress = &cellhold.Egress{Policy: cellhold.EgressAllowlist, Hosts: c.AllowHost}
	}
	for _, secret := range c.Secret {
		place, variable, ok := strings.Cut(secret, "=")
		name, host, named := strings.Cut(place, "@")
		if !ok || !named {
			return console.Usage(errors.New("--secret: write NAME@HOST=VARIABLE, such as API_KEY@api.example.org=MY_KEY"))
		}
		value := t.Getenv(variable) // an argument with the value would be visible to other users of this machine
		if value == "" {
			return console.Usage(fmt.Errorf("--secret: the environment variable %s is not set", variable))
		}
		r.Secrets = append(r.Secrets, cellhold.Secret{Name: name, Host: host, Value: value})
	}
	return nil
}

type sessionShowCmd struct {
	ID cellhold.SessionID `arg:"" name:"session" help:"Session id." predictor:"session"`
}

// Run prints one session.
func (c *sessionShowCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	s, err := remote.Session(ctx, c.ID)
	if err != nil {
		return err
	}
	fields := []console.Field{{Name: "id", Value: string(s.ID)}, {Name: "user", Value: s.User}, {Name: "state", Value: sessionState(s)}, {Name: "kernels", Value: kernelStates(s)},
		{Name: "image", Value: s.Image}, {Name: "template", Value: s.Template}, {Name: "parent", Value: string(s.Parent)}, {Name: "checkpoint", Value: s.Checkpoint},
		{Name: "created", Value: console.Clock(s.Created)}, {Name: "used", Value: console.Clock(s.Used)}, {Name: "expires", Value: console.Clock(s.Expires)},
		{Name: "deadline", Value: strings.TrimSpace(console.Clock(s.Deadline) + " " + string(s.AtDeadline))}, {Name: "cwd", Value: s.Dir}, {Name: "limits", Value: limits(s.Limits)},
		{Name: "egress", Value: strings.TrimSpace(string(s.Egress.Policy) + " " + strings.Join(s.Egress.Hosts, " "))}}
	for _, secret := range s.Secrets {
		fields = append(fields, console.Field{Name: "secret", Value: secret.Name + " for " + secret.Host})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Meta)) {
		fields = append(fields, console.Field{Name: "note", Value: name + "=" + s.Meta[name]})
	}
	return out.Object(s, string(s.ID), fields)
}

// limits returns the limits of a session for people.
func limits(l cellhold.Limits) string {
	var parts []string
	for _, size := range []struct {
		name  string
		bytes int64
	}{{"memory", l.Memory}, {"disk", l.Disk}, {"tmp", l.Tmp}, {"output", l.Output}} {
		if size.bytes > 0 {
			parts = append(parts, size.name+" "+cellhold.FormatSize(size.bytes))
		}
	}
	return strings.Join(append(parts, "cpu "+strconv.FormatFloat(l.CPU, 'g', -1, 64), "processes "+strconv.Itoa(l.Processes)), ", ")
}

type sessionDeadlineCmd struct {
	ID         cellhold.SessionID      `arg:"" name:"session" help:"Session id." predictor:"session"`
	Lifetime   time.Duration           `arg:"" help:"Time from now to the deadline, such as 30m."`
	AtDeadline cellhold.DeadlineAction `help:"Action at the deadline: end or hibernate. Default: the present action, or end." enum:",end,hibernate" default:"" placeholder:"ACTION"`
}

// Run sets the deadline of a session.
func (c *sessionDeadlineCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	s, err := remote.SetDeadline(ctx, c.ID, c.Lifetime.Seconds(), c.AtDeadline)
	if err != nil {
		return err
	}
	return out.Report(s, "session %s: %s at %s", s.ID, s.AtDeadline, console.Clock(s.Deadline))
}

type sessionEventsCmd struct {
	ID    cellhold.SessionID `arg:"" name:"session" help:"Session id." predictor:"session"`
	After int64              `help:"Number of the event after which to begin. 0: from the first event." default:"0"`
	Type  []string           `help:"Print only events of this type; can be repeated." placeholder:"TYPE"`
	Until cellhold.EventType `help:"End after the first event of this type." placeholder:"TYPE"`
}

// Run prints the events of a session.
func (c *sessionEventsCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	for e, err := range remote.Watch(ctx, c.ID, c.After) {
		switch {
		case err != nil && ctx.Err() != nil: // Ctrl-C is the usual end
			return console.ExitError(console.ExitInterrupted)
		case err != nil:
			return err
		case len(c.Type) > 0 && !slices.Contains(c.Type, string(e.Type)):
		case out.JSON:
			err = out.Line(e)
		case out.Quiet:
			err = out.Result(e, strconv.FormatInt(e.Seq, 10))
		default:
			err = out.Result(e, fmt.Sprintf("%d %s %s %s%s%s %s", e.Seq, console.Clock(e.Time), e.Type, e.Kernel, e.Cell, e.Command, e.Content))
		}
		if err != nil || e.Type == c.Until {
			return err
		}
	}
	return nil
}
