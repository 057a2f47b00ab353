package main

import (
	"cellhold/images"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/setup"
	"cellhold/internal/image"
	"cellhold/internal/sandbox/embedded"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// imageCmd holds the commands for images.
type imageCmd struct {
	Build  imageBuildCmd  `cmd:"" help:"Build a stock image from its recipe, if it does not exist."`
	Import imageImportCmd `cmd:"" help:"Import an image from an OCI layout, a docker save archive or a folder of files."`
	Export imageExportCmd `cmd:"" help:"Write an image for docker load (FILE.tar) or as an OCI layout (a new directory)."`
	Pull   imagePullCmd   `cmd:"" help:"Pull an image from a registry."`
	Ls     imageLsCmd     `cmd:"" help:"List images."`
	Rm     imageRmCmd     `cmd:"" help:"Remove an image, or only a name of it if it has other names."`
}

// progress returns a function that prints each step of a long task.
func progress(t *console.Terminal) image.Progress {
	return func(step string) { fmt.Fprintln(t.Err, step) }
}

type imageBuildCmd struct {
	Recipe string `arg:"" help:"Name of the recipe: python, or polyglot (adds R, JavaScript and compilers)." default:"python"`
}

// Run builds an image.
func (c *imageBuildCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	files, err := images.Recipe(c.Recipe)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unknown recipe %q; the recipes are python and polyglot", c.Recipe)
	}
	if err != nil {
		return err
	}
	store, err := setup.OpenImages(all.Home, all.Images, t.Log, nil)
	if err != nil {
		return err
	}
	began := time.Now()
	img, err := store.Build(ctx, files, image.BuildOptions{Env: os.Environ(), Progress: progress(t)})
	if err != nil {
		return err
	}
	fmt.Fprintf(t.Out, "image %s is ready (%s, %s)\n", c.Recipe, console.Size(img.Size).Rounded(), time.Since(began).Round(time.Second/10))
	return nil
}

type imageImportCmd struct {
	Path   string `arg:"" help:"Path of the archive, of the OCI layout, or with --rootfs of the folder." type:"existingpath"`
	Name   string `help:"Name of the image. Default: the name in the archive, or else the name of the file."`
	Rootfs bool   `help:"Import the files of a folder as they are, such as those of a stage of a Dockerfile."`
}

// Run imports an image.
func (c *imageImportCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	store, err := setup.OpenImages(all.Home, all.Images, t.Log, nil)
	if err != nil {
		return err
	}
	add := store.Import
	if c.Rootfs {
		add = store.ImportFolder
	}
	img, err := add(ctx, c.Path, c.Name, progress(t))
	if err != nil {
		return err
	}
	return printImported(t, img)
}

// printImported prints the names of an imported image.
func printImported(t *console.Terminal, img image.Image) error {
	_, err := fmt.Fprintf(t.Out, "image %s (%s)\n", strings.Join(img.Names, ", "), console.Size(img.Size).Rounded())
	return err
}

type imageExportCmd struct {
	Image string `arg:"" help:"Name or digest of the image."`
	Path  string `arg:"" help:"Path to write: FILE.tar for docker load, or a directory for an OCI layout. The path must not exist." type:"path"`
}

// Run exports an image.
func (c *imageExportCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	store, err := setup.OpenExisting(all.Home, all.Images, t.Log, nil)
	if err != nil {
		return err
	}
	return store.Export(ctx, c.Image, c.Path, progress(t))
}

type imagePullCmd struct {
	Ref string `arg:"" help:"Image reference, in the form of docker pull."`
}

// Run pulls an image.
func (c *imagePullCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	store, err := setup.OpenImages(all.Home, all.Images, t.Log, nil)
	if err != nil {
		return err
	}
	img, err := store.Pull(ctx, c.Ref, progress(t))
	if err != nil {
		return err
	}
	return printImported(t, img)
}

type imageLsCmd struct{}

// Run lists the images, the newest first.
func (imageLsCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	store, err := setup.OpenExisting(all.Home, all.Images, t.Log, nil)
	if err != nil {
		return err
	}
	list, err := store.List(ctx)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(t.Out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tDIGEST\tSIZE\tCREATED\tSOURCE")
	for _, img := range list {
		name := strings.Join(img.Names, ",")
		if name == "" {
			name = "-"
		}
		digest := strings.TrimPrefix(img.Digest, "sha256:")[:12]
		if img.Damaged {
			fmt.Fprintf(table, "%s\t%s\t-\t-\tdamaged: build or import it again\n", name, digest)
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", name, digest, console.Size(img.Size).Rounded(),
			img.Created.Local().Format(time.DateTime), console.Printable(img.Source))
	}
	return table.Flush()
}

type imageRmCmd struct {
	Image string `arg:"" help:"Name or digest of the image."`
}

// Run removes an image that no running sandbox uses. If the image has other names, Run removes only the given name.
func (c *imageRmCmd) Run(ctx context.Context, all *console.Globals, t *console.Terminal) error {
	used, err := imagesInUse(ctx, all.Home, t.Log)
	if err != nil {
		return err
	}
	store, err := setup.OpenExisting(all.Home, all.Images, t.Log, func(digest string) bool { return used[digest] })
	if err != nil {
		return err
	}
	return store.Remove(ctx, c.Image)
}

// imagesInUse returns the digests of the images that running sandboxes use: those of serve, and those of the
// private servers of run.
func imagesInUse(ctx context.Context, home string, log *slog.Logger) (map[string]bool, error) {
	used := map[string]bool{}
	dirs, err := filepath.Glob(filepath.Join(home, setup.OnceDir, "*"))
	if err != nil {
		return nil, err
	}
	for _, dir := range append(dirs, home) {
		if _, err := os.Stat(filepath.Join(dir, setup.RunDir)); errors.Is(err, fs.ErrNotExist) {
			continue // this home never had a sandbox
		}
		o, err := setup.EmbeddedOptions(dir, home, log)
		if err != nil {
			return nil, err
		}
		o.AcceptUnenforced = true // the driver only lists sandboxes
		driver, err := embedded.New(o)
		if err != nil {
			return nil, err
		}
		list, err := driver.List(ctx)
		if err = errors.Join(err, driver.Close()); err != nil {
			return nil, err
		}
		for _, info := range list {
			used[info.Image] = used[info.Image] || info.Alive
		}
	}
	return used, nil
}
