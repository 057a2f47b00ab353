// Command demo acts as a user of a server: it starts `cellhold serve`, analyses a data set over the public API, makes a
// mistake, recovers, and downloads a plot and the notebook. Then it asks for the plot over MCP.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cellhold"
	"cellhold/client"
)

// The cells run in the order of their names. Each uses the variables of the earlier cells.
//
//go:embed cells/*.py data/penguins.csv
var files embed.FS

// timeLimit limits the time of the demo. A slow machine needs less.
const timeLimit = 3 * time.Minute

func main() {
	program := flag.String("cellhold", "build/bin/cellhold", "path of the cellhold binary")
	home := flag.String("home", "build/home", "home with the stock image")
	out := flag.String("out", "build/demo", "folder for the plot and the notebook")
	flag.Parse()
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	if err := run(ctx, *program, *home, *out); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run starts the server, uses it, and stops it.
func run(ctx context.Context, program, home, out string) error {
	began := time.Now()
	data, err := putData(out)
	if err != nil {
		return err
	}
	step("starting the server")
	service, err := start(ctx, program, "--home", home, "--log-level", "warn",
		"serve", "--listen", "127.0.0.1:0", "--data", data, "--ephemeral")
	if err != nil {
		return err
	}
	fmt.Printf("   it listens on %s and printed a token\n", service.url)
	err = use(ctx, service, out)
	step("stopping the server")
	if err := errors.Join(err, service.stop()); err != nil {
		return err
	}
	fmt.Printf("\nDone in %.1f s.\n   plot:     %s\n   notebook: %s\n   as a page: %s\n",
		time.Since(began).Seconds(), filepath.Join(out, "penguins.png"), filepath.Join(out, "penguins.ipynb"), filepath.Join(out, "penguins.html"))
	return nil
}

// putData writes the data set to the folder that sessions see.
func putData(out string) (string, error) {
	dir := filepath.Join(out, "data")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	text, err := files.ReadFile("data/penguins.csv")
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "penguins.csv"), text, 0o644)
}

// use runs the demo in a new session.
func use(ctx context.Context, s *service, out string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	c, err := client.New(client.Options{URL: s.url, Token: s.token})
	if err != nil {
		return err
	}
	step("starting a session")
	began := time.Now()
	session, err := c.CreateSession(ctx, client.CreateSession{User: "demo"})
	if err != nil {
		return err
	}
	fmt.Printf("   %s, ready after %.2f s\n", session.ID, time.Since(began).Seconds())
	if err := analyse(ctx, c, session.ID); err != nil {
		return err
	}
	if err := tour(ctx, c, session.ID, out); err != nil {
		return err
	}
	step("downloading the plot and the notebook")
	if err := download(ctx, c, session.ID, out); err != nil {
		return err
	}
	step("an AI agent asks for the same plot over MCP")
	if err := askOverMCP(ctx, s, session.ID, out); err != nil {
		return err
	}
	step("ending the session")
	return c.DeleteSession(ctx, session.ID)
}

// analyse runs the cells and prints their outputs. One of them fails on purpose.
func analyse(ctx context.Context, c *client.Client, id cellhold.SessionID) error {
	names, err := files.ReadDir("cells")
	if err != nil {
		return err
	}
	for _, name := range names {
		code, err := files.ReadFile("cells/" + name.Name())
		if err != nil {
			return err
		}
		step("cell " + strings.TrimSuffix(name.Name(), ".py"))
		want := cellhold.StatusOK
		if strings.Contains(name.Name(), "mistake") {
			want = cellhold.StatusError
		}
		if _, err := execute(ctx, c, id, client.Code{Code: string(code)}, want); err != nil {
			return fmt.Errorf("cell %s: %w", name.Name(), err)
		}
		if want == cellhold.StatusError {
			fmt.Println("   The code failed, but the session still has its variables. The next cell tries again.")
		}
	}
	return nil
}

// download saves the plot that the code wrote to /mnt/data/output, and the notebook.
func download(ctx context.Context, c *client.Client, id cellhold.SessionID, out string) error {
	plot, err := c.OpenFile(ctx, id, "penguins.png")
	if err != nil {
		return err
	}
	defer plot.Close()
	err = save(filepath.Join(out, "penguins.png"), func(w io.Writer) error {
		_, err := io.Copy(w, plot)
		return err
	})
	if err != nil {
		return err
	}
	for _, format := range []string{"ipynb", "html"} {
		err := save(filepath.Join(out, "penguins."+format), func(w io.Writer) error { return c.Export(ctx, id, "", format, w) })
		if err != nil {
			return err
		}
	}
	return nil
}

func save(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	info, err := os.Stat(path)
	if err == nil {
		fmt.Printf("   %s, %d KB\n", path, (info.Size()+1023)/1024)
	}
	return err
}
