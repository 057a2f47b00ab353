package remote

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// FileCmd holds the commands for the files of a session.
type FileCmd struct {
	printing `embed:""`

	Ls    fileLsCmd    `cmd:"" help:"List a directory."`
	Show  fileShowCmd  `cmd:"" help:"Print the attributes of a file. A symbolic link is not followed."`
	Cat   fileCatCmd   `cmd:"" help:"Print the content of a file."`
	Write fileWriteCmd `cmd:"" help:"Write the standard input to a file. cellhold cp copies files and directories."`
	Mkdir fileMkdirCmd `cmd:"" help:"Create a directory and its missing parents."`
	Mv    fileMvCmd    `cmd:"" help:"Move or rename a file or directory."`
	Rm    fileRmCmd    `cmd:"" help:"Remove files and directories."`
	Watch fileWatchCmd `cmd:"" help:"Print the changes in a directory until Ctrl-C."`
}

// inSession names a path of a session.
type inSession struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Path    string             `arg:"" help:"Path in the session. Relative paths start at its working directory."`
}

// at adds the path to an error of a file. The server does not repeat paths.
func at(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, console.Message(err))
}

type fileLsCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Path    string             `arg:"" optional:"" help:"Path of the directory. Default: the working directory of the session."`
	Limit   int                `help:"Maximum number of entries." default:"10000"`
}

// Run lists a directory.
func (c *fileLsCmd) Run(ctx context.Context, parent *FileCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	list, more, err := remote.ListDirUpTo(ctx, c.Session, c.Path, c.Limit)
	if err != nil {
		return at(cmp.Or(c.Path, "."), err)
	}
	if more {
		t.Log.Warn("the directory has more entries", "limit", c.Limit)
	}
	var rows [][]string
	for _, f := range list {
		rows = append(rows, []string{f.Path, string(f.Type), strconv.FormatInt(f.Size, 10), f.Mode, console.Clock(f.Modified)})
	}
	return out.Table(list, "PATH TYPE SIZE MODE MODIFIED", rows)
}

type fileShowCmd struct {
	inSession `embed:""`
}

// Run prints the attributes of a file.
func (c *fileShowCmd) Run(ctx context.Context, parent *FileCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	f, err := remote.StatFile(ctx, c.Session, c.Path)
	if err != nil {
		return at(c.Path, err)
	}
	return out.Object(f, f.Path, []console.Field{{Name: "path", Value: f.Path}, {Name: "type", Value: string(f.Type)}, {Name: "size", Value: strconv.FormatInt(f.Size, 10) + " bytes"},
		{Name: "mode", Value: f.Mode}, {Name: "modified", Value: console.Clock(f.Modified)}, {Name: "target", Value: f.Target}, {Name: "version", Value: f.Version}})
}

type fileCatCmd struct {
	inSession `embed:""`
	Offset    int64 `help:"Number of bytes to skip." default:"0"`
}

// Run prints the content of a file.
func (c *fileCatCmd) Run(ctx context.Context, parent *FileCmd, all *console.Globals, t *console.Terminal) error {
	remote, _, err := parent.open(all, t)
	if err != nil {
		return err
	}
	r, err := remote.ReadFileFrom(ctx, c.Session, c.Path, c.Offset)
	if err != nil {
		return at(c.Path, err)
	}
	defer r.Close()
	return shown(t, t.Out, func(w io.Writer) error { _, err := io.Copy(w, r); return err })
}

type fileWriteCmd struct {
	inSession `embed:""`
	Mode      string `help:"Permission bits of the file in octal. Default: those of the existing file, or 0644." placeholder:"MODE"`
}

// Run writes the standard input to a file, completely or not at all.
func (c *fileWriteCmd) Run(ctx context.Context, parent *FileCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	var mode uint64
	if c.Mode != "" {
		if mode, err = strconv.ParseUint(c.Mode, 8, 12); err != nil {
			return console.Usage(cellhold.Errorf(cellhold.Invalid, "--mode: %q is not an octal number such as 0644", c.Mode))
		}
	}
	var content io.Reader = strings.NewReader("")
	if t.In != nil {
		content = t.In
	}
	f, err := remote.WriteFile(ctx, c.Session, c.Path, content, uint32(mode))
	if err != nil {
		return at(c.Path, err)
	}
	return out.Report(f, "%s: %d bytes", f.Path, f.Size)
}

type fileMkdirCmd struct {
	inSession `embed:""`
}

// Run creates a directory.
func (c *fileMkdirCmd) Run(ctx context.Context, parent *FileCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	if err := remote.MakeDir(ctx, c.Session, c.Path); err != nil {
		return at(c.Path, err)
	}
	return out.Report(onePath{c.Path}, "%s: created", c.Path)
}

type fileMvCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	From    string             `arg:"" help:"Path of the file or directory."`
	To      string             `arg:"" help:"New path."`
	Replace bool               `help:"Replace an existing file."`
}

// Run moves a file.
func (c *fileMvCmd) Run(ctx context.Context, parent *FileCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	if err := remote.MoveFile(ctx, c.Session, c.From, c.To, c.Replace); err != nil {
		return at(c.From, err)
	}
	return out.Report(onePath{c.To}, "%s: moved to %s", c.From, c.To)
}

type fileRmCmd struct {
	Session   cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Path      []string           `arg:"" help:"Paths in the session." sep:"none"`
	Recursive bool               `help:"Also remove directories with their content." short:"r"`
}

