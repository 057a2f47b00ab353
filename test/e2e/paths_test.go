package e2e

import (
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

const (
	noteWrite = "Note: this folder cannot be written. Write to /mnt/data/output, whose files are kept, or to /workspace."
	noteRead  = "Note: read files from /mnt/data, /mnt/data/output or /workspace. Write to /mnt/data/output, whose files are kept, or to /workspace."
	noteFound = "Note: the file is /mnt/data/output/there.csv."
)

func TestAnErrorForAPathOfAnotherServiceNamesTheFolderToUse(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import os, shutil, pandas, polars, PIL.Image\nopen('/mnt/data/output/there.csv', 'w').write('a\\n1\\n')\nframe = pandas.DataFrame({'a': [1]})")
	for code, want := range map[string][2]string{
		"open('/mnt/data/x.csv')":                                    {"FileNotFoundError: [Errno 2] No such file or directory: '/mnt/data/x.csv'", noteRead},
		"open('/mnt/data/there.csv')":                                {"FileNotFoundError: [Errno 2] No such file or directory: '/mnt/data/there.csv'", noteFound},
		"open(b'/mnt/data/there.csv')":                               {"FileNotFoundError: [Errno 2] No such file or directory: b'/mnt/data/there.csv'", noteFound},
		"pandas.read_csv('sandbox:/mnt/data/there.csv')":             {"FileNotFoundError: [Errno 2] No such file or directory: 'sandbox:/mnt/data/there.csv'", noteFound},
		"pandas.read_csv('/kaggle/input/titanic/there.csv')":         {"FileNotFoundError: [Errno 2] No such file or directory: '/kaggle/input/titanic/there.csv'", noteFound},
		"polars.read_csv('/content/drive/MyDrive/there.csv')":        {"FileNotFoundError: ", noteFound},
		"open('/mnt/data/x.csv', 'w')":                               {"PermissionError: [Errno 13] Permission denied: '/mnt/data/x.csv'", noteWrite},
		"os.makedirs('/mnt/data/plots')":                             {"OSError: [Errno 30] Read-only file system: '/mnt/data/plots'", noteWrite},
		"frame.to_csv('/mnt/data/x.csv')":                            {"PermissionError: [Errno 13] Permission denied: '/mnt/data/x.csv'", noteWrite},
		"frame.to_csv('/mnt/data/plots/x.csv')":                      {"OSError: Cannot save file into a non-existent directory: '/mnt/data/plots'", noteRead},
		"PIL.Image.new('L', (1, 1)).save('/mnt/data/x.png')":         {"PermissionError: [Errno 13] Permission denied: '/mnt/data/x.png'", noteWrite},
		"shutil.copy('/mnt/data/output/there.csv', '/mnt/data/y')":   {"PermissionError: [Errno 13] Permission denied: '/mnt/data/y'", noteWrite},
		"try: open('/content/none')\nexcept OSError: raise KeyError": {"KeyError", noteRead},
	} {
		c := s.run(t, id, code)
		if c.Status != cellhold.StatusError || len(c.Outputs) != 1 {
			t.Errorf("%s\nended with %s and %s, want error and one output", code, c.Status, text(c))
			continue
		}
		o := c.Outputs[0]
		shown := strings.Join(o.Traceback, "\n")
		if !strings.HasPrefix(o.Exception(), want[0]) || strings.Contains(o.Exception(), "Note") || strings.Count(shown, want[1]) != 1 {
			t.Errorf("%s\nis %s, want %s and the note %q in the traceback:\n%s", code, o.Exception(), want[0], want[1], shown)
		}
	}
}

func TestAnErrorForAnOrdinaryPathGetsNoNote(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for _, code := range []string{
		"open('x.csv')", "open('/nowhere/x.csv')", "open('/contents/x')", "open('/mnt/data/output/none.csv')", "raise ValueError('/mnt/data/x.csv')",
		"class Odd(OSError):\n    def __str__(self): return 'odd'\n    def add_note(self, note): raise RuntimeError\nraise Odd('/mnt/data/x')",
		"class Odd(OSError):\n    filename = property(lambda self: 1 / 0)\nraise Odd(2, '/mnt/data/x')",
	} {
		c := s.run(t, id, code)
		if c.Status != cellhold.StatusError || len(c.Outputs) != 1 || strings.Contains(strings.Join(c.Outputs[0].Traceback, "\n"), "Note:") {
			t.Errorf("%s\nended with %s and %s, want error without a note\n%+v", code, c.Status, text(c), c.Outputs)
		}
	}
}

func TestFoldersOfOtherServicesExistAndTheirOutputsAreKept(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, `open('/mnt/user-data/outputs/kept.txt', 'w').write('kept')
open('here.txt', 'w').write('here')
for folder in ('/content', '/kaggle/working', '/home/sandbox', '/mnt/user-data/uploads'):
    assert open(folder + '/here.txt').read() == 'here', folder`)
	if got := s.file(t, id, "kept.txt"); got != "kept" {
		t.Errorf("the output file has %q, want kept", got)
	}
	s.line(t, id, "cd /content && mkdir made && cp here.txt /kaggle/working/copied.txt && cp here.txt /mnt/user-data/outputs/")
	if got := s.oneLine(t, id, "import os\nprint(sorted(os.listdir('/workspace')), sorted(os.listdir('/mnt/data/output')))"); got != "['copied.txt', 'here.txt', 'made'] ['here.txt', 'kept.txt']" {
		t.Errorf("the folders have the files %s, want %s", got, "['copied.txt', 'here.txt', 'made'] ['here.txt', 'kept.txt']")
	}
}
