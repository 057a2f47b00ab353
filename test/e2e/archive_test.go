package e2e

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
)

// tarOf makes a tar archive from headers. The content of each file is its name.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			io.WriteString(w, h.Name)
		}
	}
	w.Close()
	return b.Bytes()
}

func TestFoldersAreUploadedAndDownloadedAsArchives(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, `
import os
os.makedirs('p/src/deep'); os.makedirs('p/empty')
open('p/größe \U0001f600.txt', 'w').write('hello'); open('p/src/run.sh', 'w').write('#!/bin/sh\n'); os.chmod('p/src/run.sh', 0o755)
open('p/src/deep/big', 'wb').write(bytes(range(256)) * 20000); os.symlink('run.sh', 'p/src/link'); os.mkfifo('p/pipe')
open(b'p/bytes \xff', 'w').write('x')`)
	for _, format := range []string{"tar", "tgz", "zip"} {
		r, err := s.PackDir(t.Context(), id, "p", format)
		if err != nil {
			t.Fatal(err)
		}
		archive, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.UnpackDir(t.Context(), id, "again/"+format, bytes.NewReader(archive)); err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		got := s.must(t, id, "import subprocess\nos.path.exists('p/pipe') and os.unlink('p/pipe')\nprint(subprocess.run(['diff', '-r', '--no-dereference', 'p', 'again/"+format+"'], capture_output=True, text=True).stdout, os.readlink('again/"+format+"/src/link'), oct(os.stat('again/"+format+"/src/run.sh').st_mode), end='')")
		if got != " run.sh 0o100755" {
			t.Errorf("%s: the unpacked folder differs: %s, want %s", format, got, " run.sh 0o100755")
		}
	}
}

func TestHostileArchivesAreRefusedAndLeaveNoFile(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	file := func(name string) tar.Header { return tar.Header{Name: name, Mode: 0o644} }
	many := func() []byte {
		var b bytes.Buffer
		packed := gzip.NewWriter(&b)
		w := tar.NewWriter(packed)
		for i := range 110_000 {
			w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d/%d", i%10), Typeflag: tar.TypeDir, Mode: 0o755})
		}
		w.Close()
		packed.Close()
		return b.Bytes()
	}
	bomb := func() []byte {
		var b bytes.Buffer
		packed, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
		w := tar.NewWriter(packed)
		w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Mode: 0o644, Size: 100 << 20})
		for zeros := make([]byte, 1<<20); ; {
			if _, err := w.Write(zeros); err != nil {
				break
			}
		}
		w.Close()
		packed.Close()
		return b.Bytes()
	}
	for name, archive := range map[string][]byte{
		"slip":            tarOf(t, file("ok"), file("../../tmp/slipped")),
		"absolute":        tarOf(t, file("/tmp/slipped")),
		"link then write": tarOf(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, file("l/slipped")),
		"inner link then write": tarOf(t, tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755},
			tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "d"}, file("l/x")),
		"link out":    tarOf(t, tar.Header{Name: "a/l", Typeflag: tar.TypeSymlink, Linkname: "../../x"}),
		"nested link": tarOf(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "d/../../x"}),
		"hard link":   tarOf(t, file("a"), tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}),
		"device":      tarOf(t, tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}),
		"pipe":        tarOf(t, tar.Header{Name: "p", Typeflag: tar.TypeFifo}),
		"setuid":      tarOf(t, tar.Header{Name: "su", Mode: 0o4755}),
		"twice":       tarOf(t, file("a"), file("a")),
		"file as dir": tarOf(t, file("a"), file("a/b")),
		"too many":    many(),
		"bomb":        bomb(),
		"no archive":  []byte("hello, I am no archive at all"),
		"truncated":   tarOf(t, file("a"), file("b"))[:700],
		"empty":       {},
		"zip slip":    zipOf(t, "../../tmp/slipped"),
		"zip twice":   zipOf(t, "a", "a"),
		"overlapping": overlapping(t),
		"zip64 size":  wrongSizeZip(t),
	} {
		err := s.UnpackDir(t.Context(), id, "out", bytes.NewReader(archive))
		if kind := cellhold.KindOf(err); kind != cellhold.Invalid && kind != cellhold.Exhausted {
			t.Errorf("%s: got %v, want kind invalid or exhausted", name, err)
		}
		if left := s.must(t, id, "import os; os.path.exists('out'), os.path.exists('/tmp/slipped'), os.listdir('.')"); left != "(False, False, [])" {
			t.Fatalf("%s left: %s, want no file", name, left)
		}
	}
	// A refused archive must not replace an existing file.
	s.write(t, id, "out/a", "old")
	if err := s.UnpackDir(t.Context(), id, "out", bytes.NewReader(tarOf(t, file("a"), file("../b")))); err == nil {
		t.Error("a hostile archive: got no error, want one")
	}
	if got := s.read(t, id, "out/a"); got != "old" {
		t.Errorf("a is %q, want old", got)
	}
}

func zipOf(t testing.TB, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(f, strings.Repeat(name, 100))
	}
	w.Close()
	return b.Bytes()
}

// overlapping makes a zip archive with two entries, both with the offset of the first entry.
func overlapping(t testing.TB) []byte {
	t.Helper()
	b := zipOf(t, "aaaa", "bbbb")
	second := bytes.LastIndex(b, []byte("PK\x01\x02"))
	copy(b[second+42:second+46], []byte{0, 0, 0, 0}) // offset of the second entry's local header
	copy(b[second+46:second+50], "cccc")
	return b
}

// wrongSizeZip makes a zip archive whose entry has a wrong size.
func wrongSizeZip(t testing.TB) []byte {
	t.Helper()
	b := zipOf(t, "aaaa")
	entry := bytes.LastIndex(b, []byte("PK\x01\x02"))
	copy(b[entry+24:entry+28], []byte{1, 0, 0, 0})
	return b
}
