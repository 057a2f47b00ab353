package remote

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/kernelproxy"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

type sessionConnectCmd struct {
	ID     cellhold.SessionID `arg:"" name:"session" help:"Session id." predictor:"session"`
	Kernel cellhold.KernelID  `help:"Kernel of the session. Default: the first one." placeholder:"ID"`
	File   string             `help:"Path of the connection file. Default: a new file in the runtime folder of Jupyter." placeholder:"PATH"`
}

// Help returns the text below the list of flags.
func (sessionConnectCmd) Help() string {
	return "The command writes a connection file, prints a command that uses it, and runs until Ctrl-C or the end of the session. Then it removes the file. " +
		"The session continues. Programs of your user can use the file, several at once: jupyter console, jupyter qtconsole, jupyter_client, and others that take a connection file."
}

// Run serves the connection file until a signal comes or the session ends.
func (c *sessionConnectCmd) Run(ctx context.Context, parent *SessionCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	s, err := remote.Session(ctx, c.ID)
	if err != nil {
		return err
	}
	k, err := chosen(s, c.Kernel)
	if err != nil {
		return err
	}
	if c.File, err = c.path(t); err != nil {
		return err
	}
	proxy, err := kernelproxy.New(ctx, kernelproxy.Options{Client: remote, Session: s.ID, Kernel: k, Path: c.File,
		Note: func(text string) { fmt.Fprintf(t.Err, "cellhold: %s\n", console.Printable(text)) }})
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Err, "Connected to session %s. Press Ctrl-C to disconnect; the session continues. Use it with:\n", s.ID)
	command := "jupyter console --existing " + quoted(c.File)
	switch {
	case out.JSON:
		err = out.Line(connection{c.File, command})
	case out.Quiet:
		_, err = fmt.Fprintln(t.Out, c.File)
	default:
		_, err = fmt.Fprintln(t.Out, command)
	}
	if err != nil {
		return err
	}
	return proxy.Run(ctx)
}

// connection is the JSON of sessionConnectCmd.
type connection struct {
	File    string `json:"connection_file"`
	Command string `json:"command"`
}

// chosen returns the kernel of a session to connect to.
func chosen(s cellhold.Session, id cellhold.KernelID) (cellhold.Kernel, error) {
	if s.State == cellhold.SessionEnded || len(s.Kernels) == 0 {
		return cellhold.Kernel{}, fmt.Errorf("session %s has ended: create one, or see cellhold session ls", s.ID)
	}
	if id == "" {
		return s.Kernels[0], nil
	}
	for _, k := range s.Kernels {
		if k.ID == id {
			return k, nil
		}
	}
	return cellhold.Kernel{}, fmt.Errorf("session %s has no kernel %q: its kernels are %s", s.ID, id, kernelStates(s))
}

// path returns the absolute path of the connection file. By default, Jupyter chooses the newest file with a name such
// as kernel-*.json. The id of the process makes the name unique.
func (c *sessionConnectCmd) path(t *console.Terminal) (string, error) {
	if c.File != "" {
		return filepath.Abs(c.File)
	}
	dir, err := kernelproxy.RuntimeDir(t.Getenv)
	if err != nil {
		return "", err
	}
	return filepath.Abs(filepath.Join(dir, fmt.Sprintf("kernel-cellhold-%s-%d.json", c.ID, os.Getpid())))
}

// quoted returns a path with quotes, if a shell needs them.
func quoted(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+@%", r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
