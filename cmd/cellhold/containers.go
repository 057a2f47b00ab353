package main

import (
	"cellhold/client"
	"cellhold/docker"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/container"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"time"
)

// seccompCmd prints the seccomp profile.
type seccompCmd struct{}

// Run prints the profile for docker run --security-opt seccomp=FILE.
func (seccompCmd) Run(t *console.Terminal) error {
	_, err := t.Out.Write(docker.Seccomp)
	return err
}

// healthCmd asks a server whether it works.
type healthCmd struct {
	URL    string         `help:"URL of the server." default:"http://127.0.0.1:5002" name:"url" placeholder:"URL"`
	DropTo container.User `help:"As root, first become this user without any capability." placeholder:"UID:GID"`
}

// healthWait is the time in which a server must answer. The answer needs no sandbox.
const healthWait = 5 * time.Second

// Run fails if the server does not answer that it works. It needs no token.
func (c *healthCmd) Run(ctx context.Context, t *console.Terminal) error {
	if c.DropTo != (container.User{}) && os.Geteuid() == 0 {
		return c.DropTo.Become(t.Environ) // the engine starts this check with the rights of the container's first process
	}
	ctx, cancel := context.WithTimeout(ctx, healthWait)
	defer cancel()
	// The certificate of a server is for its public name, and this request has no secret.
	anyName := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	server, err := client.New(client.Options{URL: c.URL, HTTP: anyName, Patience: time.Nanosecond}) // the caller tries again
	if err != nil {
		return console.Usage(err)
	}
	if err := server.Health(ctx); err != nil {
		return fmt.Errorf("the server does not work: %w", err)
	}
	_, err = fmt.Fprintln(t.Out, "the server works")
	return err
}

// becomePlain gives up the rights of root, and all capabilities of another user, if --drop-to asks for it. It returns only
// if there is nothing to give up, or with an error.
func (c *serveCmd) becomePlain(all *console.Globals, t *console.Terminal) error {
	if c.DropTo == (container.User{}) {
		return nil
	}
	if os.Geteuid() != 0 { // also the second start, which has nothing to give up
		return container.GiveUpRest(t.Environ)
	}
	drop := container.Drop{User: c.DropTo, Folders: []string{all.Home}, AcceptMissingLimits: c.AcceptMissingLimits, Log: t.Log, Environ: t.Environ}
	for _, dir := range []string{c.Notebooks, c.Outputs} {
		if dir != "" {
			drop.Folders = append(drop.Folders, dir)
		}
	}
	return drop.Run()
}

// dropped reports whether container.Drop executed this program. It removes the mark of this from the environment, so that
// no child process has it, and later calls return false.
func dropped() bool {
	_, set := os.LookupEnv(container.Mark)
	_ = os.Unsetenv(container.Mark) // fails only for names that no variable can have
	return set
}
