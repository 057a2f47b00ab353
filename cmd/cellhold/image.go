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
	"time"
)

// imageCmd holds the commands for images.
type imageCmd struct {
	console.Format `embed:""`

	Build  imageBuildCmd  `cmd:"" help:"Build a stock image from its recipe, if it does not exist."`
	Import imageImportCmd `cmd:"" help:"Import an image from an OCI layout, a docker save archive or a folder of files."`
	Export imageExportCmd `cmd:"" help:"Write an image for docker load (FILE.tar) or as an OCI layout (a new directory)."`
	Pull   imagePullCmd   `cmd:"" help:"Pull an image from a registry."`
	Ls     imageLsCmd     `cmd:"" help:"List images."`
	Rm     imageRmCmd     `cmd:"" help:"Remove an image, or only a name of it if it has other names."`
}

// printer returns a printer for the results of the commands.
func (c *imageCmd) printer(t *console.Terminal) console.Printer {
	return console.Printer{Format: c.Format, Out: t.Out}
}

// progress returns a function that prints each step of a long task.
func (c *imageCmd) progress(t *console.Terminal) image.Progress {
	if c.Quiet {
		return nil
	}
	return func(step string) { fmt.Fprintln(t.Err, step) }
}

// shownImage is the JSON of an image.
type shownImage struct {
	Names   []string  `json:"names"`
	Digest  string    `json:"digest"`
	Size    int64     `json:"size"` // bytes
	Created time.Time `json:"created,omitzero"`
	Source  string    `json:"source"`
	Damaged bool      `json:"damaged,omitempty"`
}

func shown(i image.Image) shownImage {
	return shownImage{append([]string{}, i.Names...), i.Digest, i.Size, i.Created, i.Source, i.Damaged}
}

// madeImage prints an image that was made: as JSON, as its digest, or as a sentence.
func (c *imageCmd) madeImage(t *console.Terminal, i image.Image, sentence string) error {
	if c.Quiet {
		return c.printer(t).Result(shown(i), i.Digest)
	}
	return c.printer(t).Report(shown(i), "%s", sentence)
}

type imageBuildCmd struct {
	Recipe string `arg:"" help:"Name of the recipe: python, or polyglot (adds R, JavaScript and compilers)." default:"python"`
}

// Run builds an image.
func (c *imageBuildCmd) Run(ctx context.Context, parent *imageCmd, all *console.Globals, t *console.Terminal) error {
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
	img, err := store.Build(ctx, files, image.BuildOptions{Env: os.Environ(), Progress: parent.progress(t)})
	if err != nil {
		return err
	}
	return parent.madeImage(t, img, fmt.Sprintf("image %s is ready (%s, %s)", c.Recipe, console.Size(img.Size).Rounded(), time.Since(began).Round(time.Second/10)))
}

type imageImportCmd struct {
	Path   string `arg:"" help:"Path of the archive, of the OCI layout, or with --rootfs of the folder." type:"existingpath" predictor:"file"`
	Name   string `help:"Name of the image. Default: the name in the archive, or else the name of the file."`
	Rootfs bool   `help:"Import the files of a folder as they are, such as those of a stage of a Dockerfile."`
}

// Run imports an image.
func (c *imageImportCmd) Run(ctx context.Context, parent *imageCmd, all *console.Globals, t *console.Terminal) error {
	store, err := setup.OpenImages(all.Home, all.Images, t.Log, nil)
	if err != nil {
		return err
	}
	add := store.Import
	if c.Rootfs {
		add = store.ImportFolder
	}
	img, err := add(ctx, c.Path, c.Name, parent.progress(t))
	if err != nil {
		return err
	}
	return parent.madeImage(t, img, imported(img))
}

// imported returns the names and the size of an imported image.
func imported(img image.Image) string {
	return fmt.Sprintf("image %s (%s)", strings.Join(img.Names, ", "), console.Size(img.Size).Rounded())
}

type imageExportCmd struct {
	Image string `arg:"" help:"Name or digest of the image." predictor:"image"`
	Path  string `arg:"" help:"Path to write: FILE.tar for docker load, or a directory for an OCI layout. The path must not exist." type:"path" predictor:"file"`
}

// Run exports an image.
func (c *imageExportCmd) Run(ctx context.Context, parent *imageCmd, all *console.Globals, t *console.Terminal) error {
	store, err := setup.OpenExisting(all.Home, all.Images, t.Log, nil)
	if err != nil {
		return err
	}
	if err := store.Export(ctx, c.Image, c.Path, parent.progress(t)); err != nil {
		return err
	}
	return parent.printer(t).Done(struct {
		Path string `json:"path"`
	}{c.Path})
}

type imagePullCmd struct {
	Ref string `arg:"" help:"Image reference, in the form of docker pull."`
}

// Run pulls an image.
func (c *imagePullCmd) Run(ctx context.Context, parent *imageCmd, all *console.Globals, t *console.Terminal) error {
	store, err := setup.OpenImages(all.Home, all.Images, t.Log, nil)
	if err != nil {
		return err
	}
	img, err := store.Pull(ctx, c.Ref, parent.progress(t))
	if err != nil {
		return err
	}
	return parent.madeImage(t, img, imported(img))
}

type imageLsCmd struct{}

// Run lists the images, the newest first.
func (imageLsCmd) Run(ctx context.Context, parent *imageCmd, all *console.Globals, t *console.Terminal) error {
	store, err := setup.OpenExisting(all.Home, all.Images, t.Log, nil)
	if err != nil {
		return err
	}
	list, err := store.List(ctx)
	if err != nil {
		return err
	}
	images, rows := []shownImage{}, [][]string{}
	for _, img := range list {
		row := []string{strings.Join(img.Names, ","), strings.TrimPrefix(img.Digest, "sha256:")[:12], console.Size(img.Size).Rounded(), console.Clock(img.Created), img.Source}
		if img.Damaged {
			row[2], row[4] = "", "damaged: build or import it again"
		}
		if parent.Quiet && row[0] == "" {
			row[0] = row[1]
		}
		images, rows = append(images, shown(img)), append(rows, row)
	}
	return parent.printer(t).Table(images, "NAME DIGEST SIZE CREATED SOURCE", rows)
}

type imageRmCmd struct {
	Image string `arg:"" help:"Name or digest of the image." predictor:"image"`
}

// Run removes an image that no running sandbox uses. If the image has other names, Run removes only the given name.
func (c *imageRmCmd) Run(ctx context.Context, parent *imageCmd, all *console.Globals, t *console.Terminal) error {
	used, err := imagesInUse(ctx, all.Home, t.Log)
	if err != nil {
		return err
	}
	store, err := setup.OpenExisting(all.Home, all.Images, t.Log, func(digest string) bool { return used[digest] })
	if err != nil {
		return err
	}
	if err := store.Remove(ctx, c.Image); err != nil {
		return err
	}
	return parent.printer(t).Done(struct {
		Image string `json:"image"`
	}{c.Image})
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
