package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"cellhold"
	"cellhold/client"
)

// tour shows other features of a session. Each step is short.
func tour(ctx context.Context, c *client.Client, id cellhold.SessionID, out string) error {
	for _, stop := range []struct {
		what string
		see  func(context.Context, *client.Client, cellhold.SessionID) error
	}{
		{"uploading a file, and listing the files that a cell wrote", exchange},
		{"the code reads input, and we answer", question},
		{"a progress bar is reduced to its last line", progress},
		{"a second kernel in the same sandbox, for Bash", shell},
		{"a command outside the kernels", command},
		{"a package for this session only", install},
		{"a session has no network access by default", noNetwork},
	} {
		step(stop.what)
		if err := stop.see(ctx, c, id); err != nil {
			return fmt.Errorf("%s: %w", stop.what, err)
		}
	}
	step("downloading the whole folder as a zip")
	return downloadZip(ctx, c, id, out)
}

// execute runs a cell, prints it, and checks its status.
func execute(ctx context.Context, c *client.Client, id cellhold.SessionID, r client.Code, want cellhold.CellStatus) (cellhold.Cell, error) {
	show("   >>> ", r.Code)
	cell, err := c.Execute(ctx, id, r)
	if err != nil {
		return cell, err
	}
	return cell, expect(cell, want)
}

func expect(cell cellhold.Cell, want cellhold.CellStatus) error {
	for _, o := range cell.Outputs {
		showOutput(o)
	}
	if cell.Status != want {
		return fmt.Errorf("the cell ended with the status %s (%s), want %s", cell.Status, cell.Cause, want)
	}
	return nil
}

func exchange(ctx context.Context, c *client.Client, id cellhold.SessionID) error {
	const list = "Dream\nBiscoe\n"
	if _, err := c.WriteFile(ctx, id, "/workspace/islands.txt", strings.NewReader(list), 0); err != nil {
		return err
	}
	cell, err := execute(ctx, c, id, client.Code{Code: `wanted = open("/workspace/islands.txt").read().split()
penguins[penguins.island.isin(wanted)].to_csv("/workspace/chosen.csv", index=False)`}, cellhold.StatusOK)
	for _, f := range cell.Files {
		fmt.Printf("   the cell wrote %s, %d bytes\n", f.Path, f.Size)
	}
	return err
}

func question(ctx context.Context, c *client.Client, id cellhold.SessionID) error {
	code := `print("You chose", input("Which species? "))`
	show("   >>> ", code)
	cell, err := c.Submit(ctx, id, client.Code{Code: code, AllowStdin: true})
	if err != nil {
		return err
	}
	for ev, err := range c.Watch(ctx, id, max(cell.First-1, 0)) {
		if err != nil {
			return err
		}
		if ev.Cell == cell.ID && ev.Type == cellhold.EventInputRequest {
			var ask cellhold.InputRequestContent
			if err := ev.Decode(&ask); err != nil {
				return err
			}
			show("   ", control.ReplaceAllString(ask.Prompt, "")+"Gentoo")
			if err := c.Answer(ctx, id, cell.ID, ev.Seq, "Gentoo"); err != nil {
				return err
			}
			break
		}
		if ev.Cell == cell.ID && ev.Type == cellhold.EventCellDone {
			break // expect reports the status
		}
	}
	if cell, err = c.Wait(ctx, id, cell.ID); err != nil {
		return err
	}
	return expect(cell, cellhold.StatusOK)
}

func progress(ctx context.Context, c *client.Client, id cellhold.SessionID) error {
	_, err := execute(ctx, c, id, client.Code{Code: `from tqdm import tqdm
total = sum(n for n in tqdm(range(100_000), desc="adding", ncols=60, mininterval=0.01))`}, cellhold.StatusOK)
	return err
}

func shell(ctx context.Context, c *client.Client, id cellhold.SessionID) error {
	k, err := c.AddKernel(ctx, id, "bash", "")
	if err != nil {
		return err
	}
	_, err = execute(ctx, c, id, client.Code{Kernel: k.ID, Code: `cut -d, -f2 /workspace/chosen.csv | sort | uniq -c`}, cellhold.StatusOK)
	return err
}

func command(ctx context.Context, c *client.Client, id cellhold.SessionID) error {
	const line = "head -c 1000000 /dev/zero | wc -c; id -un; exit 3"
	show("   $ ", line)
	x, err := c.RunCommand(ctx, id, client.Run{Line: line})
	if err != nil {
		return err
	}
	for ev, err := range c.WatchCommand(ctx, id, x.ID, 0) {
		if err != nil {
			return err
		}
		var text cellhold.StreamContent
		if ev.Type == cellhold.EventStream && ev.Decode(&text) == nil {
			show("   ", control.ReplaceAllString(text.Text, ""))
		}
	}
	fmt.Printf("   exit status %d\n", x.Code)
	return nil
}

// install needs a package index, and this machine may have no access to one. So install prints the error of a failed
// installation and returns nil.
func install(ctx context.Context, c *client.Client, id cellhold.SessionID) error {
	report, err := c.Install(ctx, id, client.InstallPackages{Requirements: []string{"humanize"}})
	if err != nil {
		show("   ", "No package installed: "+err.Error())
		return nil
	}
	for _, p := range report.Changes {
		fmt.Printf("   %s %s\n", p.Name, p.After)
	}
	_, err = execute(ctx, c, id, client.Code{Code: `import humanize; humanize.intword(total)`}, cellhold.StatusOK)
	return err
}

func noNetwork(ctx context.Context, c *client.Client, id cellhold.SessionID) error {
	_, err := execute(ctx, c, id, client.Code{Code: `import socket
socket.create_connection(("example.org", 80), timeout=5)`}, cellhold.StatusError)
	return err
}

func downloadZip(ctx context.Context, c *client.Client, id cellhold.SessionID, out string) error {
	folder, err := c.PackDir(ctx, id, "/workspace", "zip")
	if err != nil {
		return err
	}
	defer folder.Close()
	return save(filepath.Join(out, "workspace.zip"), func(w io.Writer) error {
		_, err := io.Copy(w, folder)
		return err
	})
}