// Run removes files.
func (c *fileRmCmd) Run(ctx context.Context, parent *FileCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	return eachOf(out, "file", c.Path, func(path string) (any, error) {
		return onePath{path}, remote.RemoveFile(ctx, c.Session, path, c.Recursive)
	})
}

// onePath is the JSON of a change of one file.
type onePath struct {
	Path string `json:"path"`
}

type fileWatchCmd struct {
	Session   cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Path      string             `arg:"" optional:"" help:"Path of the directory. Default: the working directory of the session."`
	Recursive bool               `help:"Also watch the directories in it." short:"r"`
}

// Run prints changes until the context ends.
func (c *fileWatchCmd) Run(ctx context.Context, parent *FileCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	for change, err := range remote.WatchDir(ctx, c.Session, c.Path, c.Recursive) {
		switch {
		case err != nil:
			return err
		case change.Type == "": // the watch has begun
			if !out.JSON && !out.Quiet {
				t.Log.Info("the watch has begun")
			}
		case out.JSON:
			err = out.Line(change)
		case out.Quiet:
			err = out.Result(change, change.Path)
		default:
			err = out.Result(change, string(change.Type)+" "+change.Path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// OutputCmd holds the commands for the files in /mnt/data/output, which stay when the sandbox ends.
type OutputCmd struct {
	printing `embed:""`

	Ls  outputLsCmd  `cmd:"" help:"List the files that the code wrote to /mnt/data/output."`
	Get outputGetCmd `cmd:"" help:"Copy an output file to this machine."`
}

type outputLsCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
}

// Run lists output files.
func (c *outputLsCmd) Run(ctx context.Context, parent *OutputCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	list, err := remote.Files(ctx, c.Session)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, f := range list {
		rows = append(rows, []string{f.Path, strconv.FormatInt(f.Size, 10), console.Clock(f.Modified)})
	}
	return out.Table(list, "PATH SIZE MODIFIED", rows)
}

type outputGetCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	Path    string             `arg:"" help:"Path of the file, as in output ls."`
	To      string             `arg:"" optional:"" help:"Path of the copy. Default: the standard output." type:"path" predictor:"file"`
}

// Run copies an output file.
func (c *outputGetCmd) Run(ctx context.Context, parent *OutputCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	r, err := remote.OpenFile(ctx, c.Session, c.Path)
	if err != nil {
		return at(c.Path, err)
	}
	defer r.Close()
	if c.To == "" {
		return shown(t, t.Out, func(w io.Writer) error { _, err := io.Copy(w, r); return err })
	}
	if err := saveFile(c.To, func(w io.Writer) error { _, err := io.Copy(w, r); return err }); err != nil {
		return err
	}
	return out.Report(onePath{c.To}, "saved as %s", c.To)
}

// NotebookCmd holds the commands for the notebook of a session.
type NotebookCmd struct {
	printing `embed:""`

	Export notebookExportCmd `cmd:"" help:"Write the cells of a kernel as a notebook, a script or a page."`
	Import notebookImportCmd `cmd:"" help:"Add the cells of a notebook to a session without cells, and print their ids."`
}

type notebookExportCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	To      string             `arg:"" optional:"" help:"Path of the file. Default: the standard output." type:"path" predictor:"file"`
	Kernel  cellhold.KernelID  `help:"Kernel of the session. Default: the first one." placeholder:"ID"`
	As      string             `help:"Form: ipynb, py or html." enum:"ipynb,py,html" default:"ipynb"`
}

// Run exports a notebook.
func (c *notebookExportCmd) Run(ctx context.Context, parent *NotebookCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	if c.To == "" {
		return shown(t, t.Out, func(w io.Writer) error { return remote.Export(ctx, c.Session, c.Kernel, c.As, w) })
	}
	if err := saveFile(c.To, func(w io.Writer) error { return remote.Export(ctx, c.Session, c.Kernel, c.As, w) }); err != nil {
		return err
	}
	return out.Report(onePath{c.To}, "saved as %s", c.To)
}

type notebookImportCmd struct {
	Session cellhold.SessionID `arg:"" help:"Session id." predictor:"session"`
	From    string             `arg:"" help:"Path of the notebook." type:"existingfile" predictor:"file"`
	Submit  bool               `help:"Also submit the code cells." name:"run"`
}

// Run imports a notebook.
func (c *notebookImportCmd) Run(ctx context.Context, parent *NotebookCmd, all *console.Globals, t *console.Terminal) error {
	remote, out, err := parent.open(all, t)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(c.From)
	if err != nil {
		return err
	}
	cells, err := remote.Import(ctx, c.Session, text, c.Submit)
	if err != nil {
		return err
	}
	if out.JSON {
		return out.Document(cells)
	}
	for _, id := range cells {
		if err := out.Result(id, string(id)); err != nil {
			return err
		}
	}
	return nil
}

// saveFile writes a file completely or not at all. An existing file is replaced. A device or a pipe, such as /dev/stdout, is
// written in its place.
func saveFile(to string, write func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(to); err == nil {
		to = real // otherwise the new file would replace the link
	}
	if info, err := os.Stat(to); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		f, err := os.OpenFile(to, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	part := filepath.Join(filepath.Dir(to), ".cellhold-part-"+rand.Text())
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) // the umask of the user removes permissions
	if err != nil {
		return err
	}
	defer os.Remove(part) // after success the file has another name
	err = write(f)
	return errors.Join(err, f.Close(), unless(err, func() error { return os.Rename(part, to) }))
}
